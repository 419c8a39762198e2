// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "mlxn/ops/sampling.h"

namespace mlxn {
namespace {

// row length
void argmax_f32(benchmark::State& state) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const int64_t count = state.range(0);
  const Buffer x = device.alloc(f32, {1, count}), indices = device.alloc(u32, {1});
  uint32_t bits = 1;
  for (float& value : x.span<float>()) {
    bits = bits * 1664525u + 1013904223u;
    value = static_cast<float>(bits >> 8);
  }
  for (auto _ : state) {
    ops::argmax(stream, {.x = x, .indices = indices});
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * count * 4);
}
BENCHMARK(argmax_f32)->Arg(8192)->Arg(262144);

}  // namespace
}  // namespace mlxn
