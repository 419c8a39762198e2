// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/fail.h"

#include <fmt/format.h>

#include <utility>

namespace mlxn::checkpoint {

std::string in_quotes(std::string_view text) {
  constexpr size_t kMaxShown = 80;
  std::string out = "\"";
  for (unsigned char c : text.substr(0, kMaxShown)) {
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      out += static_cast<char>(c);
    } else {
      out += fmt::format("\\x{:02x}", c);
    }
  }
  if (text.size() > kMaxShown) out += "...";
  return out + "\"";
}

void fail(ErrorKind kind, std::string where, std::string parameter, std::string found,
          std::string required) {
  throw Error(kind, ErrorDetail{std::move(where), std::move(parameter), std::move(found),
                                std::move(required)});
}

std::string file_name(std::string_view path) {
  const size_t slash = path.find_last_of('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

}  // namespace mlxn::checkpoint
