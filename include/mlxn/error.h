// SPDX-License-Identifier: Apache-2.0
// Typed errors. Every failure of the library is an mlxn::Error; nothing prints, aborts or exits.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "mlxn/export.h"

namespace mlxn {

enum class ErrorKind : uint8_t {
  kInvalidArgument,   // an argument of a call breaks its contract
  kDeviceNotFound,    // no such device, or its backend is not built
  kCommandBuffer,     // recorded work failed while it ran; the only transient kind
  kBufferAllocation,  // the device or the host could not give this much memory
  // No table entry accepts the call; the text has the reason of each. The CPU has an entry for
  // every call that is valid. On a GPU extents, strides and the products that kernels count in
  // (rows times groups, sequences times vocabulary) are below 2^31, k of top_k at most 1024.
  kKernelNotFound,
  kIo,                // open, read or map failed
  kSafetensors,       // a .safetensors file breaks its format
  kGguf,              // a .gguf file breaks its format
  kQuantConfig,       // the quantization section of a config is malformed
  kConfig,            // config.json or GGUF metadata describe a model we cannot build
  kUnsupportedDtype,  // a file holds an element type we cannot represent
  kTokenizer,         // tokenizer data is malformed or of an unknown kind
  kTemplate,          // a chat template does not parse or raised an exception
  kContextFull,       // the KV cache has no room for another token
  // The compiler of a GPU's driver refuses a kernel.
  kKernelCompilation,
};

// An op checks its arguments before anything is recorded, and names in what it throws the op, the
// parameter, the value found and what is required. The headers of ops say for which they throw
// kInvalidArgument in these words: "dtypes": an element type that is not in the list; "extents":
// another number of them than given, others, or one that is not positive; "sizes": an empty buffer
// that is not optional, one of another device, with fewer bytes than its shape takes, not aligned
// to its elements, or an output in read-only memory; "overlap": an output over an input or another
// output, other than in the stated use in place. Beyond that any op may throw kKernelNotFound and
// kBufferAllocation.

// Short name such as "invalid argument", for messages and --json output.
MLXN_API std::string_view name(ErrorKind kind);

// What went wrong, split so that programs can read it. Empty fields are left out of the text.
struct ErrorDetail {
  std::string where;      // op, file or object, such as "rms_norm" or "model.safetensors"
  std::string parameter;  // parameter, tensor or field
  std::string found;      // the value found
  std::string required;   // the value or range required
};

class MLXN_API Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message);
  // Text: "where: parameter: found X, required Y", in one line: control characters and bytes that
  // are not UTF-8 are shown as \xNN, long fields are cut. detail() keeps them as they are.
  Error(ErrorKind kind, ErrorDetail detail);

  ErrorKind kind() const { return kind_; }
  const ErrorDetail& detail() const { return detail_; }
  // True if the same call may succeed when repeated.
  bool is_transient() const { return kind_ == ErrorKind::kCommandBuffer; }

 private:
  ErrorKind kind_;
  ErrorDetail detail_;
};

}  // namespace mlxn
