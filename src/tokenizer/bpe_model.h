// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding over characters, merges by rank.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/byte_tokens.h"
#include "tokenizer/json.h"
#include "tokenizer/merge_queue.h"
#include "tokenizer/model.h"
#include "tokenizer/vocab.h"

namespace mlxn::tokenizer {

struct BpeOptions {
  bool byte_fallback = false;  // characters without a token become their bytes, if all have tokens
  bool fuse_unk = false;       // a run of unknown characters is one unknown token
  bool ignore_merges = false;  // a piece that is a token is that token
  std::optional<int32_t> unk_id;
};

// Merge rules, best first.
class MergeTable {
 public:
  // Adds the next rule. Throws naming it if `left`, `right` or their concatenation is no token. Of
  // two rules for one pair the later counts.
  void add(const Vocab& vocab, std::string_view left, std::string_view right);
  // "left right", cut at the only space.
  void add(const Vocab& vocab, std::string_view rule);
  // Call after the last add.
  void finish(const Vocab& vocab);
  std::optional<PairMerge> find(int32_t left, int32_t right) const;

 private:
  struct Rule {
    int32_t left;
    int32_t right;
    PairMerge merge;
  };
  std::vector<Rule> rules_;       // after finish: sorted by (left, right)
  std::vector<uint32_t> starts_;  // rules of left token i: [starts_[i], starts_[i + 1])
};

class BpeModel : public Model {
 public:
  // `vocab` must outlive the model.
  BpeModel(const Vocab& vocab, MergeTable merges, BpeOptions options);
  void encode(std::string_view piece, std::vector<int32_t>& out) const override;

 private:
  std::vector<Symbol> first_symbols(std::string_view piece) const;

  const Vocab& vocab_;
  MergeTable merges_;
  BpeOptions options_;
  ByteTokens bytes_;
};

// The "model" of a tokenizer.json. Fills the empty `vocab`. Throws for kinds that are not
// supported.
std::unique_ptr<Model> make_bpe_model(Json spec, Vocab& vocab);

}  // namespace mlxn::tokenizer
