// SPDX-License-Identifier: Apache-2.0
// GGUF metadata of a model.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/gguf.h"
#include "convert/gguf_writer.h"
#include "mlxn/model_config.h"

namespace mlxn::convert {

// Keys about the decoder and its sampling defaults. `name`: general.name.
void add_model(const ModelConfig& model, const std::string& name, GgufMetadata& out);

// general.file_type and general.quantization_version of a file whose matrices are mostly `format`.
void add_file_type(Format format, GgufMetadata& out);

// Everything that `source` says but what add_file_type() says anew and what belongs to its
// container (alignment, split parts).
void copy_metadata(const checkpoint::GgufFile& source, GgufMetadata& out);

// The divisors of Gemma 4's full layers: rope_freqs.weight.
std::vector<float> rope_freqs(const ModelConfig& model);

// Keys about the tokenizer, from tokenizer.json and the files beside it in `directory`.
// Vocabularies shorter than the embedding are filled up with unused tokens. Throws kTokenizer for
// pipelines that GGUF has no name for. False, and only ids are written, if there is no
// tokenizer.json.
bool add_tokenizer(const std::string& directory, const ModelConfig& model, GgufMetadata& out,
                   std::vector<std::string>& notes);

}  // namespace mlxn::convert
