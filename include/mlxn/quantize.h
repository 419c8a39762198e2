// SPDX-License-Identifier: Apache-2.0
// Writing a float checkpoint in another format: MLX directories and GGUF files, quantised or not.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/export.h"

namespace mlxn {

enum class OutputFormat : uint8_t { kMlx, kGguf };

// The two ways to fit MLX affine groups. Published files were made on Metal; the CPU recipe gives
// the bits of the `mlx` package on a CPU.
enum class QuantizeRecipe : uint8_t { kMetal, kCpu };

// A type for the matrices whose name in the output has a match of `pattern` (a POSIX extended
// regular expression).
struct KeepRule {
  std::string pattern;
  std::string type;
};

struct QuantizeProgress {
  std::string_view tensor;  // being written
  uint64_t bytes_done = 0;  // of the source
  uint64_t bytes_total = 0;
};

struct QuantizeOptions {
  OutputFormat format = OutputFormat::kMlx;
  // What matrices become. GGUF: "f32", "f16", "bf16" or a block format that has an encoder, such as
  // "q4_k". MLX: "affine" with `bits` and `group_size`, "mxfp4", "mxfp8", "nvfp4", "f32", "f16",
  // "bf16", or "float" for the type that the source has. Norms, scalars and other vectors are never
  // quantised: they stay f32 in GGUF and as they are in MLX directories.
  std::string type = "affine";
  int bits = 4;         // affine: 2, 3, 4, 5, 6 or 8
  int group_size = 64;  // affine: 32, 64 or 128
  QuantizeRecipe recipe = QuantizeRecipe::kMetal;
  // The first rule that matches wins. Types are those of `type`; for MLX also a number of bits
  // ("8"); for both formats "copy": as the source has it, quantised or not.
  std::vector<KeepRule> keep;
  bool overwrite = false;       // replace what is at the destination
  bool measure_errors = false;  // fill in the errors of QuantizedTensor; reads every value twice
  int num_threads = 0;          // 0: all cores
  // Called on the calling thread between pieces of work; false stops and removes what was written.
  std::function<bool(const QuantizeProgress&)> progress;
};

struct QuantizedTensor {
  std::string name;  // in the output
  std::string type;  // "q4_k", "affine 4-bit, group 64", "f32"
  Shape shape;
  uint64_t bytes = 0;            // scales and biases included
  double bits_per_weight = 0.0;  // 8 * bytes / elements
  // Against the source: sqrt(sum of squared errors / sum of squares), and the largest error.
  double relative_rms_error = 0.0;
  double max_abs_error = 0.0;
};

struct QuantizeResult {
  bool completed = false;  // false: the progress function said stop, nothing was left behind
  std::vector<QuantizedTensor> tensors;  // in file order
  uint64_t bytes_in = 0;                 // of the tensors that were read
  uint64_t bytes_out = 0;                // of the tensors that were written
  double bits_per_weight = 0.0;          // over all tensors
  std::vector<std::string> notes;        // what was left out or differs, for people
};

// Reads the checkpoint at `input` (a directory with config.json and safetensors files, or a GGUF
// file) and writes `output` (a directory, or a .gguf file). The output appears whole under its name
// or not at all. Memory for values is a few megabytes per thread whatever the model's size.
//
// Throws kInvalidArgument for options that make no sense and for a destination that exists or lies
// inside the source; kUnsupportedDtype naming a tensor that is quantised already or a type that
// cannot be written; kConfig and kTokenizer naming what the output format cannot express; kIo, also
// when the disk is full; and what Checkpoint::open throws.
MLXN_API QuantizeResult quantize(const std::string& input, const std::string& output,
                                 const QuantizeOptions& options = {});

// Types that `type` accepts for the format.
MLXN_API std::vector<std::string> quantize_types(OutputFormat format);

}  // namespace mlxn
