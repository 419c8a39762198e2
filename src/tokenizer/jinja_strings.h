// SPDX-License-Identifier: Apache-2.0
// Python's string functions on UTF-8. Upper and lower case are by character, without the special
// cases of single languages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlxn::tokenizer::jinja {

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
// First character upper, the others lower.
std::string capitalize(std::string_view text);
// Upper after what is no letter, lower after letters.
std::string title_method(std::string_view text);
// Upper after white space and -({[<, lower elsewhere.
std::string title_filter(std::string_view text);

// Takes characters of `chars`, or white space, off the ends.
std::string_view strip(std::string_view text, std::optional<std::string_view> chars, bool left,
                       bool right);

// As find and rfind of strings, in linear time whatever the texts. A part of kMaxPart bytes takes
// four times as much memory.
inline constexpr size_t kMaxPart = size_t{1} << 20;
size_t find_text(std::string_view text, std::string_view part, size_t from = 0);
size_t find_last_text(std::string_view text, std::string_view part);

// Most parts that a text is split into.
inline constexpr size_t kMaxParts = size_t{1} << 19;
// Views into a text, or nothing if they are more than kMaxParts.
using Parts = std::optional<std::vector<std::string_view>>;
// At runs of white space; at most `limit` cuts if it is not negative.
Parts split_space(std::string_view text, int64_t limit);
// At `separator`, which is not empty; from the right if `from_right`.
Parts split_at(std::string_view text, std::string_view separator, int64_t limit, bool from_right);
Parts split_lines(std::string_view text);
// At most `limit` times if it is not negative. `from` is not empty. Empty if the result exceeds
// `max_size`.
std::optional<std::string> replace(std::string_view text, std::string_view from,
                                   std::string_view to, int64_t limit, size_t max_size);

enum class CharClass { kDigit, kAlpha, kAlnum, kSpace };
// True if the text is not empty and all its characters are in the class.
bool all_in(std::string_view text, CharClass char_class);
// True if there are letters with case and all of them are upper, or lower.
bool is_case(std::string_view text, bool upper);

}  // namespace mlxn::tokenizer::jinja
