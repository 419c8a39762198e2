// SPDX-License-Identifier: Apache-2.0
// Integer matmul with AVX2.
#if defined(__x86_64__)
#include <immintrin.h>

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

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace mlxn::kernels::matmul {
namespace {

#include "kernels/matmul/lanes_avx2.h"
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

void run_avx2(const Tile& tile) { run_tile(tile); }

}  // namespace mlxn::kernels::matmul

#pragma GCC pop_options
#endif  // __x86_64__
