// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "mlxn/ops/elementwise.h"

namespace mlxn {
namespace {

// elements
void glu_f32(benchmark::State& state, ops::Activation activation) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const int64_t count = state.range(0);
  const Buffer gate = device.alloc(f32, {count}), up = device.alloc(f32, {count});
  const Buffer out = device.alloc(f32, {count});
  float value = -3.0f;
  for (float& x : gate.span<float>()) x = (value += 6.0f / static_cast<float>(count));
  for (auto _ : state) {
    ops::glu(stream, {.gate = gate, .up = up, .out = out, .activation = activation});
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * count * 12);
}
BENCHMARK_CAPTURE(glu_f32, gelu_tanh, ops::Activation::kGeluTanh)->Arg(2048)->Arg(1 << 20);
BENCHMARK_CAPTURE(glu_f32, silu, ops::Activation::kSilu)->Arg(2048)->Arg(1 << 20);
BENCHMARK_CAPTURE(glu_f32, gelu_erf, ops::Activation::kGeluErf)->Arg(1 << 20);

}  // namespace
}  // namespace mlxn
