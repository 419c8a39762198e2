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

// Rows that are long enough for the whole device to look at them first.
constexpr int64_t kLong = 16384;

GpuSample args_of(const SampleParams& p) {
  const uint32_t simds = threads_of(p) / 32;
  const int vocab_bits = std::bit_width(static_cast<uint64_t>(p.vocab));
  const uint32_t span = divide_up(p.vocab, kGpuSampleThreads * kGpuSampleChunk) * kGpuSampleChunk;
  return {.vocab = static_cast<uint32_t>(p.vocab),
          .max_history = static_cast<uint32_t>(p.max_history),
          .num_suppress = static_cast<uint32_t>(p.num_suppress),
          .sequences = static_cast<uint32_t>(p.sequences),
          .range = divide_up(p.vocab, simds * 32) * 32,
          .span = span,
          .spans = p.draws && p.vocab > kLong ? divide_up(p.vocab, span) : 0,
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

// What sample_draw gets of rows that are sifted; nothing of others.
struct Sifted {
  Buffer maxima, masses, hits;
};

Sifted sift(StreamImpl& stream, const SampleParams& p, const void* logits,
            const backends::Access& access) {
  const GpuSample args = args_of(p);
  if (args.spans == 0) return {};
  const size_t spans = static_cast<size_t>(p.sequences) * args.spans;
  const uint32_t chunks = args.spans * (args.span / kGpuSampleChunk);
  const size_t all_chunks = static_cast<size_t>(p.sequences) * chunks;
  Sifted s{.maxima = stream.scratch(spans * sizeof(float)),
           .masses = stream.scratch(all_chunks * sizeof(uint64_t)),
           .hits = stream.scratch(all_chunks * kGpuSampleChunk / 8)};
  backends::GpuLaunch launch = launch_of(p, "sample_spans");
  launch.threads = 128;
  launch.groups[0] = divide_up(static_cast<int64_t>(spans), 128 / 32);
  launch.buffer(logits).buffer(s.maxima.data()).constants(args);
  backends::Access first = access.inputs();
  first.write(s.maxima);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(first));

  launch = launch_of(p, "sample_sift");
  launch.groups[0] *= divide_up(chunks, kGpuSampleThreads / 32);
  launch.buffer(logits).buffer(s.maxima.data()).buffer(p.rules);
  launch.buffer(s.masses.data()).buffer(s.hits.data()).constants(args);
  backends::Access second = access.inputs();
  second.read(s.maxima);
  second.write(s.masses);
  second.write(s.hits);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(second));
  return s;
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
  const Sifted sifted = sift(stream, p, logits, access);
  for (const Buffer* read : {&sifted.maxima, &sifted.masses, &sifted.hits}) access.read(*read);
  backends::GpuLaunch launch = launch_of(p, "sample_draw");
  launch.buffer(p.logits).buffer(edited ? edited.data() : nullptr).buffer(p.rules);
  launch.buffer(p.positions).buffer(p.sequence_ids);
  launch.buffer(sifted.maxima.data()).buffer(sifted.masses.data()).buffer(sifted.hits.data());
  launch.buffer(p.tokens).buffer(p.logprobs);
  launch.constants(args_of(p));
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
