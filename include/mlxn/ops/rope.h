// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding (Su et al., "RoFormer: Enhanced transformer with rotary position
// embedding", 2021), alone and fused behind the per-head norm. Throws kInvalidArgument in the words
// of mlxn/error.h.
#pragma once

#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

// Which elements of a head form pair i < rotary_dim / 2.
enum class RopePairing : uint8_t {
  kSplitHead,    // (i, i + head_dim / 2): half-split; with rotary_dim < head_dim Gemma 4's partial
                 // form
  kSplitRotary,  // (i, i + rotary_dim / 2): the first rotary_dim elements as a block of their own
  kInterleaved,  // (2 i, 2 i + 1), as in the paper
};

// Inverse frequencies for the ops below, radians per position: inv_freq[i] = theta^(-2 i /
// denominator) / factors[i], computed in double, i < rotary_dim / 2. denominator is head_dim or
// rotary_dim; factors may be empty (1). Throws kInvalidArgument for a rotary_dim that is odd,
// negative or over 2^31, a denominator below 1, theta not finite or <= 0, factors <= 0 or fewer
// than rotary_dim / 2.
MLXN_API std::vector<float> rope_frequencies(double theta, int64_t rotary_dim, int64_t denominator,
                                             const std::vector<float>& factors = {});

struct RopeArgs {
  Buffer x;          // [T, H, D] (seq-major); f32, f16, bf16
  Buffer positions;  // i32 or u32, below 2^31, [T]; not looked at if inv_freq is empty
  Buffer inv_freq;   // f32 [rotary_dim / 2], rotary_dim <= D; an empty buffer copies
  Buffer out;        // like x; may be x itself
  RopePairing pairing = RopePairing::kSplitHead;
};

// angle = positions[t] * inv_freq[i] in f32; (x0, x1) -> (x0 cos - x1 sin, x0 sin + x1 cos);
// elements outside the pairs are copied, and so is every element at position 0. Negative positions
// rotate backwards. f32 arithmetic, one rounding. Throws for odd D, inv_freq longer than D / 2, T
// that differs, dtypes, extents, sizes, overlap.
MLXN_API void rope(Stream& stream, const RopeArgs& args);

struct HeadNormRopeArgs {
  Buffer x;               // [T, H, D]; f32, f16, bf16
  Buffer weight = {};     // [D]; empty: 1
  Buffer positions = {};  // i32 or u32, below 2^31, [T]; needed if inv_freq is given
  Buffer inv_freq = {};   // as in rope; empty: norm only (Gemma 4's V norm)
  Buffer out;             // like x; may be x itself
  RopePairing pairing = RopePairing::kSplitHead;
  float eps = 0.0f;
  float weight_offset = 0.0f;
};

// out = rope(x / sqrt(mean_D(x^2) + eps) * (weight_offset + weight)) per head, one rounding at the
// end. Throws as rope (an odd D only together with inv_freq), for a weight shorter than D, eps
// negative or not finite, weight_offset not finite.
MLXN_API void head_norm_rope(Stream& stream, const HeadNormRopeArgs& args);

}  // namespace mlxn::ops
