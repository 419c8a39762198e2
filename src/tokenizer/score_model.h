// SPDX-License-Identifier: Apache-2.0
// SentencePiece's BPE: the adjacent pair whose concatenation is the token of the highest score
// merges first.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/byte_tokens.h"
#include "tokenizer/model.h"
#include "tokenizer/vocab.h"

namespace mlxn::tokenizer {

class ScoreModel : public Model {
 public:
  // Per token: score and whether merging may make it. `vocab` must outlive the model.
  ScoreModel(const Vocab& vocab, const std::vector<float>& scores, std::vector<bool> mergeable,
             std::optional<int32_t> unk_id);
  void encode(std::string_view piece, std::vector<int32_t>& out) const override;

 private:
  std::optional<int32_t> find_mergeable(std::string_view text) const;

  const Vocab& vocab_;
  std::vector<uint32_t> priorities_;  // ascending where scores descend
  std::vector<bool> mergeable_;
  std::optional<int32_t> unk_id_;
  ByteTokens bytes_;
};

}  // namespace mlxn::tokenizer
