// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "mlxn/ops/rms_norm.h"

namespace mlxn {
namespace {

// rows, dim
void rms_norm_f32(benchmark::State& state) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const Shape shape = {state.range(0), state.range(1)};
  const Buffer x = device.alloc(f32, shape), out = device.alloc(f32, shape);
  const Buffer weight = device.alloc(f32, {state.range(1)});
  for (auto _ : state) {
    ops::rms_norm(stream, {.x = x, .weight = weight, .out = out, .eps = 1e-6f});
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(1) * 8);
}
BENCHMARK(rms_norm_f32)->Args({1, 2560})->Args({512, 2560});

void add_rms_norm_f32(benchmark::State& state) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const Shape shape = {state.range(0), state.range(1)};
  const Buffer residual = device.alloc(f32, shape), x = device.alloc(f32, shape);
  const Buffer out = device.alloc(f32, shape);
  for (auto _ : state) {
    ops::add_rms_norm(stream,
                      {.residual = residual, .x = x, .sum = residual, .out = out, .eps = 1e-6f});
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(1) * 16);
}
BENCHMARK(add_rms_norm_f32)->Args({1, 2560})->Args({512, 2560});

}  // namespace
}  // namespace mlxn
