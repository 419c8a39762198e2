// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "mlxn/ops/elementwise.h"

namespace mlxn {
namespace {

// rows, columns
void softmax_f32(benchmark::State& state) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const Shape shape = {state.range(0), state.range(1)};
  const Buffer x = device.alloc(f32, shape), out = device.alloc(f32, shape);
  for (auto _ : state) {
    ops::softmax(stream, {.x = x, .out = out});
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(1) * 8);
}
BENCHMARK(softmax_f32)->Args({1, 4096})->Args({512, 2048})->Args({1, 262144});

}  // namespace
}  // namespace mlxn
