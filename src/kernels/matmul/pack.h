// SPDX-License-Identifier: Apache-2.0
// Recording of the work that makes prepared panels (quant/panels.h) on the CPU.
#pragma once

#include <cstdint>

#include "backends/backend.h"
#include "backends/hazard_tracker.h"
#include "quant/weight_view.h"

namespace mlxn::kernels::matmul {

// out: panel_layout(weight).total_bytes.
void launch_pack(StreamImpl& stream, const quant::WeightView& weight, backends::Access access,
                 std::byte* out);

}  // namespace mlxn::kernels::matmul
