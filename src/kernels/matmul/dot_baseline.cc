// SPDX-License-Identifier: Apache-2.0
// Integer matmul for any processor.
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
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

#include "kernels/matmul/lanes_baseline.h"
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

ActivationLayout activation_layout(const quant::WeightView& weight) {
  return with_codec(weight, [](auto codec) -> ActivationLayout {
    using Codec = decltype(codec);
    const bool halves_bias = Codec::kTerms == Terms::kHalvesBias;
    return {.pair_distance = Codec::kPairDistance,
            .code_factor = halves_bias ? 1 : -Codec::kCodeOffset,
            .has_halves = kHasHalves<Codec::kTerms>};
  });
}

void run_baseline(const Tile& tile) { run_tile(tile); }

}  // namespace mlxn::kernels::matmul
