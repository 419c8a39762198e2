// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "base/no_memory.h"
#include "mlxn/error.h"
#include "mlxn/generator.h"

namespace mlxn {

Tokenizer load_tokenizer(const Checkpoint& checkpoint) try {
  const auto vocab = checkpoint.gguf_vocab();
  if (!vocab) return Tokenizer::from_directory(checkpoint.path());
  try {
    return Tokenizer::from_gguf_vocab(*vocab);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kTokenizer) throw;
    ErrorDetail detail = error.detail();
    detail.where = checkpoint.path();
    throw Error(ErrorKind::kTokenizer, std::move(detail));
  }
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
