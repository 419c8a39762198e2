// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/score_model.h"

#include <bit>
#include <utility>

#include "tokenizer/merge_queue.h"
#include "tokenizer/utf8.h"

namespace mlxn::tokenizer {
namespace {

// Order of the result is the reverse order of the scores: the bits of an IEEE float, read as an
// integer with the sign folded in, ascend with its value.
uint32_t priority_of(float score) {
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 becomes +0
  const uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return ~ascending;
}

}  // namespace

ScoreModel::ScoreModel(const Vocab& vocab, const std::vector<float>& scores,
                       std::vector<bool> mergeable, std::optional<int32_t> unk_id)
    : vocab_(vocab),
      mergeable_(std::move(mergeable)),
      unk_id_(unk_id),
      bytes_(find_byte_tokens(vocab)) {
  priorities_.reserve(scores.size());
  for (const float score : scores) priorities_.push_back(priority_of(score));
}

std::optional<int32_t> ScoreModel::find_mergeable(std::string_view text) const {
  const auto id = vocab_.find(text);
  if (!id || !mergeable_[static_cast<size_t>(*id)]) return std::nullopt;
  return id;
}

void ScoreModel::encode(std::string_view piece, std::vector<int32_t>& out) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (uint32_t pos = 0; pos < piece.size();) {
    const uint32_t length = utf8_step(piece, pos).length;
    symbols.push_back({find_mergeable(piece.substr(pos, length)).value_or(-1), pos, length});
    pos += length;
  }
  merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) -> std::optional<PairMerge> {
    const auto id = find_mergeable(piece.substr(left.begin, left.length + right.length));
    if (!id) return std::nullopt;
    return PairMerge{priorities_[static_cast<size_t>(*id)], *id};
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.length == 0) continue;
    if (symbol.id >= 0) {
      out.push_back(symbol.id);
      continue;
    }
    for (const char c : piece.substr(symbol.begin, symbol.length)) {
      const int32_t byte = bytes_[static_cast<uint8_t>(c)];
      if (byte >= 0) {
        out.push_back(byte);
      } else if (unk_id_) {
        out.push_back(*unk_id_);
      }
    }
  }
}

}  // namespace mlxn::tokenizer
