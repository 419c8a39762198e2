// SPDX-License-Identifier: Apache-2.0
// Template text to tokens. White space control is done here: trim_blocks and lstrip_blocks are on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mlxn::tokenizer::jinja {

enum class TokenKind : uint8_t {
  kData,
  kPrintBegin,  // {{
  kPrintEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,  // text is the value
  kInt,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;
};

std::vector<Token> tokenize(std::string_view source);

}  // namespace mlxn::tokenizer::jinja
