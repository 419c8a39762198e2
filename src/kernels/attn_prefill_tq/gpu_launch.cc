// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/attn_prefill_tq/gpu_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/attn_prefill_tq/gpu_args.h"
#include "kernels/common/gpu_attn_launch.h"
#include "kernels/common/gpu_tq_launch.h"

namespace mlxn::kernels {
namespace {

constexpr int64_t kRows = 4;  // queries of a simdgroup, as in gpu.h

int64_t simd_count(const AttnPrefillParams& p) {
  return p.batch * p.num_heads * divide_up(p.q_len, kRows);
}

GpuQueryStrides strides_of(const AttnStrides& s) {
  return {static_cast<uint32_t>(s.batch), static_cast<uint32_t>(s.head),
          static_cast<uint32_t>(s.row)};
}

// A reach beyond the counters is none.
uint32_t reach(int64_t keys) { return keys < kMaxGpuExtent ? static_cast<uint32_t>(keys) : 0; }

GpuAttnPrefillTq args_of(const AttnPrefillTqParams& p) {
  const AttnPrefillParams& a = p.attn;
  return {.k = gpu_tq_table(p.k),
          .v = gpu_tq_table(p.v),
          .q = strides_of(a.q_strides),
          .out = strides_of(a.out_strides),
          .pages = gpu_pages(a.pages),
          .num_heads = static_cast<uint32_t>(a.num_heads),
          .num_kv_heads = static_cast<uint32_t>(a.num_kv_heads),
          .q_len = static_cast<uint32_t>(a.q_len),
          .tiles = divide_up(a.q_len, kRows),
          .simds = static_cast<uint32_t>(simd_count(a)),
          .capacity = static_cast<uint32_t>(a.capacity),
          .window_size = reach(a.window_size),
          .window_ahead = reach(a.window_ahead),
          .chunk_size = reach(a.chunk_size),
          .query_type = query_type(a.q_dtype),
          .q_offset = a.q_offset != nullptr,
          .ring_start = a.ring_start != nullptr,
          .prefix_len = a.prefix_len != nullptr,
          .sinks = a.sinks != nullptr,
          .slopes = a.alibi_slopes != nullptr,
          .lse = a.lse != nullptr,
          .ring = a.ring,
          .causal = a.causal,
          .rotated = p.rotated,
          // Rows are multiples of eight elements, so they are where the first one is.
          .vectors = aligned({a.q, a.out}),
          .softmax_scale = a.softmax_scale,
          .logits_soft_cap = a.logits_soft_cap};
}

}  // namespace

std::optional<std::string_view> attn_prefill_tq_gpu_refuses(const AttnPrefillTqParams& p) {
  const AttnPrefillParams& a = p.attn;
  return refuse_large(
      {a.capacity, a.q_len, simd_count(a), a.pages.count, a.q_strides.batch, a.out_strides.batch});
}

void attn_prefill_tq_gpu(StreamImpl& stream, const AttnPrefillTqParams& p,
                         backends::Access access) {
  constexpr uint32_t kSimdsPerGroup = 4;
  const AttnPrefillParams& a = p.attn;
  const GpuAttnPrefillTq args = args_of(p);
  backends::GpuLaunch launch{.op = "attn_prefill_tq",
                             .kernel = std::max(a.head_dim, a.v_dim) <= 128 ? "attn_prefill_tq_128"
                                                                            : "attn_prefill_tq_512",
                             .groups = {divide_up(args.simds, kSimdsPerGroup), 1, 1},
                             .threads = 32 * kSimdsPerGroup};
  launch.buffer(a.q).buffer(p.k.codes).buffer(p.k.norms).buffer(p.v.codes).buffer(p.v.norms);
  launch.buffer(a.kv_len).buffer(a.q_offset).buffer(a.ring_start).buffer(a.prefix_len);
  launch.buffer(a.pages.table).buffer(a.sinks).buffer(a.alibi_slopes).buffer(a.out).buffer(a.lse);
  launch.constants(args);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
