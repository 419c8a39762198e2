// SPDX-License-Identifier: Apache-2.0
#include "mlxn/generator.h"

namespace mlxn {

Tokenizer load_tokenizer(const Checkpoint& checkpoint) {
  if (const auto vocab = checkpoint.gguf_vocab()) return Tokenizer::from_gguf_vocab(*vocab);
  return Tokenizer::from_directory(checkpoint.path());
}

}  // namespace mlxn
