// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of cuda_codes.h, cuda_levels.h and cuda_mixed.h.
#include "kernels/attn_decode_tq/cuda_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/attn_decode/gpu_parts.h"
#include "kernels/attn_decode_tq/cuda_plan.h"
#include "kernels/attn_decode_tq/gpu_launch.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {
namespace {

// As in the kernels.
constexpr int32_t kDims[] = {64, 80, 96, 128, 192, 256, 512};
constexpr int64_t kColumns = tq_plan::kColumns, kKeys = tq_plan::kKeys;
constexpr int64_t kStatic = 4096;  // more than kernels have beside what is asked for

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

struct Plan {
  std::string kernel;
  int64_t warps;
  int64_t memory;  // of a threadgroup: tables, queries, then rings, whose place sums take
};

Plan codes_plan(const AttnDecodeTqParams& p) {
  const int64_t dim = p.k.dim;
  const bool plain = p.attn.logits_soft_cap == 0.0f && p.attn.alibi_slopes == nullptr;
  const bool few = plain && p.attn.num_heads / p.attn.num_kv_heads <= kColumns / 2;
  const bool placed =
      plain && (p.attn.ring || p.attn.ring_start != nullptr || p.attn.pages.table != nullptr);
  const std::string form = std::string(few     ? "few_"
                                       : plain ? ""
                                               : "ruled_") +
                           (placed ? "placed_" : "");
  return {"attn_decode_tq_mma_" + form + std::to_string(dim), tq_plan::codes_warps(dim),
          tq_plan::codes_memory(dim, few)};
}

Plan mixed_plan(const AttnDecodeTqParams& p) {
  const int64_t dim = p.k.dim;
  const bool even = p.k.table.code_bits % 2 == 0 && p.v.table.code_bits % 2 == 0;
  return {(dim == 64 && even ? "attn_decode_tq_mixed_even_" : "attn_decode_tq_mixed_") +
              std::to_string(dim),
          tq_plan::kLevelWarps, std::max(kWholeUnit, tq_plan::mixed_memory(dim))};
}

Plan levels_plan(const AttnDecodeTqParams& p) {
  const int64_t dim = p.k.dim, bits = p.k.table.code_bits;
  return {"attn_decode_tq_levels_" + std::to_string(dim) + "_" + std::to_string(bits),
          tq_plan::kLevelWarps, std::max(kWholeUnit, tq_plan::levels_memory(dim, bits))};
}

bool is_of_integers(const AttnDecodeTqParams& p) {
  return tq_plan::has_codes(p.k.dim) && is_of_integers(p.k) && is_of_integers(p.v);
}

Plan plan_of(const AttnDecodeTqParams& p) {
  if (is_of_integers(p)) return codes_plan(p);
  return p.k.table.code_bits == p.v.table.code_bits ? levels_plan(p) : mixed_plan(p);
}

}  // namespace

std::optional<std::string_view> attn_decode_tq_cuda_leaves(const AttnDecodeTqParams& p) {
  if (!p.k.table.has_half || !p.v.table.has_half) return "is for levels that are exact in f16";
  if (p.k.dim != p.v.dim) return "is for keys as long as values";
  if (std::find(std::begin(kDims), std::end(kDims), p.k.dim) == std::end(kDims)) {
    return "is for the usual head dims";
  }
  if (!aligned({p.k.codes, p.v.codes})) return "is for codes aligned to 16 bytes";
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
  const bool integers = is_of_integers(p);
  const Plan plan = plan_of(p);
  if (static_cast<int64_t>(limits.threadgroup_memory) < plan.memory + kStatic) {
    return attn_decode_tq_gpu(stream, p, std::move(access));
  }
  const int64_t tiles = base::ceil_div(a.num_heads / a.num_kv_heads, kColumns);
  GpuParts parts = matrix_parts(a, tiles, limits.compute_units);
  // A tile's time is that of its instructions, so short parts pay. At dim 512 two simdgroups share
  // a tile: four teams, each of which adds up at most 4096 keys, as eight do in matrix_parts().
  if (integers) {
    parts.least_keys = 64;
    if (p.k.dim == 512) parts.most_keys = 16384;
  }
  GpuAttnDecodeTq args = attn_decode_tq_args(p, parts, kColumns);
  if (integers) {
    bytes_of(p.k.table, args.k_bytes);
    bytes_of(p.v.table, args.v_bytes);
  }
  args.k_unit = p.k.table.half_unit;
  args.v_unit = p.v.table.half_unit;
  const int64_t rows = a.batch * a.num_heads * args.splits;
  const Buffer values = stream.scratch(static_cast<size_t>(rows * a.v_dim) * sizeof(float));
  const Buffer states = stream.scratch(static_cast<size_t>(rows) * 2 * sizeof(float));
  backends::GpuLaunch launch{
      .op = "attn_decode_tq",
      .kernel = plan.kernel,
      .groups = {args.splits, static_cast<uint32_t>(a.num_kv_heads) * args.tiles,
                 static_cast<uint32_t>(a.batch)},
      .threads = static_cast<uint32_t>(plan.warps) * 32};
  launch.buffer(a.q).buffer(p.k.codes).buffer(p.k.norms).buffer(p.v.codes).buffer(p.v.norms);
  launch.buffer(a.kv_len).buffer(a.ring_start).buffer(a.pages.table).buffer(a.alibi_slopes);
  launch.buffer(values.data()).buffer(states.data());
  launch.constants(args).threadgroup(static_cast<size_t>(plan.memory));
  backends::Access split = access.inputs();
  split.write(values);
  split.write(states);
  gpu.launch(std::move(launch), std::move(split));

  access.read(values);
  access.read(states);
  launch = {.op = "attn_decode_tq_merge",
            .kernel = "attn_decode_tq_mma_merge_" + std::to_string(p.k.dim),
            .groups = {static_cast<uint32_t>(a.batch * a.num_heads), merge_chunks(p.k.dim), 1},
            .threads = kMergeThreads};
  launch.buffer(values.data()).buffer(states.data()).buffer(a.sinks).buffer(a.out).buffer(a.lse);
  launch.constants(args);
  gpu.launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
