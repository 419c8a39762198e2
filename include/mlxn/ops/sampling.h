// SPDX-License-Identifier: Apache-2.0
// From logits to token ids. Throws kInvalidArgument in the words of mlxn/error.h.
#pragma once

#include <cstdint>
#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/lengths.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

struct ArgmaxArgs {
  Buffer x;            // f32 [rows, n]
  Buffer indices;      // u32 [rows]
  Buffer values = {};  // f32 [rows], optional
};
// indices[r] = where x[r] is largest, values[r] = x there. Ties: lowest index. NaN is ignored
// unless a row is all NaN (index 0, value NaN). Throws for extents, dtypes, sizes, overlap.
MLXN_API void argmax(Stream& stream, const ArgmaxArgs& args);

struct TopKArgs {
  Buffer x;        // f32 [rows, n]
  Buffer indices;  // u32 [rows, k], 1 <= k <= n
  Buffer values;   // f32 [rows, k]
};
// The k largest of a row by descending value, ties: lower index first; NaN last. Throws
// kInvalidArgument: extents, k > n, dtypes, sizes, overlap; on a GPU kKernelNotFound for a k above
// 1024.
MLXN_API void top_k(Stream& stream, const TopKArgs& args);

// Sources: top_k: Fan, Lewis and Dauphin, "Hierarchical neural story generation" (2018); top_p:
// Holtzman et al., "The curious case of neural text degeneration" (2019); min_p: Nguyen et al.,
// "Turning up the heat: min-p sampling" (2024); repetition_penalty: Keskar et al., "CTRL" (2019).
struct SamplingParams {
  float temperature = 0.0f;  // 0: argmax of the penalised logits, filters unused
  int top_k = 0;             // keeps so many of the likeliest tokens; <= 0: off
  float top_p = 1.0f;        // keeps the fewest whose mass reaches this; (0, 1]; 1: off
  float min_p = 0.0f;        // keeps those of at least this share of the likeliest; [0, 1]; 0: off
  float repetition_penalty =
      1.0f;  // > 0; 1: off; l > 0 ? l / r : l * r for each distinct recent token
  float presence_penalty = 0.0f;   // subtracted once per distinct recent token
  float frequency_penalty = 0.0f;  // subtracted per occurrence
  int penalty_window = 64;         // recent tokens looked at, prompt included; < 0: all
  uint64_t seed = 0;
};

// Throws for the first parameter that is outside its range.
MLXN_API void check_sampling_params(const SamplingParams& params);

struct SampleArgs {
  Buffer logits;                       // f32 [B, V]; not changed
  std::vector<SamplingParams> params;  // one for all, or B
  Buffer history = {};                 // i32 [B, max_history]: tokens so far, oldest first
  Lengths history_len = {};            // valid entries per sequence; empty: 0
  Buffer suppress = {};                // i32 [n]: ids that are never drawn
  Lengths positions;                   // per sequence: position of the token to draw, keys the draw
  Buffer sequence_ids = {};            // u32 [B]: keys the draw; empty: 0 .. B-1
  Buffer tokens;                       // i32 [B] out
  Buffer logprobs = {};  // f32 [B] out, optional: log-softmax of the raw logits at the token
};

// tokens[b] is drawn from softmax(l / temperature) over the tokens that are kept, l the logits
// after penalties; the filters look at softmax(l). Order: suppression, penalties, top_k, top_p,
// min_p, temperature, draw (llama.cpp's order); top_p is a part of the mass that top_k left, ties
// in a filter go to the lower index. The draw takes the first token, by index among the kept, at
// which the running sum of probabilities exceeds a uniform number of [0, 1). That number is
// Philox4x32-10 keyed by (seed, sequence, position), so a draw does not depend on what else is
// sampled (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11). `params` and host
// values are kept as they are at the call; what lies in buffers is read when the work runs. Ids
// outside the vocabulary, in `history` or `suppress`, are ignored, and device lengths are clamped
// to max_history.
//
// Temperature 0 takes the argmax (lowest index, NaN ignored). A draw from logits with NaN or
// +infinity gives token 0, and so does a row where nothing is left; the log-probability of a raw
// row with NaN or +infinity, or of -infinity only, is NaN. Throws for extents, dtypes, sizes,
// overlap, parameters outside their range, no positions with a temperature above 0.
MLXN_API void sample(Stream& stream, const SampleArgs& args);

}  // namespace mlxn::ops
