// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/kv_append/gpu_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/common/gpu_attn_launch.h"
#include "kernels/kv_append/gpu_args.h"

namespace mlxn::kernels {
namespace {

uint32_t row_pieces(const KvAppendParams& p) {
  const int64_t dim = p.v != nullptr ? std::max(p.dim, p.v_dim) : p.dim;
  return divide_up(dim, vector_elements(p.cache_dtype));
}

int64_t piece_count(const KvAppendParams& p) {
  return p.batch * p.n * p.num_kv_heads * row_pieces(p);
}

std::string kernel_of(const KvAppendParams& p) {
  if (p.src_dtype != p.cache_dtype) return kernel_name("kv_append", {p.src_dtype, p.cache_dtype});
  return size_of(p.src_dtype) == 2 ? "kv_append_copy16" : "kv_append_copy32";
}

}  // namespace

std::optional<std::string_view> kv_append_gpu_refuses(const KvAppendParams& p) {
  // Positions, too: pos + pos_skip + n stays below 2^32.
  return refuse_large(
      {piece_count(p), p.dim, p.v_dim, p.n_src, p.capacity, p.pages.count, p.pos_skip + p.n});
}

void kv_append_gpu(StreamImpl& stream, const KvAppendParams& p, backends::Access access) {
  constexpr uint32_t kThreads = 128;
  const auto aligned_streams = [](const void* k, int64_t dim, const void* v, int64_t v_dim,
                                  DType dtype) {
    const auto size = static_cast<int64_t>(size_of(dtype));
    return aligned_rows({k}, dim * size) && (v == nullptr || aligned_rows({v}, v_dim * size));
  };
  backends::GpuLaunch launch{.op = "kv_append",
                             .kernel = kernel_of(p),
                             .groups = {divide_up(piece_count(p), kThreads), 1, 1},
                             .threads = kThreads};
  launch.buffer(p.k).buffer(p.v).buffer(p.k_cache).buffer(p.v_cache).buffer(p.pos);
  launch.buffer(p.pages.table);
  launch.constants(
      GpuKvAppend{.pieces = static_cast<uint32_t>(piece_count(p)),
                  .row_pieces = row_pieces(p),
                  .n_src = static_cast<uint32_t>(p.n_src),
                  .src_offset = static_cast<uint32_t>(p.src_offset),
                  .n = static_cast<uint32_t>(p.n),
                  .pos_skip = static_cast<uint32_t>(p.pos_skip),
                  .num_kv_heads = static_cast<uint32_t>(p.num_kv_heads),
                  .capacity = static_cast<uint32_t>(p.capacity),
                  .dim = static_cast<uint32_t>(p.dim),
                  .v_dim = static_cast<uint32_t>(p.v_dim),
                  .has_v = p.v != nullptr,
                  .ring = p.ring,
                  .token_major = p.token_major,
                  .vectors = aligned_streams(p.k, p.dim, p.v, p.v_dim, p.src_dtype) &&
                             aligned_streams(p.k_cache, p.dim, p.v_cache, p.v_dim, p.cache_dtype),
                  .pages = gpu_pages(p.pages)});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
