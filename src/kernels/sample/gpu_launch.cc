// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/sample/gpu_launch.h"

#include <bit>
#include <cmath>
#include <cstddef>
#include <utility>

#include "kernels/argmax/gpu_launch.h"
#include "kernels/common/gpu_launch.h"
#include "kernels/elementwise/gpu_launch.h"
#include "kernels/sample/gpu_args.h"

namespace mlxn::kernels {
namespace {

static_assert(sizeof(GpuSampleRule) == sizeof(SampleRule) &&
              offsetof(GpuSampleRule, temperature) == offsetof(SampleRule, temperature) &&
              offsetof(GpuSampleRule, penalty_window) == offsetof(SampleRule, penalty_window) &&
              offsetof(GpuSampleRule, history_len) == offsetof(SampleRule, history_len));

// Threads of a sequence: 32 elements each as long as there are enough.
// sample_draw keeps more in registers than 1024 threads of it could have.
uint32_t threads_of(const SampleParams& p) { return group_threads(divide_up(p.vocab, 32), 512); }

GpuSample args_of(const SampleParams& p) {
  const uint32_t simds = threads_of(p) / 32;
  const int vocab_bits = std::bit_width(static_cast<uint64_t>(p.vocab));
  return {.vocab = static_cast<uint32_t>(p.vocab),
          .max_history = static_cast<uint32_t>(p.max_history),
          .num_suppress = static_cast<uint32_t>(p.num_suppress),
          .range = divide_up(p.vocab, simds * 32) * 32,
          .history = p.history != nullptr,
          .history_lens = p.history_lens != nullptr,
          .positions = p.positions != nullptr,
          .sequence_ids = p.sequence_ids != nullptr,
          .edited = p.edits_logits,
          .logprobs = p.logprobs != nullptr,
          .mass_one = std::ldexp(1.0f, 61 - vocab_bits)};
}

backends::GpuLaunch launch_of(const SampleParams& p, const char* kernel) {
  return {.op = "sample",
          .kernel = kernel,
          .groups = {static_cast<uint32_t>(p.sequences), 1, 1},
          .threads = threads_of(p)};
}

// A copy of the logits, suppressed and penalised.
Buffer edit(StreamImpl& stream, const SampleParams& p, const backends::Access& access) {
  const int64_t count = p.sequences * p.vocab;
  const Buffer edited = stream.scratch(static_cast<size_t>(count) * sizeof(float));
  backends::Access copy = access.inputs();
  copy.write(edited);
  elementwise_gpu(stream,
                  {.kind = ElementwiseKind::kCast,
                   .a = p.logits,
                   .b = nullptr,
                   .out = edited.data(),
                   .count = count,
                   .dtype = DType::kF32,
                   .out_dtype = DType::kF32,
                   .scalar = 1.0f},
                  copy);
  backends::GpuLaunch launch = launch_of(p, "sample_edit");
  launch.buffer(p.rules).buffer(p.history).buffer(p.history_lens).buffer(p.suppress);
  launch.buffer(edited.data()).constants(args_of(p));
  backends::gpu_stream(stream).launch(std::move(launch), std::move(copy));
  return edited;
}

}  // namespace

std::optional<std::string_view> sample_gpu_refuses(const SampleParams& p) {
  return refuse_large({p.sequences * p.vocab, p.vocab, p.max_history, p.num_suppress});
}

void sample_gpu(StreamImpl& stream, const SampleParams& p, backends::Access access) {
  const Buffer edited = p.edits_logits ? edit(stream, p, access) : Buffer();
  access.read(edited);
  const void* const logits = edited ? edited.data() : static_cast<const void*>(p.logits);
  if (!p.draws && p.logprobs == nullptr) {  // all of the device looks for the largest
    return argmax_gpu(stream,
                      {.x = static_cast<const float*>(logits),
                       .indices = reinterpret_cast<uint32_t*>(p.tokens),
                       .values = nullptr,
                       .rows = p.sequences,
                       .count = p.vocab},
                      std::move(access));
  }
  backends::GpuLaunch launch = launch_of(p, "sample_draw");
  launch.buffer(p.logits).buffer(edited ? edited.data() : nullptr).buffer(p.rules);
  launch.buffer(p.positions).buffer(p.sequence_ids).buffer(p.tokens).buffer(p.logprobs);
  launch.constants(args_of(p));
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
