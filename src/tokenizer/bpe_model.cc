// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/bpe_model.h"

#include <algorithm>
#include <utility>

#include "tokenizer/utf8.h"

namespace mlxn::tokenizer {

void MergeTable::add(const Vocab& vocab, std::string_view left, std::string_view right) {
  const auto rank = static_cast<uint32_t>(rules_.size());
  const auto id_of = [&](std::string_view text) {
    const auto id = vocab.find(text);
    if (!id) {
      fail("tokenizer", "merges[" + std::to_string(rank) + "]", std::string(text.substr(0, 80)),
           "a token of the vocabulary");
    }
    return *id;
  };
  const int32_t left_id = id_of(left);
  const int32_t right_id = id_of(right);
  rules_.push_back({left_id, right_id, {rank, id_of(std::string(left).append(right))}});
}

void MergeTable::add(const Vocab& vocab, std::string_view rule) {
  const size_t space = rule.find(' ');
  if (space == std::string_view::npos || rule.find(' ', space + 1) != std::string_view::npos) {
    fail("tokenizer", "merges[" + std::to_string(rules_.size()) + "]",
         std::string(rule.substr(0, 80)), "two tokens with one space between");
  }
  add(vocab, rule.substr(0, space), rule.substr(space + 1));
}

void MergeTable::finish(const Vocab& vocab) {
  std::sort(rules_.begin(), rules_.end(), [](const Rule& a, const Rule& b) {
    if (a.left != b.left) return a.left < b.left;
    if (a.right != b.right) return a.right < b.right;
    return a.merge.priority > b.merge.priority;
  });
  const auto same_pair = [](const Rule& a, const Rule& b) {
    return a.left == b.left && a.right == b.right;
  };
  rules_.erase(std::unique(rules_.begin(), rules_.end(), same_pair), rules_.end());
  starts_.assign(static_cast<size_t>(vocab.size()) + 1, 0);
  for (const Rule& rule : rules_) ++starts_[static_cast<size_t>(rule.left) + 1];
  for (size_t i = 1; i < starts_.size(); ++i) starts_[i] += starts_[i - 1];
}

std::optional<PairMerge> MergeTable::find(int32_t left, int32_t right) const {
  if (left < 0 || static_cast<size_t>(left) + 1 >= starts_.size()) return std::nullopt;
  const auto begin = rules_.begin() + starts_[static_cast<size_t>(left)];
  const auto end = rules_.begin() + starts_[static_cast<size_t>(left) + 1];
  const auto hit = std::lower_bound(begin, end, right,
                                    [](const Rule& rule, int32_t id) { return rule.right < id; });
  if (hit == end || hit->right != right) return std::nullopt;
  return hit->merge;
}

BpeModel::BpeModel(const Vocab& vocab, MergeTable merges, BpeOptions options)
    : vocab_(vocab),
      merges_(std::move(merges)),
      options_(options),
      bytes_(find_byte_tokens(vocab)) {}

// An unknown token that waits to be fused is not flushed by byte tokens, so that it comes after
// them; the `tokenizers` library does the same. It matters only if some byte tokens are missing.
std::vector<Symbol> BpeModel::first_symbols(std::string_view piece) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  uint32_t unknown = 0;  // bytes of the pending unknown token
  const auto flush_unknown = [&](uint32_t end) {
    if (unknown > 0) symbols.push_back({*options_.unk_id, end - unknown, unknown});
    unknown = 0;
  };
  uint32_t pos = 0;
  while (pos < piece.size()) {
    const uint32_t length = utf8_step(piece, pos).length;
    const std::string_view text = piece.substr(pos, length);
    const uint32_t begin = pos;
    pos += length;
    if (const auto id = vocab_.find(text)) {
      flush_unknown(begin);
      symbols.push_back({*id, begin, length});
      continue;
    }
    const auto has_token = [&](char c) { return bytes_[static_cast<uint8_t>(c)] >= 0; };
    if (options_.byte_fallback && std::all_of(text.begin(), text.end(), has_token)) {
      for (uint32_t i = 0; i < length; ++i) {
        symbols.push_back({bytes_[static_cast<uint8_t>(text[i])], begin + i, 1});
      }
      continue;
    }
    if (!options_.unk_id) continue;
    if (!options_.fuse_unk) flush_unknown(begin);
    unknown += length;
  }
  flush_unknown(pos);
  return symbols;
}

void BpeModel::encode(std::string_view piece, std::vector<int32_t>& out) const {
  if (options_.ignore_merges) {
    if (const auto id = vocab_.find(piece)) {
      out.push_back(*id);
      return;
    }
  }
  std::vector<Symbol> symbols = first_symbols(piece);
  merge_symbols(symbols, [this](const Symbol& left, const Symbol& right) {
    return merges_.find(left.id, right.id);
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.length > 0) out.push_back(symbol.id);
  }
}

namespace {

void read_vocab(Json spec, Vocab& vocab) {
  const auto field = find(spec, "vocab");
  if (!field) fail("tokenizer", "model.vocab", "none", "an object of token texts and ids");
  const JsonObject entries = as_object(*field, "model.vocab");
  const int64_t limit = id_limit(entries.size());
  const auto name_of = [](std::string_view text) {
    return "model.vocab[" + std::string(text.substr(0, 80)) + "]";
  };
  for (const auto [text, value] : entries) {
    const int64_t id = value.is_int64() ? int64_t(value) : as_int(value, name_of(text));
    if (id < 0 || id >= limit) {
      fail("tokenizer", name_of(text), std::to_string(id), "0 to " + std::to_string(limit - 1));
    }
    if (text.size() > kMaxTokenLength) {
      fail("tokenizer", name_of(text), std::to_string(text.size()) + " bytes", "at most 1 MiB");
    }
    if (vocab.find(text)) fail("tokenizer", name_of(text), "a second entry", "every token once");
    if (!vocab.add(text, static_cast<int32_t>(id))) {
      fail("tokenizer", name_of(text), "id " + std::to_string(id) + " again", "every id once");
    }
  }
}

MergeTable read_merges(Json spec, const Vocab& vocab) {
  MergeTable merges;
  const auto field = find(spec, "merges");
  if (!field) fail("tokenizer", "model.merges", "none", "an array");
  size_t rank = 0;
  for (const Json rule : as_array(*field, "model.merges")) {
    if (rule.is_string()) {
      merges.add(vocab, as_string(rule, "merges"));
    } else {
      const std::string name = "merges[" + std::to_string(rank) + "]";
      const JsonArray pair = as_array(rule, name);
      if (pair.size() != 2) {
        fail("tokenizer", name, std::to_string(pair.size()) + " tokens", "two tokens");
      }
      merges.add(vocab, as_string(pair.at(0).value(), name), as_string(pair.at(1).value(), name));
    }
    ++rank;
  }
  merges.finish(vocab);
  return merges;
}

}  // namespace

std::unique_ptr<Model> make_bpe_model(Json spec, Vocab& vocab) {
  // Files written before models had a "type" hold BPE when they have merges.
  const std::string_view type = find(spec, "type") || !find(spec, "merges")
                                    ? type_of(spec, "model")
                                    : std::string_view("BPE");
  if (type != "BPE") fail("tokenizer", "model", type, "BPE");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string_view text = find_string(spec, affix).value_or("");
    if (!text.empty()) fail("tokenizer", affix, text, "none");
  }
  read_vocab(spec, vocab);
  BpeOptions options;
  options.byte_fallback = find_bool(spec, "byte_fallback", false);
  options.fuse_unk = find_bool(spec, "fuse_unk", false);
  options.ignore_merges = find_bool(spec, "ignore_merges", false);
  if (const auto unk = find_string(spec, "unk_token")) {
    options.unk_id = vocab.find(*unk);
    if (!options.unk_id) fail("tokenizer", "model.unk_token", *unk, "a token of the vocabulary");
  }
  return std::make_unique<BpeModel>(vocab, read_merges(spec, vocab), options);
}

}  // namespace mlxn::tokenizer
