// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend, and those of metal.h on Metal.
#include "kernels/attn_prefill/gpu_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/attn_prefill/gpu_args.h"
#include "kernels/attn_prefill/sequence.h"
#include "kernels/common/gpu_attn_launch.h"

namespace mlxn::kernels {
namespace {

constexpr int64_t kRows = 4;  // queries of a simdgroup, as in gpu.h

// Tiles of a head, in one sequence; of packed sequences as many as their rows can need.
uint32_t tile_count(const AttnPrefillParams& p, int64_t rows) {
  if (p.q_starts == nullptr) return divide_up(p.q_len, rows);
  return static_cast<uint32_t>(p.q_len / rows + p.batch);
}

GpuMaskType mask_type(const AttnMask& mask) {
  if (mask.data == nullptr) return kGpuMaskNone;
  switch (mask.dtype) {
    case DType::kU8:
      return kGpuMaskU8;
    case DType::kF16:
      return kGpuMaskF16;
    case DType::kBF16:
      return kGpuMaskBF16;
    default:
      return kGpuMaskF32;
  }
}

GpuMask gpu_mask(const AttnMask& mask) {
  return {.type = static_cast<uint32_t>(mask_type(mask)),
          .batch = static_cast<uint32_t>(mask.batch),
          .head = static_cast<uint32_t>(mask.head),
          .rows = static_cast<uint32_t>(mask.rows),
          .columns = static_cast<uint32_t>(mask.columns),
          .tile_rows = divide_up(mask.rows, kMaskQTile),
          .tile_columns = divide_up(mask.columns, kMaskKTile),
          .classes = mask.classes != nullptr};
}

}  // namespace

bool attn_prefill_has_vectors(const AttnPrefillParams& p) {
  const auto aligned_operand = [](const void* data, const AttnStrides& s, DType dtype) {
    const int64_t size = static_cast<int64_t>(size_of(dtype));
    return aligned_rows({data}, s.row * size) && s.head * size % 16 == 0 &&
           s.batch * size % 16 == 0;
  };
  return aligned_operand(p.q, p.q_strides, p.q_dtype) &&
         aligned_operand(p.k, p.k_strides, p.kv_dtype) &&
         aligned_operand(p.v, p.v_strides, p.kv_dtype) &&
         aligned_operand(p.out, p.out_strides, p.q_dtype);
}

std::array<uint32_t, 3> attn_prefill_grid(const AttnPrefillParams& p, int64_t rows) {
  return {tile_count(p, rows), static_cast<uint32_t>(p.num_heads),
          p.q_starts != nullptr ? 1 : static_cast<uint32_t>(p.batch)};
}

int64_t attn_prefill_simds(const AttnPrefillParams& p) {
  return (p.q_starts != nullptr ? 1 : p.batch) * p.num_heads * tile_count(p, kRows);
}

GpuAttnPrefill attn_prefill_args(const AttnPrefillParams& p) {
  return {.q = gpu_strides(p.q_strides),
          .k = gpu_strides(p.k_strides),
          .v = gpu_strides(p.v_strides),
          .out = gpu_strides(p.out_strides),
          .mask = gpu_mask(p.mask),
          .pages = gpu_pages(p.pages),
          .num_heads = static_cast<uint32_t>(p.num_heads),
          .group = static_cast<uint32_t>(p.num_heads / p.num_kv_heads),
          .q_len = static_cast<uint32_t>(p.q_len),
          .batch = static_cast<uint32_t>(p.batch),
          .tiles = tile_count(p, kRows),
          .simds = static_cast<uint32_t>(attn_prefill_simds(p)),
          .capacity = static_cast<uint32_t>(p.capacity),
          .window_size = gpu_reach(p.window_size),
          .window_ahead = gpu_reach(p.window_ahead),
          .chunk_size = gpu_reach(p.chunk_size),
          .head_dim = static_cast<uint32_t>(p.head_dim),
          .v_dim = static_cast<uint32_t>(p.v_dim),
          .query_type = query_type(p.q_dtype),
          .q_offset = p.q_offset != nullptr,
          .ring_start = p.ring_start != nullptr,
          .prefix_len = p.prefix_len != nullptr,
          .q_starts = p.q_starts != nullptr,
          .k_starts = p.k_starts != nullptr,
          .sinks = p.sinks != nullptr,
          .slopes = p.alibi_slopes != nullptr,
          .lse = p.lse != nullptr,
          .ring = p.ring,
          .causal = p.causal,
          .vectors = attn_prefill_has_vectors(p),
          .softmax_scale = p.softmax_scale,
          .logits_soft_cap = p.logits_soft_cap};
}

std::optional<std::string_view> attn_prefill_gpu_refuses(const AttnPrefillParams& p) {
  return refuse_large({p.capacity, p.q_len, attn_prefill_simds(p), p.pages.count, p.q_strides.batch,
                       p.k_strides.batch, p.v_strides.batch, p.out_strides.batch});
}

backends::GpuLaunch attn_prefill_launch(const AttnPrefillParams& p, std::string kernel,
                                        std::array<uint32_t, 3> groups, uint32_t threads) {
  backends::GpuLaunch launch{
      .op = "attn_prefill", .kernel = std::move(kernel), .groups = groups, .threads = threads};
  launch.buffer(p.q).buffer(p.k).buffer(p.v).buffer(p.kv_len).buffer(p.q_offset);
  launch.buffer(p.ring_start).buffer(p.prefix_len).buffer(p.q_starts).buffer(p.k_starts);
  launch.buffer(p.pages.table).buffer(p.mask.data).buffer(p.mask.classes);
  launch.buffer(p.sinks).buffer(p.alibi_slopes).buffer(p.out).buffer(p.lse);
  launch.constants(attn_prefill_args(p));
  return launch;
}

std::optional<std::string_view> attn_prefill_grid_refuses(const AttnPrefillParams& p) {
  constexpr int64_t kMaxGrid = 65535;  // along the second and third axis
  if (p.batch > kMaxGrid || p.num_heads > kMaxGrid) return "counts sequences and heads in 16 bits";
  return refuse_large({p.capacity, p.q_len + p.batch, p.pages.count, p.q_strides.batch,
                       p.k_strides.batch, p.v_strides.batch, p.out_strides.batch});
}

void attn_prefill_gpu(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access) {
  constexpr uint32_t kSimdsPerGroup = 4;
  const bool narrow = std::max(p.head_dim, p.v_dim) <= 128;
  const uint32_t groups = divide_up(attn_prefill_simds(p), kSimdsPerGroup);
  backends::gpu_stream(stream).launch(
      attn_prefill_launch(
          p, kernel_name(narrow ? "attn_prefill_128" : "attn_prefill_512", {p.kv_dtype}),
          {groups, 1, 1}, 32 * kSimdsPerGroup),
      std::move(access));
}

std::optional<std::string_view> attn_prefill_simdgroup_leaves(const AttnPrefillParams& p) {
  constexpr int32_t kDims[] = {64, 80, 96, 128, 192, 256, 512};
  const bool has_dim = std::find(std::begin(kDims), std::end(kDims), p.head_dim) != std::end(kDims);
  if (p.kv_dtype == DType::kF32 || p.head_dim != p.v_dim || !has_dim) {
    return "is for 16-bit keys and values of the usual dims";
  }
  return std::nullopt;
}

void attn_prefill_simdgroup(StreamImpl& stream, const AttnPrefillParams& p,
                            backends::Access access) {
  const int64_t rows = p.head_dim <= 128 ? 32 : 16;  // of a threadgroup, as in metal.h
  backends::gpu_stream(stream).launch(
      attn_prefill_launch(
          p, kernel_name("attn_prefill_simdgroup", {p.kv_dtype}) + "_" + std::to_string(p.head_dim),
          attn_prefill_grid(p, rows), p.head_dim <= 256 ? 128 : 256),
      std::move(access));
}

}  // namespace mlxn::kernels
