// SPDX-License-Identifier: Apache-2.0
// Explicit attention masks, and the classes of their tiles, which let attn_prefill skip what is
// blocked and leave out what adds nothing. Row i is query i of a call, column j the key at position
// j. Throws kInvalidArgument in the words of mlxn/error.h.
#pragma once

#include <cstdint>
#include <optional>

#include "mlxn/buffer.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

struct AttnMaskBuildArgs {
  Buffer out;            // [qL, kL] f32, f16, bf16
  int64_t q_offset = 0;  // position of the first query, at least 0
  bool causal = true;
  std::optional<int64_t> window_size = {};  // keys a query sees, itself included; at least 1
};

// out[i, j] = -infinity if (causal and j > q_offset + i) or q_offset + i - j >= window_size, else
// +0. Without causal a window blocks the past only. Throws for dtypes, extents, sizes, a negative
// q_offset, positions beyond 2^31 - 1 and a window_size below 1.
MLXN_API void attn_mask_build(Stream& stream, const AttnMaskBuildArgs& args);

// The classes of the tiles of a mask, with the shape of the tiles.
struct AttnMaskTiles {
  Buffer classes = {};  // u8 [NQ, NK] or [B, H, NQ, NK], NQ = ceil(qL / q_tile) and NK likewise
  int64_t q_tile = 0;   // rows of a tile
  int64_t k_tile = 0;   // keys of a tile
};

// The tiles of attn_prefill.
inline constexpr int64_t kAttnMaskQTile = 32;
inline constexpr int64_t kAttnMaskKTile = 64;

enum AttnMaskClass : uint8_t {
  kMaskBlocked = 0,  // every cell is blocked
  kMaskMixed = 1,    // anything else, and every tile that reaches past the mask's last key
  kMaskFree = 2,     // every cell is 0 (true)
};

struct AttnMaskClassifyArgs {
  // Additive [qL, kL] or [B, H, qL, kL] f32, f16, bf16; or u8, where 0 blocks. B and H may be 1.
  Buffer mask;
  AttnMaskTiles tiles;  // classes is the output
};

// classes[i, j] is the class of rows i q_tile .. and keys j k_tile ..; cells at or below -1e30
// (f16: -65504) are blocked, as in attn_prefill. Rows past qL do not count. Throws for dtypes,
// extents, sizes, overlap, and tiles without rows or keys.
MLXN_API void attn_mask_classify(Stream& stream, const AttnMaskClassifyArgs& args);

}  // namespace mlxn::ops
