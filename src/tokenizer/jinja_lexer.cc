// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/jinja_lexer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "tokenizer/jinja_ast.h"
#include "tokenizer/utf8.h"

namespace mlxn::tokenizer::jinja {
namespace {

// Each token may become a node of the tree, of some 200 bytes. Published templates have a few
// thousand.
constexpr size_t kMaxTokens = 100'000;
constexpr size_t kMaxName = 1024;  // bytes; names are compared again and again

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool is_name_char(char c) { return is_name_start(c) || is_digit(c); }

// One kind of line end, and none at the very end.
std::string normalize_newlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text.push_back(source[i]);
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      text.push_back('\n');
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) next_tag();
    add({TokenKind::kEnd, line_, ""});
    return std::move(tokens_);
  }

 private:
  void add(Token token) {
    if (tokens_.size() == kMaxTokens) {
      fail(line_, "a template of more than " + std::to_string(kMaxTokens) + " tokens");
    }
    tokens_.push_back(std::move(token));
  }

  std::string_view rest() const { return std::string_view(source_).substr(pos_); }

  void advance(size_t count) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(pos_),
                                    source_.begin() + static_cast<ptrdiff_t>(pos_ + count), '\n'));
    pos_ += count;
  }

  size_t space_length(size_t pos) const {
    size_t end = pos;
    while (end < source_.size()) {
      const Utf8Step step = utf8_step(source_, end);
      if (!step.valid || !is_python_space(step.code)) break;
      end += step.length;
    }
    return end - pos;
  }

  // The text before a tag, cut as the sign of the tag says.
  void add_text(size_t begin, size_t end, char sign, bool is_print) {
    std::string_view text = std::string_view(source_).substr(begin, end - begin);
    if (sign == '-') {
      size_t keep = 0;
      for (size_t i = 0; i < text.size();) {
        const Utf8Step step = utf8_step(text, i);
        i += step.length;
        if (!step.valid || !is_python_space(step.code)) keep = i;
      }
      text = text.substr(0, keep);
    } else if (sign != '+' && !is_print) {
      const size_t newline = text.rfind('\n');
      const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
      if ((start > 0 || line_starting_) && space_length(begin + start) >= text.size() - start) {
        text = text.substr(0, start);
      }
    }
    if (!text.empty()) add({TokenKind::kData, line_, std::string(text)});
  }

  void next_tag() {
    size_t hit = pos_;
    while (true) {
      hit = source_.find('{', hit);
      if (hit == std::string::npos || hit + 1 >= source_.size()) {
        add({TokenKind::kData, line_, std::string(rest())});
        pos_ = source_.size();
        return;
      }
      const char c = source_[hit + 1];
      if (c == '{' || c == '%' || c == '#') break;
      ++hit;
    }
    const char type = source_[hit + 1];
    const char after = hit + 2 < source_.size() ? source_[hit + 2] : '\0';
    const char sign = after == '-' || after == '+' ? after : '\0';
    add_text(pos_, hit, sign, type == '{');
    advance(hit + 2 + (sign != '\0' ? 1 : 0) - pos_);
    if (type == '#') {
      skip_comment();
    } else if (type == '%' && raw_tag_length(pos_, "raw") > 0) {
      raw_block();
    } else {
      tag(type == '{');
    }
    line_starting_ = pos_ > 0 && source_[pos_ - 1] == '\n';
  }

  // Length of the end of a tag at `pos`, with the white space that it swallows; 0 if there is none.
  size_t end_length(size_t pos, char last, bool trims_newline) const {
    const std::string_view text = std::string_view(source_).substr(pos);
    const char end[2] = {last, '}'};
    const std::string_view mark(end, 2);
    if (text.starts_with('-') && text.substr(1).starts_with(mark)) return 3 + space_length(pos + 3);
    if (trims_newline && text.starts_with('+') && text.substr(1).starts_with(mark)) return 3;
    if (!text.starts_with(mark)) return 0;
    return 2 + (trims_newline && text.substr(2).starts_with('\n') ? 1 : 0);
  }

  void skip_comment() {
    const int line = line_;
    for (size_t end = pos_; end < source_.size(); ++end) {
      if (const size_t length = end_length(end, '#', true)) {
        advance(end + length - pos_);
        return;
      }
    }
    fail(line, "a comment is not closed");
  }

  // Length of "raw %}" or "endraw %}" at `pos`, behind "{%"; 0 if it is something else.
  size_t raw_tag_length(size_t pos, std::string_view word) const {
    size_t end = pos + space_length(pos);
    if (!std::string_view(source_).substr(end).starts_with(word)) return 0;
    end += word.size();
    end += space_length(end);
    const size_t length = end_length(end, '%', word == "endraw");
    return length == 0 ? 0 : end + length - pos;
  }

  void raw_block() {
    const int line = line_;
    advance(raw_tag_length(pos_, "raw"));
    line_starting_ = source_[pos_ - 1] == '\n';
    for (size_t hit = source_.find("{%", pos_); hit != std::string::npos;
         hit = source_.find("{%", hit + 1)) {
      const char after = hit + 2 < source_.size() ? source_[hit + 2] : '\0';
      const char sign = after == '-' || after == '+' ? after : '\0';
      const size_t inside = hit + 2 + (sign != '\0' ? 1 : 0);
      const size_t length = raw_tag_length(inside, "endraw");
      if (length == 0) continue;
      add_text(pos_, hit, sign, false);
      advance(inside + length - pos_);
      return;
    }
    fail(line, "raw is not closed");
  }

  void tag(bool is_print) {
    const int begin = line_;
    add({is_print ? TokenKind::kPrintBegin : TokenKind::kBlockBegin, line_, ""});
    std::string open;  // brackets not closed yet
    while (true) {
      advance(space_length(pos_));
      if (pos_ >= source_.size()) fail(begin, "a tag is not closed");
      if (open.empty()) {
        if (const size_t length = end_length(pos_, is_print ? '}' : '%', !is_print)) {
          add({is_print ? TokenKind::kPrintEnd : TokenKind::kBlockEnd, line_, ""});
          advance(length);
          return;
        }
      }
      const char c = source_[pos_];
      if (is_digit(c)) {
        number();
      } else if (is_name_start(c)) {
        size_t end = pos_;
        while (end < source_.size() && is_name_char(source_[end])) ++end;
        if (end - pos_ > kMaxName)
          fail(line_, "a name of " + std::to_string(end - pos_) + " bytes");
        push(TokenKind::kName, end - pos_);
      } else if (c == '"' || c == '\'') {
        string(c);
      } else {
        operation(open);
      }
    }
  }

  void push(TokenKind kind, size_t length) {
    add({kind, line_, source_.substr(pos_, length)});
    advance(length);
  }

  void operation(std::string& open) {
    constexpr std::string_view kDouble[] = {"//", "**", "==", "!=", "<=", ">="};
    for (const std::string_view text : kDouble) {
      if (rest().starts_with(text)) return push(TokenKind::kOperator, 2);
    }
    const char c = source_[pos_];
    if (std::string_view("+-*/%~[](){}<>=.:|,;").find(c) == std::string_view::npos) {
      fail(line_, std::string("unexpected character '") + c + "'");
    }
    if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) fail(line_, std::string("unexpected '") + c + "'");
      open.pop_back();
    }
    push(TokenKind::kOperator, 1);
  }

  size_t digits_end(size_t pos) const {
    while (pos < source_.size() && (is_digit(source_[pos]) || source_[pos] == '_')) ++pos;
    return pos;
  }

  void number() {
    size_t end = digits_end(pos_);
    bool is_float = false;
    const auto at = [&](size_t i) { return i < source_.size() ? source_[i] : '\0'; };
    // "1.5" is a float; the dot in "x.1.y" is not, because a name or dot comes before.
    const bool after_dot = !tokens_.empty() && tokens_.back().kind == TokenKind::kOperator &&
                           tokens_.back().text == ".";
    if (!after_dot) {
      if (at(end) == '.' && is_digit(at(end + 1))) {
        is_float = true;
        end = digits_end(end + 1);
      }
      const size_t sign = at(end + 1) == '+' || at(end + 1) == '-' ? 1 : 0;
      if ((at(end) == 'e' || at(end) == 'E') && is_digit(at(end + 1 + sign))) {
        is_float = true;
        end = digits_end(end + 1 + sign);
      }
    }
    std::string text = source_.substr(pos_, end - pos_);
    std::erase(text, '_');
    add({is_float ? TokenKind::kFloat : TokenKind::kInt, line_, text});
    advance(end - pos_);
  }

  void string(char quote) {
    const int line = line_;
    std::string text;
    size_t i = pos_ + 1;
    while (true) {
      if (i >= source_.size()) fail(line, "a string is not closed");
      const char c = source_[i++];
      if (c == quote) break;
      if (c != '\\') {
        text.push_back(c);
        continue;
      }
      if (i >= source_.size()) fail(line, "a string is not closed");
      escape(i, text);
    }
    advance(i - pos_);
    add({TokenKind::kString, line, std::move(text)});
  }

  // The escapes of Python; `i` is behind the backslash.
  void escape(size_t& i, std::string& text) {
    const char c = source_[i++];
    constexpr std::string_view kFrom = "ntrabfv\\'\"";
    constexpr std::string_view kTo = "\n\t\r\a\b\f\v\\'\"";
    if (const size_t known = kFrom.find(c); known != std::string_view::npos) {
      text.push_back(kTo[known]);
    } else if (c == '\n') {
      return;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      append_utf8(text, digits(i, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16));
    } else if (c >= '0' && c <= '7') {
      --i;
      size_t count = 1;
      while (count < 3 && i + count < source_.size() && source_[i + count] >= '0' &&
             source_[i + count] <= '7') {
        ++count;
      }
      append_utf8(text, digits(i, count, 8));
    } else {
      text.push_back('\\');
      text.push_back(c);
    }
  }

  uint32_t digits(size_t& i, size_t count, uint32_t base) {
    uint32_t value = 0;
    for (size_t end = i + count; i < end; ++i) {
      const char c = i < source_.size() ? static_cast<char>(source_[i] | 0x20) : '\0';
      uint32_t digit = 16;
      if (i < source_.size() && is_digit(source_[i]))
        digit = static_cast<uint32_t>(source_[i] - '0');
      if (c >= 'a' && c <= 'f') digit = static_cast<uint32_t>(c - 'a' + 10);
      if (digit >= base) fail(line_, "a bad escape in a string");
      value = value * base + digit;
    }
    return value;
  }

  std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last tag ended with a newline
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace mlxn::tokenizer::jinja
