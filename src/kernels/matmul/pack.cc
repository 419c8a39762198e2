// SPDX-License-Identifier: Apache-2.0
#include "kernels/matmul/pack.h"

#include <algorithm>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "base/checked.h"
#include "quant/panels.h"

namespace mlxn::kernels::matmul {

void launch_pack(StreamImpl& stream, const quant::WeightView& weight, backends::Access access,
                 std::byte* out) {
  constexpr int64_t kTaskBytes = 1 << 20;
  const quant::PanelLayout layout = quant::panel_layout(weight);
  const int64_t panels = layout.panels * weight.num_experts;
  const int64_t step = std::max<int64_t>(1, kTaskBytes / layout.panel_bytes);
  backends::cpu::cpu_stream(stream).dispatch(
      "prepare", "panels", std::move(access), base::ceil_div(panels, step),
      [weight, layout, panels, step, out](uint32_t task) {
        const int64_t first = task * step;
        for (int64_t i = first; i < std::min(panels, first + step); ++i) {
          quant::pack_panel(weight, layout, i, out);
        }
      });
}

}  // namespace mlxn::kernels::matmul
