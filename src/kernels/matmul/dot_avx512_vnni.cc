// SPDX-License-Identifier: Apache-2.0
// Integer matmul with AVX-512 VNNI.
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
// GCC 12's own header reads the "undefined" vectors that its intrinsics start from.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c,bmi2")

namespace mlxn::kernels::matmul {
namespace {

// sum + w.lo16 * x.lo16 + w.hi16 * x.hi16 in each lane.
inline __m512i dot_pairs(__m512i sum, __m512i w, __m512i x) {
  return _mm512_dpwssd_epi32(sum, w, x);
}

#include "kernels/matmul/lanes_avx512.h"
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

void run_avx512_vnni(const Tile& tile) { run_tile(tile); }

}  // namespace mlxn::kernels::matmul

#pragma GCC pop_options
#endif  // __x86_64__
