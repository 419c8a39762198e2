// SPDX-License-Identifier: Apache-2.0
// moe_route to 8 experts, per entry: tokens, experts.
#include <benchmark/benchmark.h>

#include "kernels/common/test_kit.h"
#include "kernels/moe_route/params.h"

namespace mlxn {
namespace {

constexpr int64_t kTopK = 8;

void run(benchmark::State& state, const std::string& entry, bool renormalize) {
  const Device device = testing::cpu_device(entry, 0);
  testing::Random random(1);
  const int64_t tokens = state.range(0), experts = state.range(1);
  const ops::MoeRouteArgs args{
      .logits = testing::random_buffer(device, f32, {tokens, experts}, random),
      .ids = device.alloc(u32, {tokens, kTopK}),
      .weights = device.alloc(f32, {tokens, kTopK}),
      .renormalize = renormalize};
  Stream stream(device);
  for (auto _ : state) {
    ops::moe_route(stream, args);
    stream.commit().wait();
  }
  state.SetItemsProcessed(state.iterations() * tokens);
}

const bool kRegistered = [] {
  for (const std::string& entry : testing::runnable(kernels::moe_route_entries())) {
    for (bool renormalize : {true, false}) {
      const std::string text = "moe_route/" + entry + (renormalize ? "/selected" : "/all");
      benchmark::RegisterBenchmark(
          text.c_str(),
          [entry, renormalize](benchmark::State& state) { run(state, entry, renormalize); })
          ->Args({1, 128})
          ->Args({512, 128})
          ->Args({512, 8});
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
