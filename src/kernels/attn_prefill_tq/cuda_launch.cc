// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of cuda_codes.h.
#include "kernels/attn_prefill_tq/cuda_launch.h"

#include <utility>

#include "kernels/attn_prefill_tq/gpu_launch.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {
namespace {

// As in cuda.cu.
constexpr int64_t kThreads = 256, kStatic = 4096;  // bytes of norms and limits at most
int64_t rows_of(int64_t dim) { return dim == 512 ? 64 : 128; }
int64_t keys_of(int64_t dim) { return dim == 512 ? 16 : dim == 256 ? 32 : 64; }

bool have_one_table(const AttnPrefillTqParams& p) {
  return p.k.table.code_bits == p.v.table.code_bits && p.k.table.half_unit == p.v.table.half_unit &&
         p.k.table.levels == p.v.table.levels;
}

uint32_t table_bytes(const TqCache& cache, bool one_table) {
  const int32_t bits = cache.table.code_bits;
  return 128u << (bits < 4 || (bits == 4 && one_table) ? 2 * bits : bits);
}

int64_t memory_of(const AttnPrefillTqParams& p, const GpuAttnPrefillTq& args) {
  const int64_t dim = p.k.dim, rows = rows_of(dim), keys = keys_of(dim);
  const auto pitch = [](int64_t bytes) { return ((bytes + 15) / 16 | 1) * 16; };
  return 2 * (rows + keys) * (2 * dim + 16) + args.k_table + args.v_table +
         keys * (pitch(p.k.row_bytes) + pitch(p.v.row_bytes));
}

bool is_plain(const AttnPrefillParams& a) {
  constexpr float kLeastScale = 0x1p-20f;  // as in attn_prefill/cuda_rows.h
  return a.softmax_scale >= kLeastScale && a.logits_soft_cap == 0.0f && a.alibi_slopes == nullptr &&
         a.pages.table == nullptr && a.ring_start == nullptr && a.capacity >= keys_of(a.head_dim);
}

}  // namespace

std::optional<std::string_view> attn_prefill_tq_cuda_leaves(const AttnPrefillTqParams& p) {
  const int32_t dim = p.k.dim;
  if (!p.k.table.has_half || !p.v.table.has_half) return "is for levels that are exact in f16";
  if (dim != p.v.dim || (dim != 64 && dim != 128 && dim != 256 && dim != 512)) {
    return "is for dims of 64, 128, 256 and 512";
  }
  if (!aligned_rows({p.attn.q, p.k.codes, p.v.codes}, 16)) return "is for rows aligned to 16 bytes";
  return std::nullopt;
}

std::optional<std::string_view> attn_prefill_tq_cuda_refuses(const AttnPrefillTqParams& p) {
  constexpr int64_t kMaxGrid = 65535;  // along the second and third axis
  const AttnPrefillParams& a = p.attn;
  if (a.batch > kMaxGrid || a.num_heads > kMaxGrid) return "counts sequences and heads in 16 bits";
  return refuse_large({a.capacity, a.q_len, a.pages.count, a.q_strides.batch, a.k_strides.batch,
                       a.out_strides.batch});
}

void attn_prefill_tq_cuda(StreamImpl& stream, const AttnPrefillTqParams& p,
                          backends::Access access) {
  const AttnPrefillParams& a = p.attn;
  const bool one_table = have_one_table(p);
  GpuAttnPrefillTq args = attn_prefill_tq_args(p);
  args.k_table = table_bytes(p.k, one_table);
  args.v_table = one_table ? 0 : table_bytes(p.v, false);
  const int64_t memory = memory_of(p, args);
  backends::GpuStream& gpu = backends::gpu_stream(stream);
  if (static_cast<int64_t>(gpu.limits().threadgroup_memory) < memory + kStatic) {
    return attn_prefill_tq_gpu(stream, p, std::move(access));
  }
  const std::string base = is_plain(a) ? "attn_prefill_tq_mma_" : "attn_prefill_tq_mma_ruled_";
  backends::GpuLaunch launch{
      .op = "attn_prefill_tq",
      .kernel = base + std::to_string(p.k.dim),
      .groups = {divide_up(a.q_len, rows_of(p.k.dim)), static_cast<uint32_t>(a.num_heads),
                 static_cast<uint32_t>(a.batch)},
      .threads = kThreads};
  launch.buffer(a.q).buffer(p.k.codes).buffer(p.k.norms).buffer(p.v.codes).buffer(p.v.norms);
  launch.buffer(a.kv_len).buffer(a.q_offset).buffer(a.ring_start).buffer(a.prefix_len);
  launch.buffer(a.pages.table).buffer(a.sinks).buffer(a.alibi_slopes).buffer(a.out).buffer(a.lse);
  launch.constants(args).threadgroup(static_cast<size_t>(memory));
  gpu.launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
