// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "mlxn/ops/attention.h"

namespace mlxn {
namespace {

// Eight parts of 32 heads at head dim 128.
void attn_merge_f32(benchmark::State& state) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const int64_t parts = 8, rows = state.range(0), dim = 128;
  const Buffer values = device.alloc(f32, {parts, rows, dim}),
               lse = device.alloc(f32, {parts, rows});
  const Buffer out = device.alloc(f32, {rows, dim});
  for (auto _ : state) {
    ops::attn_merge(stream, {.parts = values, .lse = lse, .out = out});
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * (parts + 1) * rows * dim * 4);
}
BENCHMARK(attn_merge_f32)->Arg(32)->Arg(4096);

}  // namespace
}  // namespace mlxn
