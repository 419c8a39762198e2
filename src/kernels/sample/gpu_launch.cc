// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/sample/gpu_launch.h"

#include <bit>
#include <cmath>
#include <cstddef>
#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/sample/gpu_args.h"

namespace mlxn::kernels {
namespace {

static_assert(sizeof(GpuSampleRule) == sizeof(SampleRule) &&
              offsetof(GpuSampleRule, temperature) == offsetof(SampleRule, temperature) &&
              offsetof(GpuSampleRule, penalty_window) == offsetof(SampleRule, penalty_window) &&
              offsetof(GpuSampleRule, history_len) == offsetof(SampleRule, history_len));

// Threads of a sequence: 32 elements each as long as there are enough.
uint32_t threads_of(const SampleParams& p) { return group_threads(divide_up(p.vocab, 32)); }

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

}  // namespace

std::optional<std::string_view> sample_gpu_refuses(const SampleParams& p) {
  return refuse_large({p.sequences, p.vocab, p.max_history, p.num_suppress});
}

void sample_gpu(StreamImpl& stream, const SampleParams& p, backends::Access access) {
  const GpuSample args = args_of(p);
  const uint32_t sequences = static_cast<uint32_t>(p.sequences);
  backends::GpuStream& gpu = backends::gpu_stream(stream);
  Buffer edited;
  if (p.edits_logits) {
    edited = stream.scratch(size_t{sequences} * static_cast<size_t>(p.vocab) * sizeof(float));
    backends::Access edit = access.inputs();
    edit.write(edited);
    backends::GpuLaunch launch{.op = "sample",
                               .kernel = "sample_edit",
                               .groups = {sequences, 1, 1},
                               .threads = threads_of(p)};
    launch.buffer(p.logits).buffer(p.rules).buffer(p.history).buffer(p.history_lens);
    launch.buffer(p.suppress).buffer(edited.data()).constants(args);
    gpu.launch(std::move(launch), std::move(edit));
    access.read(edited);
  }
  backends::GpuLaunch launch{.op = "sample",
                             .kernel = "sample_draw",
                             .groups = {sequences, 1, 1},
                             .threads = threads_of(p)};
  launch.buffer(p.logits).buffer(edited ? edited.data() : nullptr).buffer(p.rules);
  launch.buffer(p.positions).buffer(p.sequence_ids).buffer(p.tokens).buffer(p.logprobs);
  launch.constants(args);
  gpu.launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
