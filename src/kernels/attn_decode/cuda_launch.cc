// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of cuda_floats.h.
#include "kernels/attn_decode/cuda_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/attn_decode/cuda_plan.h"
#include "kernels/attn_decode/gpu_launch.h"
#include "kernels/attn_decode/gpu_parts.h"
#include "kernels/common/gpu_attn_launch.h"

namespace mlxn::kernels {
namespace {

// As in the kernels.
constexpr int32_t kDims[] = {64, 80, 96, 128, 192, 256, 512};
using decode_plan::kColumns, decode_plan::kKeys, decode_plan::kWarps;

int64_t tiles_of(const AttnDecodeParams& p) {
  return base::ceil_div(p.num_heads / p.num_kv_heads, kColumns);
}

std::string kernel_of(const AttnDecodeParams& p) {
  const bool plain = p.logits_soft_cap == 0.0f && p.alibi_slopes == nullptr;
  const bool few =
      plain && p.kv_dtype == DType::kF16 && p.num_heads / p.num_kv_heads <= kColumns / 2;
  const std::string form = few ? "few_" : plain ? "" : "ruled_";
  return kernel_name("attn_decode_mma_" + form + std::to_string(p.head_dim), {p.kv_dtype});
}

}  // namespace

std::optional<std::string_view> attn_decode_cuda_leaves(const AttnDecodeParams& p) {
  const int64_t row_bytes = int64_t{2} * p.head_dim;
  if (p.kv_dtype == DType::kF32) return "is for keys and values of 16 bits";
  if (p.head_dim != p.v_dim) return "is for keys as long as values";
  if (std::find(std::begin(kDims), std::end(kDims), p.head_dim) == std::end(kDims)) {
    return "is for the usual head dims";
  }
  if (!aligned_rows({p.k, p.v}, row_bytes)) return "is for rows aligned to 16 bytes";
  return std::nullopt;
}

std::optional<std::string_view> attn_decode_cuda_refuses(const AttnDecodeParams& p) {
  const int64_t rows = p.batch * p.num_heads;
  if (p.batch > kMaxGrid || p.num_heads > kMaxGrid) return "counts sequences and heads in 16 bits";
  return refuse_large({p.capacity, p.pages.count * p.num_kv_heads * p.pages.page_size,
                       rows * std::max(p.n_split, 1), rows * base::ceil_div(p.capacity, kKeys)});
}

void attn_decode_cuda(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access) {
  backends::GpuStream& gpu = backends::gpu_stream(stream);
  const backends::GpuLimits limits = gpu.limits();
  const int64_t terms = p.kv_dtype == DType::kBF16 ? 3 : 2;
  const int64_t memory = std::max(kWholeUnit, decode_plan::memory(p.head_dim, terms));
  if (static_cast<int64_t>(limits.threadgroup_memory) < memory) {
    return attn_decode_gpu(stream, p, std::move(access));
  }
  const GpuParts parts = matrix_parts(p, tiles_of(p), limits.compute_units);
  const GpuAttnDecode args = attn_decode_args(p, parts, kColumns);
  const int64_t rows = p.batch * p.num_heads * args.splits;
  const Buffer values = stream.scratch(static_cast<size_t>(rows * p.v_dim) * sizeof(float));
  const Buffer states = stream.scratch(static_cast<size_t>(rows) * 2 * sizeof(float));
  backends::GpuLaunch launch{
      .op = "attn_decode",
      .kernel = kernel_of(p),
      .groups = {args.splits, static_cast<uint32_t>(p.num_kv_heads) * args.tiles,
                 static_cast<uint32_t>(p.batch)},
      .threads = kWarps * 32};
  launch.buffer(p.q).buffer(p.k).buffer(p.v).buffer(p.kv_len).buffer(p.ring_start);
  launch.buffer(p.pages.table).buffer(p.alibi_slopes);
  launch.buffer(values.data()).buffer(states.data()).constants(args);
  launch.threadgroup(static_cast<size_t>(memory));
  backends::Access split = access.inputs();
  split.write(values);
  split.write(states);
  gpu.launch(std::move(launch), std::move(split));

  access.read(values);
  access.read(states);
  launch = {.op = "attn_decode_merge",
            .kernel = "attn_decode_mma_merge_" + std::to_string(p.head_dim),
            .groups = {static_cast<uint32_t>(p.batch * p.num_heads), merge_chunks(p.v_dim), 1},
            .threads = kMergeThreads};
  launch.buffer(values.data()).buffer(states.data()).buffer(p.sinks).buffer(p.out).buffer(p.lse);
  launch.constants(args);
  gpu.launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
