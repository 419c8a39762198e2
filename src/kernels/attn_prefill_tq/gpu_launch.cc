// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/attn_prefill_tq/gpu_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/attn_prefill/gpu_launch.h"
#include "kernels/common/gpu_tq_launch.h"

namespace mlxn::kernels {

GpuAttnPrefillTq attn_prefill_tq_args(const AttnPrefillTqParams& p) {
  GpuAttnPrefillTq args{.attn = attn_prefill_args(p.attn),
                        .k = gpu_tq_table(p.k),
                        .v = gpu_tq_table(p.v),
                        .rotated = p.rotated,
                        .k_table = 0,
                        .v_table = 0,
                        .k_unit = p.k.table.half_unit,
                        .v_unit = p.v.table.half_unit};
  // Rows of q and out are multiples of eight elements, so they are where the first one is.
  args.attn.vectors = aligned({p.attn.q, p.attn.out});
  return args;
}

std::optional<std::string_view> attn_prefill_tq_gpu_refuses(const AttnPrefillTqParams& p) {
  const AttnPrefillParams& a = p.attn;
  return refuse_large({a.capacity, a.q_len, attn_prefill_simds(a), a.pages.count, a.q_strides.batch,
                       a.out_strides.batch});
}

void attn_prefill_tq_gpu(StreamImpl& stream, const AttnPrefillTqParams& p,
                         backends::Access access) {
  constexpr uint32_t kSimdsPerGroup = 4;
  const AttnPrefillParams& a = p.attn;
  const GpuAttnPrefillTq args = attn_prefill_tq_args(p);
  backends::GpuLaunch launch{.op = "attn_prefill_tq",
                             .kernel = std::max(a.head_dim, a.v_dim) <= 128 ? "attn_prefill_tq_128"
                                                                            : "attn_prefill_tq_512",
                             .groups = {divide_up(args.attn.simds, kSimdsPerGroup), 1, 1},
                             .threads = 32 * kSimdsPerGroup};
  launch.buffer(a.q).buffer(p.k.codes).buffer(p.k.norms).buffer(p.v.codes).buffer(p.v.norms);
  launch.buffer(a.kv_len).buffer(a.q_offset).buffer(a.ring_start).buffer(a.prefix_len);
  launch.buffer(a.pages.table).buffer(a.sinks).buffer(a.alibi_slopes).buffer(a.out).buffer(a.lse);
  launch.constants(args);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
