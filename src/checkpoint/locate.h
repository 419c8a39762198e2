// SPDX-License-Identifier: Apache-2.0
// Which files a model path stands for.
#pragma once

#include <string>

#include "checkpoint/json.h"

namespace mlxn::checkpoint {

struct ModelLocation {
  enum class Kind : uint8_t {
    kDirectory,   // has config.json
    kGguf,        // a .gguf file
    kConfigFile,  // a .json file
  };
  Kind kind;
  std::string path;
};

// A directory without config.json but with one .gguf model (a split one counts once) stands for
// that file. Throws kIo.
ModelLocation locate_model(const std::string& path);

// Configs are a few kilobytes; files over 16 MiB are refused. Throws kIo and kConfig.
Json read_json_file(const std::string& path);
Json read_json_file_if_exists(const std::string& path);  // absent if there is none

}  // namespace mlxn::checkpoint
