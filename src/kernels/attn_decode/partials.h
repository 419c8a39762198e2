// SPDX-License-Identifier: Apache-2.0
// What the parts of a CPU decode leave behind, over floats and over codes.
#pragma once

#include <cstdint>

#include "kernels/attn_decode/params.h"
#include "kernels/common/attn_keys.h"

namespace mlxn::kernels {

// Rows of f32 are padded to this many with zeros.
inline constexpr int64_t kAttnDecodePad = 16;

// What one part leaves for the merge: its values, padded, then its maximum and its sum.
struct AttnDecodePartials {
  float* data;  // [batch, num_heads, splits, stride]; null: one part, which writes the output
  int64_t splits;
  int64_t width;   // v_dim padded
  int64_t stride;  // width + kAttnDecodePad
  float* at(const AttnDecodeParams& p, int64_t b, int64_t head, int64_t split) const {
    return data + ((b * p.num_heads + head) * splits + split) * stride;
  }
};

inline KeyMap key_map(const AttnDecodeParams& p, int64_t b) {
  return make_key_map(p.kv_len[b], p.ring_start ? p.ring_start[b] : 0, p.ring, p.capacity);
}

}  // namespace mlxn::kernels
