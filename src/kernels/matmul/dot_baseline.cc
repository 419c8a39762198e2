// SPDX-License-Identifier: Apache-2.0
// Integer matmul in plain C++.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/matmul/activations.h"
#include "kernels/matmul/cpu.h"
#include "kernels/matmul/tile.h"
#include "quant/affine.h"
#include "quant/q4_0.h"
#include "quant/q4_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace mlxn::kernels::matmul {
namespace {

#include "kernels/matmul/lanes_baseline.h"
//
#include "kernels/matmul/panel_formats.h"
//
#include "kernels/matmul/panel_dot.h"

}  // namespace

void run_baseline(const Tile& tile) { run_tile(tile); }

}  // namespace mlxn::kernels::matmul
