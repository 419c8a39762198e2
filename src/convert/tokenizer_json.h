// SPDX-License-Identifier: Apache-2.0
// The vocabulary of a GGUF file as the files of a model directory.
#pragma once

#include <string>

#include "mlxn/tokenizer.h"

namespace mlxn::convert {

// Throws kTokenizer if tokenizer.json has no pipeline that cuts every text as `vocab` does: only
// vocabularies with merges ("gemma4") have one, those with scores ("llama") do not.
std::string tokenizer_json(const GgufVocab& vocab);

// tokenizer_config.json: special tokens, and chat templates that have names. The template without a
// name belongs into chat_template.jinja.
std::string tokenizer_config(const GgufVocab& vocab);

}  // namespace mlxn::convert
