// SPDX-License-Identifier: Apache-2.0
// A weight: bytes, their block format and the logical shape. Weights run straight from the mapped
// file; prepare() may repack them into the layout that is fastest on a device.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "mlxn/buffer.h"
#include "mlxn/device.h"
#include "mlxn/export.h"

namespace mlxn {

// How the elements of a row are stored. Layouts: src/quant/README.md.
enum class Format : uint8_t {
  kF32,
  kF16,
  kBF16,
  kAffine,  // MLX: packed codes + scales + biases per group of inputs
  kQ4_0,    // GGUF block formats, up to kMXFP4
  kQ8_0,
  kQ4_K,
  kQ6_K,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ5_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
  kMlxMxfp4,  // MLX fp modes: packed codes + u8 scales per group of inputs
  kMlxMxfp8,
  kMlxNvfp4,
};

MLXN_API std::string_view name(Format format);  // "f32", "affine", "q4_0", "q4_k", ...

// y = W x with W [N, K], or a stack [E, N, K] of experts; quantised along K.
struct Weight {
  Format format = Format::kF32;
  Shape shape = {};  // logical: [N, K] or [E, N, K]
  // dense: [.., N, K]; affine and fp modes: u32 [.., N, K * bits / 32]; blocks: u8 bytes
  Buffer data = {};
  // [.., N, K / group_size]; affine: f32 | f16 | bf16; fp modes: u8 (E8M0, nvfp4: E4M3)
  Buffer scales = {};
  Buffer biases = {};  // affine: same dtype and shape as scales; may be empty (zero)
  int bits = 0;        // affine: 2, 3, 4, 5, 6 or 8; mxfp4, nvfp4: 4; mxfp8: 8
  int group_size = 0;  // affine: 32, 64 or 128; mxfp4, mxfp8: 32; nvfp4: 16
  // What prepare() made; may be empty. u8, at an address that is a multiple of 16; the layout is
  // private to the device's kernels.
  Buffer packed = {};

  bool valid() const { return !shape.empty(); }
  bool is_expert_stack() const { return shape.size() == 3; }
  int64_t num_experts() const { return is_expert_stack() ? shape[0] : 1; }
  int64_t rows() const { return shape.at(shape.size() - 2); }  // N
  int64_t cols() const { return shape.back(); }                // K
};

// Bytes of the weight as stored (data, scales and biases).
MLXN_API size_t stored_bytes(const Weight& weight);
// Checks that buffers, format and shape agree. Throws kInvalidArgument naming `what`.
MLXN_API void check_weight(const Weight& weight, std::string_view what);

// Repacks for the device where that pays; otherwise returns the weight as it is. On the CPU and on
// CUDA formats of codes and scales are copied into panels of sixteen rows, which takes their size
// in memory once more (Checkpoint::let_go gives back what was mapped); other devices take weights
// as stored. Results of every op are the same bits with a prepared and an unprepared weight; CUDA
// packs an unprepared one for each call.
MLXN_API Weight prepare(const Device& device, const Weight& weight);
// Bytes that prepare() would add.
MLXN_API size_t prepared_bytes(const Device& device, const Weight& weight);

}  // namespace mlxn
