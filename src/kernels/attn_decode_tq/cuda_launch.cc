// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of cuda_codes.h.
#include "kernels/attn_decode_tq/cuda_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/attn_decode/gpu_parts.h"
#include "kernels/attn_decode_tq/gpu_launch.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {
namespace {

// As in the kernels.
constexpr int64_t kColumns = 8, kKeys = 32, kTableBytes = 32 * 1024, kUnitBytes = kKeys * 64;
constexpr uint32_t kMergeThreads = 1024;

int64_t warps_of(int64_t dim) { return dim == 128 ? 16 : 8; }

// Threadgroup memory: the table, digits of the queries, then rings, whose place sums take.
int64_t memory_of(const AttnDecodeTqParams& p) {
  const int64_t dim = p.k.dim, warps = warps_of(dim), stages = warps == 16 ? 4 : 8;
  const int64_t digits = 3 * dim / 32 * 32 * 8;
  return kTableBytes + digits +
         std::max(warps * stages * kUnitBytes, warps * kColumns * (dim + 4) * 4);
}

// Levels that are odd integers up to 255 times a unit, in the order of sign and magnitude: the
// bytes (n - 1) / 2 by magnitude.
bool bytes_of(const quant::TqTable& t, uint32_t (&bytes)[2]) {
  bytes[0] = bytes[1] = 0;
  for (uint32_t i = 0; i < 8; ++i) {
    const float n = t.levels[i] / t.half_unit;
    const auto byte = static_cast<uint32_t>(std::clamp((n - 1.0f) / 2.0f, 0.0f, 127.0f));
    if (static_cast<float>(2 * byte + 1) != n || t.levels[i] != -t.levels[8 + i]) return false;
    bytes[i / 4] |= byte << (i % 4 * 8);
  }
  return true;
}

bool is_of_integers(const TqCache& c) {
  const quant::TqTable& t = c.table;
  uint32_t bytes[2];
  return t.bits == 4 && t.code_bits == 4 && t.sign_magnitude && t.has_half && bytes_of(t, bytes);
}

}  // namespace

std::optional<std::string_view> attn_decode_tq_cuda_leaves(const AttnDecodeTqParams& p) {
  if (!is_of_integers(p.k) || !is_of_integers(p.v)) return "is for the codebook of 4 bits";
  if (p.k.dim != p.v.dim) return "is for keys as long as values";
  if (p.k.dim != 128 && p.k.dim != 256 && p.k.dim != 512) return "is for dims of 128, 256 and 512";
  if (!aligned_rows({p.k.codes, p.v.codes}, p.k.row_bytes))
    return "is for rows aligned to 16 bytes";
  return std::nullopt;
}

std::optional<std::string_view> attn_decode_tq_cuda_refuses(const AttnDecodeTqParams& p) {
  const int64_t rows = p.attn.batch * p.attn.num_heads;
  if (p.attn.batch > kMaxGrid || p.attn.num_heads > kMaxGrid) {
    return "counts sequences and heads in 16 bits";
  }
  return refuse_large(
      {p.attn.capacity, p.attn.pages.count * p.attn.num_kv_heads * p.attn.pages.page_size,
       rows * std::max(p.attn.n_split, 1), rows * base::ceil_div(p.attn.capacity, kKeys)});
}

void attn_decode_tq_cuda(StreamImpl& stream, const AttnDecodeTqParams& p, backends::Access access) {
  const AttnDecodeParams& a = p.attn;
  backends::GpuStream& gpu = backends::gpu_stream(stream);
  const backends::GpuLimits limits = gpu.limits();
  const int64_t memory = memory_of(p), warps = warps_of(p.k.dim);
  if (static_cast<int64_t>(limits.threadgroup_memory) < memory) {
    return attn_decode_tq_gpu(stream, p, std::move(access));
  }
  const int64_t tiles = base::ceil_div(a.num_heads / a.num_kv_heads, kColumns);
  const GpuParts parts = matrix_parts(a, tiles, kKeys * warps, limits.compute_units);
  GpuAttnDecodeTq args = attn_decode_tq_args(p, parts, kColumns);
  bytes_of(p.k.table, args.k_bytes);
  bytes_of(p.v.table, args.v_bytes);
  args.k_unit = p.k.table.half_unit;
  args.v_unit = p.v.table.half_unit;
  const bool plain = a.logits_soft_cap == 0.0f && a.alibi_slopes == nullptr;
  const int64_t rows = a.batch * a.num_heads * args.splits;
  const Buffer values = stream.scratch(static_cast<size_t>(rows * a.v_dim) * sizeof(float));
  const Buffer states = stream.scratch(static_cast<size_t>(rows) * 2 * sizeof(float));
  backends::GpuLaunch launch{
      .op = "attn_decode_tq",
      .kernel =
          (plain ? "attn_decode_tq_mma_" : "attn_decode_tq_mma_ruled_") + std::to_string(p.k.dim),
      .groups = {args.splits, static_cast<uint32_t>(a.num_kv_heads) * args.tiles,
                 static_cast<uint32_t>(a.batch)},
      .threads = static_cast<uint32_t>(warps) * 32};
  launch.buffer(a.q).buffer(p.k.codes).buffer(p.k.norms).buffer(p.v.codes).buffer(p.v.norms);
  launch.buffer(a.kv_len).buffer(a.ring_start).buffer(a.pages.table).buffer(a.alibi_slopes);
  launch.buffer(values.data()).buffer(states.data());
  launch.constants(args).threadgroup(static_cast<size_t>(memory));
  backends::Access split = access.inputs();
  split.write(values);
  split.write(states);
  gpu.launch(std::move(launch), std::move(split));

  access.read(values);
  access.read(states);
  launch = {.op = "attn_decode_tq_merge",
            .kernel = "attn_decode_tq_mma_merge_" + std::to_string(p.k.dim),
            .groups = {static_cast<uint32_t>(a.batch * a.num_heads), 1, 1},
            .threads = kMergeThreads};
  launch.buffer(values.data()).buffer(states.data()).buffer(a.sinks).buffer(a.out).buffer(a.lse);
  launch.constants(args);
  gpu.launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
