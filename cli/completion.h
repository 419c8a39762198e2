// SPDX-License-Identifier: Apache-2.0
// Shell completion scripts, written from the command's own description.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace mlxn::cli {

// shell: "bash", "zsh" or "fish".
std::string completion_script(const CLI::App& app, const std::string& shell);

}  // namespace mlxn::cli
