// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/attn_prefill/gpu_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/attn_prefill/gpu_args.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr int64_t kRows = 4;  // queries of a simdgroup, as in gpu.h

GpuQueryType query_type(DType dtype) {
  return dtype == DType::kF16 ? kGpuQueryF16 : dtype == DType::kBF16 ? kGpuQueryBF16 : kGpuQueryF32;
}

GpuStrides strides_of(const AttnStrides& s) {
  return {static_cast<uint32_t>(s.batch), static_cast<uint32_t>(s.head),
          static_cast<uint32_t>(s.row)};
}

bool has_vectors(const AttnPrefillParams& p) {
  const auto aligned_operand = [](const void* data, const AttnStrides& s, DType dtype) {
    const int64_t size = static_cast<int64_t>(size_of(dtype));
    return aligned_rows({data}, s.row * size) && s.head * size % 16 == 0 &&
           s.batch * size % 16 == 0;
  };
  return aligned_operand(p.q, p.q_strides, p.q_dtype) &&
         aligned_operand(p.k, p.k_strides, p.kv_dtype) &&
         aligned_operand(p.v, p.v_strides, p.kv_dtype);
}

int64_t simd_count(const AttnPrefillParams& p) {
  return p.batch * p.num_heads * divide_up(p.q_len, kRows);
}

}  // namespace

std::optional<std::string_view> attn_prefill_gpu_refuses(const AttnPrefillParams& p) {
  return refuse_large({p.capacity, p.q_len, simd_count(p), p.q_strides.batch, p.k_strides.batch,
                       p.v_strides.batch, p.out_strides.batch});
}

void attn_prefill_gpu(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access) {
  constexpr uint32_t kSimdsPerGroup = 4;
  const uint32_t simds = static_cast<uint32_t>(simd_count(p));
  const bool narrow = std::max(p.head_dim, p.v_dim) <= 128;
  backends::GpuLaunch launch{
      .op = "attn_prefill",
      .kernel = kernel_name(narrow ? "attn_prefill_128" : "attn_prefill_512", {p.kv_dtype}),
      .groups = {divide_up(simds, kSimdsPerGroup), 1, 1},
      .threads = 32 * kSimdsPerGroup};
  launch.buffer(p.q).buffer(p.k).buffer(p.v).buffer(p.kv_len).buffer(p.q_offset);
  launch.buffer(p.ring_start).buffer(p.out);
  launch.constants(GpuAttnPrefill{
      .q = strides_of(p.q_strides),
      .k = strides_of(p.k_strides),
      .v = strides_of(p.v_strides),
      .out = strides_of(p.out_strides),
      .num_heads = static_cast<uint32_t>(p.num_heads),
      .group = static_cast<uint32_t>(p.num_heads / p.num_kv_heads),
      .q_len = static_cast<uint32_t>(p.q_len),
      .tiles = divide_up(p.q_len, kRows),
      .simds = simds,
      .capacity = static_cast<uint32_t>(p.capacity),
      // A window beyond the counters is none.
      .window_size = p.window_size < kMaxGpuExtent ? static_cast<uint32_t>(p.window_size) : 0,
      .head_dim = static_cast<uint32_t>(p.head_dim),
      .v_dim = static_cast<uint32_t>(p.v_dim),
      .query_type = query_type(p.q_dtype),
      .q_offset = p.q_offset != nullptr,
      .ring_start = p.ring_start != nullptr,
      .ring = p.ring,
      .causal = p.causal,
      .vectors = has_vectors(p),
      .softmax_scale = p.softmax_scale,
      .logits_soft_cap = p.logits_soft_cap});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
