// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/turboquant/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_attn_launch.h"
#include "kernels/common/gpu_tq_launch.h"
#include "kernels/turboquant/gpu_args.h"

namespace mlxn::kernels {
namespace {

constexpr int64_t kSimds = 4;  // rows of a threadgroup of tq_encode and tq_decode

backends::GpuLaunch row_launch(const char* name, int64_t rows) {
  return {.op = name,
          .kernel = name,
          .groups = {divide_up(rows, kSimds), 1, 1},
          .threads = static_cast<uint32_t>(32 * kSimds)};
}

}  // namespace

std::optional<std::string_view> fwht_gpu_refuses(const FwhtParams& p) {
  return refuse_large({p.rows});
}

void fwht_gpu(StreamImpl& stream, const FwhtParams& p, backends::Access access) {
  backends::GpuLaunch launch{.op = "fwht",
                             .kernel = "fwht",
                             .groups = {static_cast<uint32_t>(p.rows), 1, 1},
                             .threads = group_threads(p.dim / 2, 256)};
  GpuFwht args{.dim = static_cast<uint32_t>(p.dim),
               .before = p.mode == ops::FwhtMode::kForward,
               .after = p.mode == ops::FwhtMode::kInverse,
               .signs = {}};
  std::copy(p.signs.begin(), p.signs.end(), args.signs);
  const size_t bytes = static_cast<size_t>(p.dim) * sizeof(float);
  launch.buffer(p.x).buffer(p.out).constants(args).threadgroup((bytes + 15) / 16 * 16);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

std::optional<std::string_view> tq_encode_gpu_refuses(const TqEncodeParams& p) {
  return refuse_large(
      {p.batch * p.n * p.num_kv_heads, p.n_src, p.capacity, p.pages.count, p.pos_skip});
}

void tq_encode_gpu(StreamImpl& stream, const TqEncodeParams& p, backends::Access access) {
  const int64_t rows = p.batch * p.n * p.num_kv_heads;
  GpuTqEncode args{.coder = gpu_tq_coder(p.to),
                   .levels = {},
                   .rows = static_cast<uint32_t>(rows),
                   .num_kv_heads = static_cast<uint32_t>(p.num_kv_heads),
                   .n = static_cast<uint32_t>(p.n),
                   .n_src = static_cast<uint32_t>(p.n_src),
                   .src_offset = static_cast<uint32_t>(p.src_offset),
                   .pos_skip = static_cast<uint32_t>(p.pos_skip),
                   .capacity = static_cast<uint32_t>(p.capacity),
                   .ring = p.ring,
                   .norm_correction = p.norm_correction,
                   .src_type = query_type(p.src_dtype),
                   .vectors = aligned({p.src}),
                   .pages = gpu_pages(p.pages)};
  std::copy(p.to.table.levels.begin(), p.to.table.levels.end(), args.levels);
  backends::GpuLaunch launch = row_launch("tq_encode", rows);
  launch.buffer(p.src).buffer(p.to.codes).buffer(p.to.norms).buffer(p.pos);
  launch.buffer(p.pages.table).constants(args);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

std::optional<std::string_view> tq_decode_gpu_refuses(const TqDecodeParams& p) {
  return refuse_large({p.head_rows * p.n, p.from.capacity});
}

void tq_decode_gpu(StreamImpl& stream, const TqDecodeParams& p, backends::Access access) {
  const int64_t rows = p.head_rows * p.n;
  backends::GpuLaunch launch = row_launch("tq_decode", rows);
  launch.buffer(p.from.codes).buffer(p.from.norms).buffer(p.out);
  launch.constants(GpuTqDecode{.table = gpu_tq_table(p.from),
                               .rows = static_cast<uint32_t>(rows),
                               .n = static_cast<uint32_t>(p.n),
                               .first_slot = static_cast<uint32_t>(p.first_slot),
                               .capacity = static_cast<uint32_t>(p.from.capacity),
                               .rotate_back = p.rotate_back,
                               .vectors = aligned({p.out})});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
