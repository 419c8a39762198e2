// SPDX-License-Identifier: Apache-2.0
// Integer matmul with NEON, which every 64-bit Arm processor has.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "base/checked.h"
#include "kernels/matmul/activations.h"
#include "kernels/matmul/code_tables.h"
#include "kernels/matmul/cpu.h"
#include "kernels/matmul/tile.h"
#include "quant/blocks.h"
#include "quant/panels.h"

namespace mlxn::kernels::matmul {
namespace {

#include "kernels/matmul/lanes_neon.h"
//
#include "kernels/matmul/panel_source.h"
//
#include "kernels/matmul/panel_formats.h"
//
#include "kernels/matmul/panel_formats_k.h"
//
#include "kernels/matmul/panel_arrays.h"
//
#include "kernels/matmul/panel_float.h"
//
#include "kernels/matmul/panel_dot.h"
//
#include "kernels/matmul/codecs.h"

}  // namespace

void run_neon(const Tile& tile) { run_tile(tile); }

}  // namespace mlxn::kernels::matmul

#endif  // __aarch64__
