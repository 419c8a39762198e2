// SPDX-License-Identifier: Apache-2.0
#include "convert/tokenizer_json.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "checkpoint/fail.h"

namespace mlxn::convert {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSpaceMark = "\xe2\x96\x81";  // U+2581

enum TokenType : int32_t { kUnknown = 2, kControl = 3, kUserDefined = 4 };

[[noreturn]] void reject(std::string field, std::string found, std::string required) {
  checkpoint::fail(ErrorKind::kTokenizer, "gguf tokenizer", std::move(field), std::move(found),
                   std::move(required));
}

int32_t type_of(const GgufVocab& vocab, size_t id) {
  return id < vocab.token_types.size() ? vocab.token_types[id] : 1;
}

Json replace(const char* pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
}

Json added_token(const GgufVocab& vocab, size_t id) {
  std::string content = vocab.tokens[id];
  return {{"id", id},
          {"content", content},
          {"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", false},
          {"special", type_of(vocab, id) != kUserDefined}};
}

Json added_tokens(const GgufVocab& vocab) {
  Json list = Json::array();
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    const int32_t type = type_of(vocab, id);
    if (type == kUnknown || type == kControl || type == kUserDefined) {
      list.push_back(added_token(vocab, id));
    }
  }
  return list;
}

// Two ids with one text cannot both be keys.
Json vocab_object(const GgufVocab& vocab) {
  std::set<std::string_view> seen;
  for (const std::string& token : vocab.tokens) {
    if (!seen.insert(token).second) {
      reject("tokens", checkpoint::in_quotes(token) + " twice",
             "every token once, as tokenizer.json needs it");
    }
  }
  // push_back keeps the order of ids and, unlike operator[], does not search.
  Json::object_t object;
  object.reserve(vocab.tokens.size());
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    object.Container::emplace_back(vocab.tokens[id], id);
  }
  return object;
}

Json merges(const GgufVocab& vocab) {
  Json list = Json::array();
  for (const std::string& rule : vocab.merges) {
    const size_t space = rule.find(' ', 1);
    if (space == std::string::npos || rule.find(' ', space + 1) != std::string::npos) {
      reject("merges", checkpoint::in_quotes(rule), "two tokens and one space");
    }
    list.push_back({rule.substr(0, space), rule.substr(space + 1)});
  }
  return list;
}

std::optional<std::string> token_at(const GgufVocab& vocab, std::optional<int32_t> id) {
  if (!id) return std::nullopt;
  const auto index = static_cast<size_t>(*id);
  if (*id < 0 || index >= vocab.tokens.size()) {
    reject("token id", std::to_string(*id), "the id of a token");
  }
  return vocab.tokens[index];
}

std::string dump(const Json& json) {
  try {
    return json.dump(1) + "\n";
  } catch (const Json::type_error&) {
    reject("tokens, merges or chat template", "bytes that are not UTF-8",
           "UTF-8, as JSON needs it");
  }
}

}  // namespace

std::string tokenizer_json(const GgufVocab& vocab) {
  if (vocab.model != "gemma4") {
    reject("tokenizer.ggml.model", checkpoint::in_quotes(vocab.model),
           "\"gemma4\": scores do not say the order of merges that tokenizer.json needs");
  }
  if (vocab.add_space_prefix.value_or(false)) {
    reject("tokenizer.ggml.add_space_prefix", "true", "false");
  }
  Json root = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  root["added_tokens"] = added_tokens(vocab);
  root["normalizer"] = replace(" ", kSpaceMark);
  root["pre_tokenizer"] = nullptr;
  root["post_processor"] = nullptr;
  root["decoder"] = {
      {"type", "Sequence"},
      {"decoders",
       {replace(kSpaceMark, " "), Json{{"type", "ByteFallback"}}, Json{{"type", "Fuse"}}}}};
  const auto unknown = token_at(vocab, vocab.unknown_id);
  root["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", unknown ? Json(*unknown) : Json(nullptr)},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", true},
                   {"byte_fallback", true},
                   {"ignore_merges", false}};
  root["model"]["vocab"] = vocab_object(vocab);
  root["model"]["merges"] = merges(vocab);
  return dump(root);
}

std::string tokenizer_config(const GgufVocab& vocab) {
  Json root = {{"tokenizer_class", "PreTrainedTokenizerFast"},
               {"clean_up_tokenization_spaces", false}};
  const auto set = [&](const char* key, std::optional<int32_t> id) {
    if (const auto token = token_at(vocab, id)) root[key] = *token;
  };
  set("bos_token", vocab.bos_id);
  set("eos_token", vocab.eos_id);
  set("unk_token", vocab.unknown_id);
  set("pad_token", vocab.padding_id);
  // GGUF's merges tokenizer puts BOS first whatever the file says.
  root["add_bos_token"] = true;
  root["add_eos_token"] = vocab.add_eos.value_or(false);
  Json named = Json::array();
  for (const auto& [name, text] : vocab.chat_templates) {
    if (vocab.chat_templates.size() > 1) named.push_back({{"name", name}, {"template", text}});
  }
  if (!named.empty()) root["chat_template"] = named;
  return dump(root);
}

}  // namespace mlxn::convert
