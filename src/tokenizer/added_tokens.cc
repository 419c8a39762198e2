// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/utf8.h"

namespace mlxn::tokenizer {
namespace {

// The character that ends at `pos`; invalid bytes count as U+FFFD.
Utf8Step step_before(std::string_view text, size_t pos) {
  for (size_t back = 1; back <= 4 && back <= pos; ++back) {
    const Utf8Step step = utf8_step(text, pos - back);
    if (step.valid && step.length == back) return step;
  }
  return {};
}

size_t skip_space_left(std::string_view text, size_t pos, size_t bound) {
  while (pos > bound) {
    const Utf8Step step = step_before(text, pos);
    if (!step.valid || !is_white_space(step.code) || step.length > pos - bound) break;
    pos -= step.length;
  }
  return pos;
}

size_t skip_space_right(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    const Utf8Step step = utf8_step(text, pos);
    if (!step.valid || !is_white_space(step.code)) break;
    pos += step.length;
  }
  return pos;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0) {
    const Utf8Step step = step_before(text, begin);
    if (step.valid && is_word(step.code)) return false;
  }
  if (end < text.size()) {
    const Utf8Step step = utf8_step(text, end);
    if (step.valid && is_word(step.code)) return false;
  }
  return true;
}

}  // namespace

TokenMatcher::TokenMatcher() : nodes_(1), first_(256, 0) {}

uint32_t TokenMatcher::child(uint32_t node, uint8_t byte) const {
  if (node == 0) return first_[byte];
  for (const auto& [key, next] : nodes_[node].children) {
    if (key == byte) return next;
  }
  return 0;
}

void TokenMatcher::add(const AddedToken& token, std::string_view pattern) {
  if (pattern.empty()) return;
  uint32_t node = 0;
  for (const char c : pattern) {
    const auto byte = static_cast<uint8_t>(c);
    uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      if (node == 0) {
        first_[byte] = next;
      } else {
        nodes_[node].children.emplace_back(byte, next);
      }
    }
    node = next;
  }
  if (nodes_[node].token < 0) nodes_[node].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

TokenMatcher::Match TokenMatcher::longest_at(std::string_view text, size_t pos) const {
  Match match;
  uint32_t node = 0;
  for (size_t i = pos; i < text.size(); ++i) {
    node = child(node, static_cast<uint8_t>(text[i]));
    if (node == 0) break;
    if (nodes_[node].token >= 0) match = {nodes_[node].token, i + 1 - pos};
  }
  return match;
}

void TokenMatcher::split(std::string_view text, bool parse_special,
                         std::vector<Segment>& out) const {
  size_t done = 0;  // text before it is in `out`
  size_t pos = 0;
  while (pos < text.size()) {
    if (first_[static_cast<uint8_t>(text[pos])] == 0) {
      ++pos;
      continue;
    }
    const Match match = longest_at(text, pos);
    if (match.token < 0) {
      ++pos;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match.token)];
    size_t begin = pos;
    size_t end = pos + match.length;
    pos = end;
    if (token.special && !parse_special) continue;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    // White space taken by the token before is not given twice, but a token found inside it counts.
    if (token.lstrip) begin = std::max(skip_space_left(text, begin, 0), done);
    if (token.rstrip) end = skip_space_right(text, end);
    if (done < begin) out.push_back({text.substr(done, begin - done), -1});
    out.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size()) out.push_back({text.substr(done), -1});
}

}  // namespace mlxn::tokenizer
