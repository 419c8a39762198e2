// SPDX-License-Identifier: Apache-2.0
// Tokens that are matched in the text before the model sees it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mlxn::tokenizer {

// A longer token is refused: matching costs its length at every position of the text.
inline constexpr size_t kMaxAddedTokenLength = 1024;

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;
  bool normalized = false;   // matched after the normalizer ran
  bool single_word = false;  // only where no word character is beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
};

// A piece of text, or a matched token.
struct Segment {
  std::string_view text;
  int32_t id = -1;  // -1: text
};

// Leftmost-longest matching of a set of tokens, byte by byte in a trie.
class TokenMatcher {
 public:
  TokenMatcher();
  // `pattern` is what is looked for, usually token.content. Empty patterns are ignored.
  void add(const AddedToken& token, std::string_view pattern);
  bool empty() const { return tokens_.empty(); }
  // Cuts text into segments; text segments are never empty. Special tokens are left as text unless
  // `parse_special`.
  void split(std::string_view text, bool parse_special, std::vector<Segment>& out) const;

 private:
  struct Node {
    std::vector<std::pair<uint8_t, uint32_t>> children;
    int32_t token = -1;  // index into tokens_
  };
  struct Match {
    int32_t token = -1;
    size_t length = 0;
  };
  uint32_t child(uint32_t node, uint8_t byte) const;
  Match longest_at(std::string_view text, size_t pos) const;

  std::vector<Node> nodes_;      // 0 is the root, and stands for "no child"
  std::vector<uint32_t> first_;  // child of the root by byte
  std::vector<AddedToken> tokens_;
};

}  // namespace mlxn::tokenizer
