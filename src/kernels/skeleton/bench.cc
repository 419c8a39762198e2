// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "mlxn/ops/axpy.h"

namespace mlxn {
namespace {

void axpy_f32(benchmark::State& state) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const int64_t count = state.range(0);
  const Buffer x = device.alloc(f32, {count}), y = device.alloc(f32, {count});
  for (auto _ : state) {
    ops::axpy(stream, {.x = x, .y = y, .out = y, .a = 0.5f});
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * count * 12);  // two reads and a write
}
BENCHMARK(axpy_f32)->Arg(2048)->Arg(1 << 20);

}  // namespace
}  // namespace mlxn
