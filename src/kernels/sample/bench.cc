// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <cmath>

#include "mlxn/ops/sampling.h"

namespace mlxn {
namespace {

// One sequence over Gemma's vocabulary, logits spread like a model's.
void sample_f32(benchmark::State& state, const ops::SamplingParams& params, bool logprobs) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const Buffer logits = device.alloc(f32, {1, 262144}), tokens = device.alloc(i32, {1});
  uint32_t bits = 1;
  for (float& value : logits.span<float>()) {
    bits = bits * 1664525u + 1013904223u;
    const float uniform = static_cast<float>((bits >> 8) + 1) * 0x1p-24f;
    value = -3.0f * std::log(uniform);
  }
  ops::SampleArgs args{
      .logits = logits, .params = {params}, .positions = int64_t{0}, .tokens = tokens};
  if (logprobs) args.logprobs = device.alloc(f32, {1});
  for (auto _ : state) {
    ops::sample(stream, args);
    stream.commit().wait();
  }
}
BENCHMARK_CAPTURE(sample_f32, greedy, {}, false);
BENCHMARK_CAPTURE(sample_f32, greedy_with_logprob, {}, true);
BENCHMARK_CAPTURE(sample_f32, top_k_64_top_p_095,
                  {.temperature = 1.0f, .top_k = 64, .top_p = 0.95f}, false);
BENCHMARK_CAPTURE(sample_f32, top_p_095, {.temperature = 1.0f, .top_p = 0.95f}, false);
BENCHMARK_CAPTURE(sample_f32, min_p_005, {.temperature = 1.0f, .min_p = 0.05f}, false);
BENCHMARK_CAPTURE(sample_f32, unfiltered, {.temperature = 1.0f}, false);

}  // namespace
}  // namespace mlxn
