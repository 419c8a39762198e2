// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/attn_decode/gpu_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/attn_decode/gpu_args.h"
#include "kernels/attn_decode/gpu_parts.h"
#include "kernels/common/gpu_attn_launch.h"

namespace mlxn::kernels {
namespace {

constexpr uint32_t kThreads = 128;  // four simdgroups, as in gpu.h

std::string kernel_of(const AttnDecodeParams& p) {
  const std::string base =
      std::max(p.head_dim, p.v_dim) <= 128 ? "attn_decode_128_" : "attn_decode_512_";
  return kernel_name(base + std::to_string(heads_per_tile(p)), {p.kv_dtype});
}

}  // namespace

GpuAttnDecode attn_decode_args(const AttnDecodeParams& p, const GpuParts& parts,
                               int64_t tile_heads) {
  const auto bytes = [](int64_t dim, DType dtype) {
    return dim * static_cast<int64_t>(size_of(dtype));
  };
  return {.num_heads = static_cast<uint32_t>(p.num_heads),
          .num_kv_heads = static_cast<uint32_t>(p.num_kv_heads),
          .capacity = static_cast<uint32_t>(p.capacity),
          .window_size = gpu_reach(p.window_size),
          .chunk_size = gpu_reach(p.chunk_size),
          .head_dim = static_cast<uint32_t>(p.head_dim),
          .v_dim = static_cast<uint32_t>(p.v_dim),
          .n_split = static_cast<uint32_t>(p.n_split),
          .splits = static_cast<uint32_t>(gpu_splits(p, parts)),
          .tiles = divide_up(p.num_heads / p.num_kv_heads, tile_heads),
          .query_type = query_type(p.q_dtype),
          .ring_start = p.ring_start != nullptr,
          .ring = p.ring,
          .vectors = aligned_rows({p.q}, bytes(p.head_dim, p.q_dtype)) &&
                     aligned_rows({p.k}, bytes(p.head_dim, p.kv_dtype)) &&
                     aligned_rows({p.v}, bytes(p.v_dim, p.kv_dtype)),
          .sinks = p.sinks != nullptr,
          .slopes = p.alibi_slopes != nullptr,
          .lse = p.lse != nullptr,
          .parts = parts,
          .pages = gpu_pages(p.pages),
          .softmax_scale = p.softmax_scale,
          .logits_soft_cap = p.logits_soft_cap};
}

namespace {

void merge_parts(StreamImpl& stream, const AttnDecodeParams& p, const GpuAttnDecode& args,
                 const Buffer& values, const Buffer& states, backends::Access access) {
  access.read(values);
  access.read(states);
  backends::GpuLaunch launch{.op = "attn_decode_merge",
                             .kernel = "attn_decode_merge",
                             .groups = {static_cast<uint32_t>(p.batch * p.num_heads), 1, 1},
                             .threads = merge_threads(p)};
  launch.buffer(values.data()).buffer(states.data()).buffer(p.kv_len).buffer(p.ring_start);
  launch.buffer(p.sinks).buffer(p.out).buffer(p.lse).constants(args);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace

std::optional<std::string_view> attn_decode_gpu_refuses(const AttnDecodeParams& p) {
  return refuse_large(
      {p.capacity, p.pages.count, p.batch * p.num_heads * gpu_splits(p, kSharedParts)});
}

void attn_decode_gpu(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access) {
  const GpuAttnDecode args = attn_decode_args(p, kSharedParts, heads_per_tile(p));
  const size_t heads = static_cast<size_t>(p.batch * p.num_heads), parts = heads * args.splits;
  const uint32_t groups =
      static_cast<uint32_t>(p.batch * p.num_kv_heads) * args.tiles * args.splits;
  backends::GpuStream& gpu = backends::gpu_stream(stream);
  backends::GpuLaunch launch{
      .op = "attn_decode", .kernel = kernel_of(p), .groups = {groups, 1, 1}, .threads = kThreads};
  launch.buffer(p.q).buffer(p.k).buffer(p.v).buffer(p.kv_len).buffer(p.ring_start);
  launch.buffer(p.pages.table).buffer(p.sinks).buffer(p.alibi_slopes);
  if (args.splits == 1) {
    launch.buffer(p.out).buffer(p.lse).buffer(nullptr).buffer(nullptr).constants(args);
    return gpu.launch(std::move(launch), std::move(access));
  }
  const Buffer values = stream.scratch(parts * static_cast<size_t>(p.v_dim) * sizeof(float));
  const Buffer states = stream.scratch(parts * 2 * sizeof(float));
  backends::Access split = access.inputs();
  split.write(values);
  split.write(states);
  launch.buffer(nullptr).buffer(nullptr).buffer(values.data()).buffer(states.data());
  launch.constants(args);
  gpu.launch(std::move(launch), std::move(split));
  merge_parts(stream, p, args, values, states, std::move(access));
}

}  // namespace mlxn::kernels
