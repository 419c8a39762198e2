// SPDX-License-Identifier: Apache-2.0
// Byte tokens: <0x00> to <0xFF>.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "tokenizer/vocab.h"

namespace mlxn::tokenizer {

// Id of the token of each byte, -1 where the vocabulary has none.
using ByteTokens = std::array<int32_t, 256>;

ByteTokens find_byte_tokens(const Vocab& vocab);
// The byte that a token text such as "<0x0A>" stands for.
std::optional<uint8_t> byte_of_token(std::string_view text);

}  // namespace mlxn::tokenizer
