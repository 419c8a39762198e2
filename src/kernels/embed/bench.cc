// SPDX-License-Identifier: Apache-2.0
// embed of 1 and 512 ids from a table of width 2816, per format and entry.
#include <benchmark/benchmark.h>

#include "kernels/dequantize/test_weights.h"
#include "kernels/embed/params.h"
#include "mlxn/ops/embed.h"

namespace mlxn {
namespace {

constexpr int64_t kRows = 8192, kCols = 2816;

void run(benchmark::State& state, const std::string& entry, const testing::WeightKind& kind) {
  const int64_t count = state.range(0);
  const Device device = testing::cpu_device(entry, 0);
  testing::Random random(1);
  const Weight table = testing::random_bytes_weight(device, kind, {kRows, kCols}, random);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < count; ++t) {
    ids.push_back(static_cast<int32_t>(random.integer(0, kRows - 1)));
  }
  const Buffer id_buffer = testing::make_i32(device, ids);
  const Buffer out = device.alloc(f32, {count, kCols});
  Stream stream(device);
  for (auto _ : state) {
    ops::embed(stream, {.table = table, .ids = id_buffer, .out = out, .scale = 53.0f});
    stream.commit().wait();
  }
  state.SetItemsProcessed(state.iterations() * count);
}

const bool kRegistered = [] {
  for (const std::string& entry : testing::runnable(kernels::embed_entries())) {
    for (const testing::WeightKind& kind : testing::bench_kinds()) {
      benchmark::RegisterBenchmark(("embed/" + entry + "/" + kind.text()).c_str(),
                                   [=](benchmark::State& state) { run(state, entry, kind); })
          ->Arg(1)
          ->Arg(512)
          ->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
