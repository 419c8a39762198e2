// SPDX-License-Identifier: Apache-2.0
// UTF-8 and the few character classes the tokenizers and templates need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mlxn::tokenizer {

// One step through UTF-8. An invalid step covers the longest prefix of a character that is there
// (at least one byte), which is what one U+FFFD stands for.
struct Utf8Step {
  uint32_t code = 0xfffd;
  uint32_t length = 1;  // bytes
  bool valid = false;
  bool incomplete = false;  // invalid only because the text ends here
};

Utf8Step utf8_step(std::string_view text, size_t pos);
void append_utf8(std::string& out, uint32_t code);
// Appends `bytes` with U+FFFD for every invalid step. With `hold` an incomplete character at the
// end is left out; returns how many bytes were consumed.
size_t append_lossy(std::string& out, std::string_view bytes, bool hold);
// Steps, valid or not.
size_t count_chars(std::string_view text);

// Unicode property White_Space.
bool is_white_space(uint32_t code);
// What str.isspace of Python calls space: White_Space and U+001C to U+001F.
bool is_python_space(uint32_t code);
// \w of regular expressions: letters, marks, decimal digits, connectors, join controls.
bool is_word(uint32_t code);

}  // namespace mlxn::tokenizer
