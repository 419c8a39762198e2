// SPDX-License-Identifier: Apache-2.0
// What a Tokenizer holds. Built by from_json.cc and from_gguf.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mlxn/tokenizer.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/decoder.h"
#include "tokenizer/model.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/vocab.h"

namespace mlxn {

struct Tokenizer::Impl {
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  tokenizer::Vocab vocab;     // what the model sees
  tokenizer::Vocab added;     // added tokens that the model does not know
  std::vector<bool> special;  // by id

  tokenizer::TokenMatcher raw_matcher;
  tokenizer::TokenMatcher normalized_matcher;
  std::unique_ptr<tokenizer::Normalizer> normalizer;       // may be null
  std::unique_ptr<tokenizer::PreTokenizer> pre_tokenizer;  // may be null
  std::unique_ptr<tokenizer::Model> model;
  tokenizer::PostProcessor post_processor;
  tokenizer::Decoder decoder;

  // Decoded bytes of all tokens; token i has [piece_ends[i - 1], piece_ends[i]).
  std::string piece_bytes;
  std::vector<uint64_t> piece_ends;

  std::optional<int32_t> bos_id;
  std::optional<int32_t> eos_id;
  std::vector<int32_t> stop_ids;
  bool adds_bos = false;

  std::map<std::string, std::string> chat_templates;     // by name
  std::map<std::string, std::string> special_variables;  // "bos_token" and so on, for templates

  int32_t vocab_size() const { return std::max(vocab.size(), added.size()); }
  std::string_view token(int32_t id) const {
    return vocab.contains(id) ? vocab.text(id) : added.text(id);
  }
  std::optional<int32_t> token_id(std::string_view text) const {
    const auto id = vocab.find(text);
    return id ? id : added.find(text);
  }
  bool is_special(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < special.size() && special[static_cast<size_t>(id)];
  }

  // The last steps of building: piece tables, BOS and EOS around texts, stop ids.
  void finish(bool force_bos, bool force_eos, std::vector<int32_t> further_stops);
};

}  // namespace mlxn
