// SPDX-License-Identifier: Apache-2.0
// moe_combine of 8 experts' f32 rows of 2048 with a shared expert and a residual, per entry.
#include <benchmark/benchmark.h>

#include "kernels/common/test_kit.h"
#include "kernels/moe_combine/params.h"
#include "mlxn/ops/moe.h"

namespace mlxn {
namespace {

constexpr int64_t kTopK = 8, kDim = 2048;

void run(benchmark::State& state, const std::string& entry) {
  const Device device = testing::cpu_device(entry, 0);
  testing::Random random(1);
  const int64_t tokens = state.range(0);
  const ops::MoeCombineArgs args{
      .y = testing::random_buffer(device, f32, {tokens, kTopK, kDim}, random),
      .weights = testing::random_buffer(device, f32, {tokens, kTopK}, random),
      .shared = testing::random_buffer(device, f32, {tokens, kDim}, random),
      .residual = testing::random_buffer(device, f32, {tokens, kDim}, random),
      .out = device.alloc(f32, {tokens, kDim})};
  Stream stream(device);
  for (auto _ : state) {
    ops::moe_combine(stream, args);
    stream.commit().wait();
  }
  state.SetItemsProcessed(state.iterations() * tokens);
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(args.y.byte_len() + 3 * args.out.byte_len()));
}

const bool kRegistered = [] {
  for (const std::string& entry : testing::runnable(kernels::moe_combine_entries())) {
    benchmark::RegisterBenchmark(("moe_combine/" + entry).c_str(),
                                 [entry](benchmark::State& state) { run(state, entry); })
        ->Arg(1)
        ->Arg(128);
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
