// SPDX-License-Identifier: Apache-2.0
// Crafted files, each of which breaks one rule, and what the library says about them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "mlxn/error.h"

namespace mlxn::bad_files {

// The call that must fail; those in front of it must not.
enum class Step { kOpen, kTokenizer, kModel };

using Files = std::vector<std::pair<std::string, std::string>>;  // name, bytes

struct BadFile {
  std::string rule;  // unique among all
  ErrorKind kind;
  std::string text;  // the whole message, paths relative to the directory of the files
  Files files;
  Step step = Step::kOpen;
  std::string opened = "";  // the file or directory that is opened; empty: where the files are
};

using BadFiles = std::vector<BadFile>;

BadFiles gguf_containers();
BadFiles gguf_splits();
BadFiles gguf_configs();
BadFiles gguf_tensors();
BadFiles gguf_vocabularies();
BadFiles safetensors_containers();
BadFiles shard_indexes();
BadFiles config_jsons();
BadFiles quantization_sections();
BadFiles mlx_weights();
BadFiles tokenizer_jsons();

// What the cases damage.
std::string good_gguf();             // a whole model
std::string good_gguf_vocabulary();  // with a tokenizer, without weights
Files good_tokenizer_directory();    // likewise

}  // namespace mlxn::bad_files
