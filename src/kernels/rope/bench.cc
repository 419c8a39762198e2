// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "mlxn/ops/rope.h"

namespace mlxn {
namespace {

// tokens, heads, head dim, rotary dim
void head_norm_rope_f32(benchmark::State& state) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const int64_t tokens = state.range(0), heads = state.range(1), head_dim = state.range(2);
  const auto inv_freq = ops::rope_frequencies(10000.0, state.range(3), head_dim);
  const Buffer x = device.alloc(f32, {tokens, heads, head_dim});
  const Buffer out = device.alloc(f32, {tokens, heads, head_dim});
  const Buffer positions = device.alloc(i32, {tokens});
  for (int32_t& position : positions.span<int32_t>()) position = 1234;
  const ops::HeadNormRopeArgs args{
      .x = x,
      .positions = positions,
      .inv_freq = device.upload(inv_freq.data(), f32, {static_cast<int64_t>(inv_freq.size())}),
      .out = out,
      .eps = 1e-6f};
  for (auto _ : state) {
    ops::head_norm_rope(stream, args);
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * tokens * heads * head_dim * 8);
}
BENCHMARK(head_norm_rope_f32)
    ->Args({1, 8, 256, 256})
    ->Args({1, 8, 512, 128})
    ->Args({512, 8, 256, 256});

}  // namespace
}  // namespace mlxn
