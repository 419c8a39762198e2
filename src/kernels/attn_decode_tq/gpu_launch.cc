// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/attn_decode_tq/gpu_launch.h"

#include <utility>

#include "kernels/attn_decode/gpu_parts.h"
#include "kernels/attn_decode_tq/gpu_args.h"
#include "kernels/common/gpu_attn_launch.h"
#include "kernels/common/gpu_tq_launch.h"

namespace mlxn::kernels {

GpuAttnDecodeTq attn_decode_tq_args(const AttnDecodeTqParams& p, const GpuParts& parts,
                                    int64_t tile_heads) {
  const AttnDecodeParams& a = p.attn;
  return {.k = gpu_tq_table(p.k),
          .v = gpu_tq_table(p.v),
          .num_heads = static_cast<uint32_t>(a.num_heads),
          .num_kv_heads = static_cast<uint32_t>(a.num_kv_heads),
          .capacity = static_cast<uint32_t>(a.capacity),
          .window_size = gpu_reach(a.window_size),
          .chunk_size = gpu_reach(a.chunk_size),
          .n_split = static_cast<uint32_t>(a.n_split),
          .splits = static_cast<uint32_t>(gpu_splits(a, parts)),
          .tiles = divide_up(a.num_heads / a.num_kv_heads, tile_heads),
          .ring_start = a.ring_start != nullptr,
          .ring = a.ring,
          .rotated = p.rotated,
          .query_type = query_type(a.q_dtype),
          .vectors = aligned({a.q, a.out}),
          .sinks = a.sinks != nullptr,
          .slopes = a.alibi_slopes != nullptr,
          .lse = a.lse != nullptr,
          .pages = gpu_pages(a.pages),
          .parts = parts,
          .k_bytes = {},
          .v_bytes = {},
          .k_unit = 0.0f,
          .v_unit = 0.0f,
          .softmax_scale = a.softmax_scale,
          .logits_soft_cap = a.logits_soft_cap};
}

namespace {

void merge_parts(StreamImpl& stream, const AttnDecodeTqParams& p, const GpuAttnDecodeTq& args,
                 const Buffer& values, const Buffer& states, backends::Access access) {
  access.read(values);
  access.read(states);
  backends::GpuLaunch launch{
      .op = "attn_decode_tq_merge",
      .kernel = "attn_decode_tq_merge",
      .groups = {static_cast<uint32_t>(p.attn.batch * p.attn.num_heads), 1, 1},
      .threads = merge_threads(p.attn)};
  launch.buffer(values.data()).buffer(states.data()).buffer(p.attn.kv_len);
  launch.buffer(p.attn.ring_start).buffer(p.attn.sinks).buffer(p.attn.out).buffer(p.attn.lse);
  launch.constants(args);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace

std::optional<std::string_view> attn_decode_tq_gpu_refuses(const AttnDecodeTqParams& p) {
  return refuse_large({p.attn.capacity, p.attn.pages.count,
                       p.attn.batch * p.attn.num_heads * gpu_splits(p.attn, kSharedParts)});
}

void attn_decode_tq_gpu(StreamImpl& stream, const AttnDecodeTqParams& p, backends::Access access) {
  const AttnDecodeParams& a = p.attn;
  const GpuAttnDecodeTq args = attn_decode_tq_args(p, kSharedParts, heads_per_tile(a));
  const size_t heads = static_cast<size_t>(a.batch * a.num_heads), parts = heads * args.splits;
  const uint32_t groups =
      static_cast<uint32_t>(a.batch * a.num_kv_heads) * args.tiles * args.splits;
  backends::GpuStream& gpu = backends::gpu_stream(stream);
  const Buffer values = stream.scratch(parts * static_cast<size_t>(a.v_dim) * sizeof(float));
  const Buffer states = stream.scratch(parts * 2 * sizeof(float));
  backends::GpuLaunch launch{
      .op = "attn_decode_tq",
      .kernel =
          (a.head_dim <= 128 && a.v_dim <= 128 ? "attn_decode_tq_128_" : "attn_decode_tq_512_") +
          std::to_string(heads_per_tile(a)),
      .groups = {groups, 1, 1},
      .threads = 128};  // four simdgroups, as in gpu.h
  launch.buffer(a.q).buffer(p.k.codes).buffer(p.k.norms).buffer(p.v.codes).buffer(p.v.norms);
  launch.buffer(a.kv_len).buffer(a.ring_start).buffer(a.pages.table).buffer(a.alibi_slopes);
  launch.buffer(values.data()).buffer(states.data()).constants(args);
  backends::Access split = access.inputs();
  split.write(values);
  split.write(states);
  gpu.launch(std::move(launch), std::move(split));
  merge_parts(stream, p, args, values, states, std::move(access));
}

}  // namespace mlxn::kernels
