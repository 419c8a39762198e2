// SPDX-License-Identifier: Apache-2.0
// dequantize of a [4096, 4096] weight to f32, per format and entry.
#include <benchmark/benchmark.h>

#include "kernels/dequantize/params.h"
#include "kernels/dequantize/test_weights.h"
#include "mlxn/ops/dequantize.h"

namespace mlxn {
namespace {

constexpr int64_t kRows = 4096, kCols = 4096;

void run(benchmark::State& state, const std::string& entry, const testing::WeightKind& kind) {
  const Device device = testing::cpu_device(entry, 0);
  testing::Random random(1);
  const Weight weight = testing::random_bytes_weight(device, kind, {kRows, kCols}, random);
  const Buffer out = device.alloc(f32, weight.shape);
  Stream stream(device);
  for (auto _ : state) {
    ops::dequantize(stream, {.weight = weight, .out = out});
    stream.commit().wait();
  }
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(stored_bytes(weight) + out.byte_len()));
}

const bool kRegistered = [] {
  for (const std::string& entry : testing::runnable(kernels::dequantize_entries())) {
    for (const testing::WeightKind& kind : testing::bench_kinds()) {
      benchmark::RegisterBenchmark(("dequantize/" + entry + "/" + kind.text()).c_str(),
                                   [=](benchmark::State& state) { run(state, entry, kind); })
          ->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
