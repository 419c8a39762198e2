// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/byte_tokens.h"

#include <string>

namespace mlxn::tokenizer {

ByteTokens find_byte_tokens(const Vocab& vocab) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  ByteTokens ids;
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string text = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
    ids[byte] = vocab.find(text).value_or(-1);
  }
  return ids;
}

std::optional<uint8_t> byte_of_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : text.substr(3, 2)) {
    const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                           : c >= 'A' && c <= 'F' ? static_cast<unsigned>(c - 'A' + 10)
                           : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10)
                                                  : 16u;
    if (digit == 16) return std::nullopt;
    value = value << 4 | digit;
  }
  return static_cast<uint8_t>(value);
}

}  // namespace mlxn::tokenizer
