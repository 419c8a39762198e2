// SPDX-License-Identifier: Apache-2.0
// The tokenizer.ggml.* metadata as the struct that the tokenizer takes.
#pragma once

#include "checkpoint/gguf.h"
#include "mlxn/tokenizer.h"

namespace mlxn::checkpoint {

// Throws kGguf for values of a wrong type; whether they make a tokenizer is not judged here.
GgufVocab read_gguf_vocab(const GgufFile& gguf);

}  // namespace mlxn::checkpoint
