// SPDX-License-Identifier: Apache-2.0
// top_k of one row of f32, per entry: elements, k.
#include <benchmark/benchmark.h>

#include "kernels/common/test_kit.h"
#include "kernels/top_k/params.h"
#include "mlxn/ops/sampling.h"

namespace mlxn {
namespace {

void run(benchmark::State& state, const std::string& entry) {
  const Device device = testing::cpu_device(entry, 0);
  testing::Random random(1);
  const int64_t count = state.range(0), k = state.range(1);
  const ops::TopKArgs args{.x = testing::random_buffer(device, f32, {1, count}, random),
                           .indices = device.alloc(u32, {1, k}),
                           .values = device.alloc(f32, {1, k})};
  Stream stream(device);
  for (auto _ : state) {
    ops::top_k(stream, args);
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(args.x.byte_len()));
}

const bool kRegistered = [] {
  for (const std::string& entry : testing::runnable(kernels::top_k_entries())) {
    benchmark::RegisterBenchmark(("top_k/" + entry).c_str(),
                                 [entry](benchmark::State& state) { run(state, entry); })
        ->Args({4096, 40})
        ->Args({262144, 1})
        ->Args({262144, 40})
        ->Args({262144, 1000});
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
