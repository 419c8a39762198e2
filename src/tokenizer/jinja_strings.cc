// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/jinja_strings.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "tokenizer/utf8.h"

namespace mlxn::tokenizer::jinja {
namespace {

bool is_letter(uint32_t code) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT || category == UTF8PROC_CATEGORY_LM ||
         category == UTF8PROC_CATEGORY_LO;
}

void append_upper(std::string& out, uint32_t code) {
  if (code == 0xdf) {
    out += "SS";
  } else {
    append_utf8(out, static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
  }
}

void append_lower(std::string& out, uint32_t code) {
  append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
}

// Upper or lower for each character, as `wants_upper(code)` says; invalid bytes stay.
template <typename Choice>
std::string map_case(std::string_view text, Choice wants_upper) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = utf8_step(text, pos);
    if (!step.valid) {
      out.append(text, pos, step.length);
    } else if (wants_upper(step.code)) {
      append_upper(out, step.code);
    } else {
      append_lower(out, step.code);
    }
    pos += step.length;
  }
  return out;
}

bool in_set(std::string_view text, const Utf8Step& step, size_t pos,
            std::optional<std::string_view> chars) {
  if (!chars) return step.valid && is_python_space(step.code);
  const std::string_view one = text.substr(pos, step.length);
  for (size_t i = 0; i < chars->size();) {
    const uint32_t length = utf8_step(*chars, i).length;
    if (chars->substr(i, length) == one) return true;
    i += length;
  }
  return false;
}

// Up to this length of a part the plain search, whose time grows with the product of both lengths,
// is as good.
constexpr size_t kShortPart = 16;

// Where `part` begins in `text` first, by Knuth, Morris and Pratt; npos if nowhere.
template <typename Iterator>
size_t linear_search(Iterator text, Iterator text_end, Iterator part, Iterator part_end) {
  const auto size = static_cast<size_t>(text_end - text);
  const auto count = static_cast<size_t>(part_end - part);
  if (count > size) return std::string_view::npos;
  const auto at = [](Iterator start, size_t i) { return start[static_cast<ptrdiff_t>(i)]; };
  // border[i]: the longest beginning of the part that also ends its first i + 1 characters.
  std::vector<uint32_t> border(count);
  for (size_t i = 1, length = 0; i < count; ++i) {
    while (length > 0 && at(part, i) != at(part, length)) length = border[length - 1];
    if (at(part, i) == at(part, length)) ++length;
    border[i] = static_cast<uint32_t>(length);
  }
  for (size_t pos = 0, matched = 0; pos < size; ++pos) {
    while (matched > 0 && at(text, pos) != at(part, matched)) matched = border[matched - 1];
    if (at(text, pos) == at(part, matched)) ++matched;
    if (matched == count) return pos + 1 - count;
  }
  return std::string_view::npos;
}

}  // namespace

std::string to_upper(std::string_view text) {
  return map_case(text, [](uint32_t) { return true; });
}

std::string to_lower(std::string_view text) {
  return map_case(text, [](uint32_t) { return false; });
}

std::string capitalize(std::string_view text) {
  bool first = true;
  return map_case(text, [&](uint32_t) { return std::exchange(first, false); });
}

std::string title_method(std::string_view text) {
  bool after_letter = false;
  return map_case(text,
                  [&](uint32_t code) { return !std::exchange(after_letter, is_letter(code)); });
}

std::string title_filter(std::string_view text) {
  bool at_start = true;
  return map_case(text, [&](uint32_t code) {
    const bool cuts = is_python_space(code) || code == '-' || code == '(' || code == '{' ||
                      code == '[' || code == '<';
    return std::exchange(at_start, cuts);
  });
}

std::string_view strip(std::string_view text, std::optional<std::string_view> chars, bool left,
                       bool right) {
  size_t begin = 0;
  while (left && begin < text.size()) {
    const Utf8Step step = utf8_step(text, begin);
    if (!in_set(text, step, begin, chars)) break;
    begin += step.length;
  }
  size_t end = text.size();
  while (right && end > begin) {
    size_t start = end - 1;
    while (start > begin && end - start < 4 && (text[start] & 0xc0) == 0x80) --start;
    Utf8Step step = utf8_step(text.substr(0, end), start);
    if (step.length != end - start) {
      start = end - 1;
      step = utf8_step(text.substr(0, end), start);
    }
    if (!in_set(text, step, start, chars)) break;
    end = start;
  }
  return text.substr(begin, end - begin);
}

size_t find_text(std::string_view text, std::string_view part, size_t from) {
  if (part.size() <= kShortPart) return text.find(part, from);
  if (from > text.size()) return std::string_view::npos;
  const std::string_view rest = text.substr(from);
  const size_t hit = linear_search(rest.begin(), rest.end(), part.begin(), part.end());
  return hit == std::string_view::npos ? hit : from + hit;
}

size_t find_last_text(std::string_view text, std::string_view part) {
  if (part.size() <= kShortPart) return text.rfind(part);
  const size_t hit = linear_search(text.rbegin(), text.rend(), part.rbegin(), part.rend());
  return hit == std::string_view::npos ? hit : text.size() - part.size() - hit;
}

Parts split_space(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  text = strip(text, std::nullopt, true, false);
  while (!text.empty()) {
    if (parts.size() == kMaxParts) return std::nullopt;
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.emplace_back(strip(text, std::nullopt, false, true));
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      const Utf8Step step = utf8_step(text, end);
      if (step.valid && is_python_space(step.code)) break;
      end += step.length;
    }
    parts.emplace_back(text.substr(0, end));
    text = strip(text.substr(end), std::nullopt, true, false);
  }
  return parts;
}

Parts split_at(std::string_view text, std::string_view separator, int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t hit = from_right ? find_last_text(text, separator) : find_text(text, separator);
    if (hit == std::string_view::npos) break;
    if (parts.size() == kMaxParts) return std::nullopt;
    if (from_right) {
      parts.emplace_back(text.substr(hit + separator.size()));
      text = text.substr(0, hit);
    } else {
      parts.emplace_back(text.substr(0, hit));
      text = text.substr(hit + separator.size());
    }
  }
  parts.emplace_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

Parts split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = utf8_step(text, pos);
    const uint32_t c = step.code;
    const size_t at = pos;
    pos += step.length;
    if (!(c >= 0x0a && c <= 0x0d) && !(c >= 0x1c && c <= 0x1e) && c != 0x85 && c != 0x2028 &&
        c != 0x2029) {
      continue;
    }
    if (lines.size() == kMaxParts) return std::nullopt;
    lines.emplace_back(text.substr(begin, at - begin));
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    begin = pos;
  }
  if (begin < text.size()) lines.emplace_back(text.substr(begin));
  return lines;
}

std::optional<std::string> replace(std::string_view text, std::string_view from,
                                   std::string_view to, int64_t limit, size_t max_size) {
  std::string out;
  size_t pos = 0;
  for (int64_t done = 0; limit < 0 || done < limit; ++done) {
    const size_t hit = find_text(text, from, pos);
    if (hit == std::string_view::npos) break;
    out.append(text, pos, hit - pos);
    out.append(to);
    if (out.size() > max_size) return std::nullopt;
    pos = hit + from.size();
  }
  out.append(text, pos);
  if (out.size() > max_size) return std::nullopt;
  return out;
}

bool all_in(std::string_view text, CharClass char_class) {
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = utf8_step(text, pos);
    pos += step.length;
    const bool digit =
        utf8proc_category(static_cast<utf8proc_int32_t>(step.code)) == UTF8PROC_CATEGORY_ND;
    const bool alpha = is_letter(step.code);
    const bool fits = char_class == CharClass::kDigit   ? digit
                      : char_class == CharClass::kAlpha ? alpha
                      : char_class == CharClass::kAlnum ? alpha || digit
                                                        : is_python_space(step.code);
    if (!step.valid || !fits) return false;
  }
  return !text.empty();
}

bool is_case(std::string_view text, bool upper) {
  bool any = false;
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = utf8_step(text, pos);
    pos += step.length;
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(step.code));
    if (category == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU)) return false;
    any = any || category == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
  }
  return any;
}

}  // namespace mlxn::tokenizer::jinja
