// SPDX-License-Identifier: Apache-2.0
// Words for errors about files: values from a hostile file are escaped and cut before they are
// shown.
#pragma once

#include <string>
#include <string_view>

#include "mlxn/error.h"

namespace mlxn::checkpoint {

// The text in double quotes; bytes outside printable ASCII as \xNN, at most 80 bytes of it.
std::string in_quotes(std::string_view text);

[[noreturn]] void fail(ErrorKind kind, std::string where, std::string parameter, std::string found,
                       std::string required);

// Last component of a path.
std::string file_name(std::string_view path);

}  // namespace mlxn::checkpoint
