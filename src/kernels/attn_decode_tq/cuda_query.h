// SPDX-License-Identifier: Apache-2.0
// Queries of attn_decode_tq over 4-bit codes: rotated, then digits of integers, as operands of
// products.
#pragma once
#include "kernels/attn_decode_tq/cuda_rotate.h"
#include "kernels/common/cuda_mma.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_mma {

enum { kDigits = 3 };  // of an integer, signed bytes

// What a head's integers stand for.
struct HeadQuery {
  float scale;   // q = scale * integer
  float sum[2];  // of the integers under each norm
};

// Operands b of the scores: digits of the query of head `head` in the rotated domain, whose
// elements this simdgroup holds in x as load_query() gives them, [operand][step][lane] of two
// words. Lane 4g + t has, of the t-th fourth of a unit, elements 8 step .. + 7 of column g. Eight
// heads: digit d, the most significant first, is operand d. Four: it is column 2 head + d % 2 of
// operand d / 2; digit 3 is 0.
template <class Shape>
GPU_FN void put_query(const float* x, uint head, uint2* digits, HeadQuery* head_queries) {
  constexpr float kLargest = 8.35e6f;  // three digits hold up to 127 * 65536 + 127 * 256 + 127
  uint bits = 0;                       // of the largest magnitude, or of what is no number
  UNROLL for (int i = 0; i < 8 * Shape::kRuns; i++) bits = max(bits, __float_as_uint(fabsf(x[i])));
  const float most = __uint_as_float(__reduce_max_sync(~0u, bits));
  const float factor = most > 1e-30f && most < INFINITY ? kLargest / most : 0.0f;
  HeadQuery query;
  query.scale = factor > 0.0f ? most * (1.0f / kLargest) : most - most;  // 0, or not a number
  UNROLL for (int run = 0; run < Shape::kRuns; run++) {
    uint words[4][2] = {};
    int sum = 0;
    UNROLL for (int j = 0; j < 8; j++) {
      const int integer = __float2int_rn(x[8 * run + j] * factor);
      const int low = static_cast<signed char>(integer), rest = (integer - low) >> 8;
      const int middle = static_cast<signed char>(rest), high = (rest - middle) >> 8;
      sum += integer;
      words[0][j / 4] |= (uint(high) & 255u) << (j % 4 * 8);
      words[1][j / 4] |= (uint(middle) & 255u) << (j % 4 * 8);
      words[2][j / 4] |= (uint(low) & 255u) << (j % 4 * 8);
    }
    query.sum[run] = float(__reduce_add_sync(~0u, sum));  // of 256 elements: below 2^31
    const uint at = 8 * (run * 32 + LANE);
    if (at >= Shape::kDim) continue;
    constexpr int kOfHead = Shape::kLaneHeads == 2 ? kDigits : 4;
    UNROLL for (int digit = 0; digit < kOfHead; digit++) {
      const uint operand = kOfHead == 4 ? digit / 2 : digit;
      const uint column = kOfHead == 4 ? 2 * head + digit % 2 : head;
      const uint share = at / Shape::kShareDim, in_share = at % Shape::kShareDim;
      const uint unit = Shape::unit_at(in_share), fourth = Shape::unit_dim(unit) / 4;
      const uint step = unit / 32 + (in_share - unit) % fourth / 8;
      digits[(share * Shape::kShareOperands + operand * Shape::kSteps + step) * 32 + column * 4 +
             (in_share - unit) / fourth] = make_uint2(words[digit][0], words[digit][1]);
    }
  }
  if (LANE == 0) head_queries[head] = query;
}

}  // namespace kernels_attn_decode_tq_mma
}  // namespace gpu
}  // namespace mlxn
