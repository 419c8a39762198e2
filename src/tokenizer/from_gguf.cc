// SPDX-License-Identifier: Apache-2.0
// Tokenizers from the vocabulary of a GGUF file.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/no_memory.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/impl.h"
#include "tokenizer/score_model.h"

namespace mlxn {
namespace {

using tokenizer::fail;

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581

enum TokenType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

int32_t type_of(const GgufVocab& vocab, size_t id) {
  return vocab.token_types.empty() ? static_cast<int32_t>(kNormal) : vocab.token_types[id];
}

void check_counts(const GgufVocab& vocab) {
  const size_t count = vocab.tokens.size();
  const std::string one_per_token = std::to_string(count) + ", one per token";
  if (count == 0 || count > static_cast<size_t>(tokenizer::kMaxVocab)) {
    fail("gguf tokenizer", "tokenizer.ggml.tokens", std::to_string(count), "1 to 2^24");
  }
  if (!vocab.token_types.empty() && vocab.token_types.size() != count) {
    fail("gguf tokenizer", "tokenizer.ggml.token_type",
         std::to_string(vocab.token_types.size()) + " values", one_per_token);
  }
  if (vocab.model == "llama" && vocab.scores.size() != count) {
    fail("gguf tokenizer", "tokenizer.ggml.scores", std::to_string(vocab.scores.size()) + " values",
         one_per_token);
  }
  // Scores order the merges.
  const auto nan = std::find_if(vocab.scores.begin(), vocab.scores.end(),
                                [](float score) { return std::isnan(score); });
  if (nan != vocab.scores.end()) {
    fail("gguf tokenizer",
         "tokenizer.ggml.scores[" + std::to_string(nan - vocab.scores.begin()) + "]", "nan",
         "a number");
  }
}

std::optional<int32_t> checked_id(const GgufVocab& vocab, std::optional<int32_t> id,
                                  const char* key) {
  if (id && (*id < 0 || static_cast<size_t>(*id) >= vocab.tokens.size())) {
    fail("gguf tokenizer", std::string("tokenizer.ggml.") + key, std::to_string(*id),
         "an id from 0 to " + std::to_string(vocab.tokens.size() - 1));
  }
  return id;
}

// Control and user-defined tokens are looked for in the raw text. Some files spell spaces in
// user-defined tokens as U+2581, others as they are.
void add_token(const GgufVocab& vocab, size_t index, Tokenizer::Impl& impl) {
  const std::string& text = vocab.tokens[index];
  const auto id = static_cast<int32_t>(index);
  if (text.size() > tokenizer::kMaxTokenLength) {
    fail("gguf tokenizer", "tokenizer.ggml.tokens[" + std::to_string(index) + "]",
         std::to_string(text.size()) + " bytes", "at most 1 MiB");
  }
  impl.vocab.add(text, id);
  const int32_t type = type_of(vocab, index);
  if (type != kControl && type != kUnknown && type != kUserDefined) return;
  if (text.size() > tokenizer::kMaxAddedTokenLength) {
    fail("gguf tokenizer", "tokenizer.ggml.tokens[" + std::to_string(index) + "]",
         std::to_string(text.size()) + " bytes", "at most 1024 bytes for this token type");
  }
  tokenizer::AddedToken token;
  token.content = tokenizer::replace_all(text, kSpaceMark, " ");
  token.id = id;
  token.special = type != kUserDefined;
  impl.special[index] = token.special;
  impl.raw_matcher.add(token, token.content);
}

// Splitting at newlines, which other engines do first, changes nothing: the tokens that hold
// newlines are runs of them.
std::unique_ptr<tokenizer::Model> make_rank_model(const GgufVocab& vocab, Tokenizer::Impl& impl) {
  tokenizer::MergeTable merges;
  for (const std::string& rule : vocab.merges) merges.add(impl.vocab, rule);
  merges.finish(impl.vocab);
  tokenizer::BpeOptions options;
  options.byte_fallback = true;
  options.fuse_unk = true;
  options.unk_id = vocab.unknown_id;
  return std::make_unique<tokenizer::BpeModel>(impl.vocab, std::move(merges), options);
}

std::unique_ptr<tokenizer::Model> make_score_model(const GgufVocab& vocab, Tokenizer::Impl& impl) {
  std::vector<bool> mergeable(vocab.tokens.size());
  for (size_t id = 0; id < mergeable.size(); ++id) {
    const int32_t type = type_of(vocab, id);
    mergeable[id] = type != kUnknown && type != kControl && type != kByte;
  }
  return std::make_unique<tokenizer::ScoreModel>(impl.vocab, vocab.scores, std::move(mergeable),
                                                 vocab.unknown_id);
}

void set_special_variables(const GgufVocab& vocab, Tokenizer::Impl& impl) {
  const auto set = [&](const char* name, std::optional<int32_t> id) {
    if (id) impl.special_variables[name] = vocab.tokens[static_cast<size_t>(*id)];
  };
  set("bos_token", vocab.bos_id);
  set("eos_token", vocab.eos_id);
  set("unk_token", vocab.unknown_id);
  set("pad_token", vocab.padding_id);
}

}  // namespace

Tokenizer Tokenizer::from_gguf_vocab(const GgufVocab& vocab) try {
  const bool by_score = vocab.model == "llama";
  if (!by_score && vocab.model != "gemma4") {
    fail("gguf tokenizer", "tokenizer.ggml.model", vocab.model.empty() ? "nothing" : vocab.model,
         "llama or gemma4");
  }
  check_counts(vocab);
  auto impl = std::make_shared<Impl>();
  impl->special.resize(vocab.tokens.size());
  for (size_t id = 0; id < vocab.tokens.size(); ++id) add_token(vocab, id, *impl);
  impl->bos_id = checked_id(vocab, vocab.bos_id, "bos_token_id");
  impl->eos_id = checked_id(vocab, vocab.eos_id, "eos_token_id");
  checked_id(vocab, vocab.unknown_id, "unknown_token_id");
  checked_id(vocab, vocab.padding_id, "padding_token_id");

  std::vector<std::unique_ptr<tokenizer::Normalizer>> steps;
  const bool space_prefix = vocab.add_space_prefix.value_or(by_score);
  if (space_prefix) steps.push_back(tokenizer::make_prepend(" "));
  steps.push_back(tokenizer::make_replace(" ", kSpaceMark));
  impl->normalizer = tokenizer::make_sequence(std::move(steps));
  impl->model = by_score ? make_score_model(vocab, *impl) : make_rank_model(vocab, *impl);
  impl->decoder.add_replace(kSpaceMark, " ");
  impl->decoder.add_byte_fallback();
  if (space_prefix) {
    impl->decoder.strip_content = " ";
    impl->decoder.strip_count = 1;
  }
  impl->chat_templates = vocab.chat_templates;
  set_special_variables(vocab, *impl);

  std::vector<int32_t> stops;
  if (const auto id = checked_id(vocab, vocab.eot_id, "eot_token_id")) stops.push_back(*id);
  if (const auto id = checked_id(vocab, vocab.eom_id, "eom_token_id")) stops.push_back(*id);
  const bool force_bos = vocab.model == "gemma4" || vocab.add_bos.value_or(true);
  impl->finish(force_bos, vocab.add_eos.value_or(false), std::move(stops));
  return Tokenizer(std::move(impl));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
