// SPDX-License-Identifier: Apache-2.0
// Ids and texts against the PyPI packages tokenizers and sentencepiece, from committed fixtures.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mlxn/tokenizer.h"
#include "tokenizer/test_support.h"

namespace mlxn::tokenizer {
namespace {

using Ids = std::vector<int32_t>;

constexpr EncodeOptions kParsed{false, true};
constexpr EncodeOptions kPlain{false, false};

// A case is [text, ids, ids without special parsing or null, decoded text].
void check_case(const Tokenizer& tokenizer, const TestJson& entry, bool add_special) {
  const auto text = entry[0].get<std::string>();
  const auto ids = entry[1].get<Ids>();
  const bool has_plain = entry.size() > 2 && !entry[2].is_null();
  ASSERT_EQ(tokenizer.encode(text, {add_special, true}), ids) << "text: " << entry[0];
  ASSERT_EQ(tokenizer.encode(text, {add_special, false}), has_plain ? entry[2].get<Ids>() : ids)
      << "text: " << entry[0];
  ASSERT_EQ(tokenizer.decode(ids), entry.size() > 3 ? entry[3].get<std::string>() : text);
  ASSERT_NO_FATAL_FAILURE(expect_stream_equals_batch(tokenizer, ids));
}

TEST(TokenizerParity, GemmaFormOnNastyStrings) {
  const auto tokenizer = Tokenizer::from_json(read_fixture("gemma_tokenizer.json"));
  const TestJson cases = read_json_fixture("gemma_cases.json");
  ASSERT_GE(cases.size(), 2000u);
  size_t exact = 0;
  for (const TestJson& entry : cases) {
    ASSERT_NO_FATAL_FAILURE(check_case(tokenizer, entry, false));
    exact += entry.size() <= 3;
  }
  EXPECT_GE(exact, 1500u) << "most texts survive the round trip";
}

TEST(TokenizerParity, VariantsOfThePipeline) {
  const TestJson variants = read_json_fixture("variants.json");
  ASSERT_GE(variants.size(), 15u);
  for (const auto& [name, variant] : variants.items()) {
    SCOPED_TRACE(name);
    const auto tokenizer = Tokenizer::from_json(variant["tokenizer"].dump());
    for (const TestJson& entry : variant["cases"]) {
      ASSERT_NO_FATAL_FAILURE(check_case(tokenizer, entry, variant["add_special"].get<bool>()));
    }
  }
}

// The vocabulary of gemma_tokenizer.json as a GGUF file would hold it.
GgufVocab gguf_from_gemma_fixture() {
  const TestJson spec = read_json_fixture("gemma_tokenizer.json");
  GgufVocab vocab;
  vocab.model = "gemma4";
  size_t count = 0;
  for (const auto& [text, id] : spec["model"]["vocab"].items()) {
    count = std::max(count, id.get<size_t>() + 1);
  }
  for (const auto& token : spec["added_tokens"]) {
    count = std::max(count, token["id"].get<size_t>() + 1);
  }
  vocab.tokens.resize(count);
  vocab.token_types.assign(count, 1);
  for (const auto& [text, id] : spec["model"]["vocab"].items()) {
    vocab.tokens[id.get<size_t>()] = text;
  }
  for (const auto& token : spec["added_tokens"]) {
    const auto id = token["id"].get<size_t>();
    vocab.tokens[id] = token["content"].get<std::string>();
    vocab.token_types[id] = token["special"].get<bool>() ? 3 : 4;
  }
  for (const auto& pair : spec["model"]["merges"]) {
    vocab.merges.push_back(pair[0].get<std::string>() + " " + pair[1].get<std::string>());
  }
  vocab.bos_id = 2;
  vocab.eos_id = 1;
  vocab.unknown_id = 3;
  return vocab;
}

// GGUF has no flags for white space and single words: texts with such tokens are left out.
TEST(TokenizerParity, GgufRankFormEqualsJsonForm) {
  const auto json_form = Tokenizer::from_json(read_fixture("gemma_tokenizer.json"));
  const auto gguf_form = Tokenizer::from_gguf_vocab(gguf_from_gemma_fixture());
  const TestJson cases = read_json_fixture("gemma_cases.json");
  size_t compared = 0;
  for (const TestJson& entry : cases) {
    const auto text = entry[0].get<std::string>();
    bool flagged = false;
    for (const char* token : {"<left>", "<right>", "<both>", "cat", "new york",
                              "new\xe2\x96\x81york", "turn", "<tail>"}) {
      flagged = flagged || text.find(token) != std::string::npos;
    }
    if (flagged) continue;
    ++compared;
    ASSERT_EQ(gguf_form.encode(text, kParsed), json_form.encode(text, kParsed)) << entry[0];
    ASSERT_EQ(gguf_form.encode(text, kPlain), json_form.encode(text, kPlain)) << entry[0];
    ASSERT_EQ(gguf_form.decode(entry[1].get<Ids>()), json_form.decode(entry[1].get<Ids>()));
  }
  EXPECT_GE(compared, 1500u);
}

GgufVocab score_vocab(const TestJson& fixture) {
  GgufVocab vocab;
  vocab.model = "llama";
  vocab.tokens = fixture["vocab"]["tokens"].get<std::vector<std::string>>();
  vocab.scores = fixture["vocab"]["scores"].get<std::vector<float>>();
  vocab.token_types = fixture["vocab"]["types"].get<std::vector<int32_t>>();
  vocab.bos_id = 2;
  vocab.eos_id = 1;
  vocab.unknown_id = 3;
  return vocab;
}

// The texts of score_vocab.json's cases, of which those of gemma_cases.json are numbers of its
// cases.
std::vector<std::string> score_texts(const TestJson& fixture) {
  const TestJson others = read_json_fixture("gemma_cases.json");
  std::vector<std::string> texts;
  for (const TestJson& entry : fixture["cases"]) {
    const TestJson& text = entry[0].is_string() ? entry[0] : others.at(entry[0].get<size_t>())[0];
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

TEST(TokenizerParity, ScoreFormEqualsSentencePiece) {
  const TestJson fixture = read_json_fixture("score_vocab.json");
  GgufVocab vocab = score_vocab(fixture);
  vocab.add_space_prefix = false;
  const auto tokenizer = Tokenizer::from_gguf_vocab(vocab);
  ASSERT_GE(fixture["cases"].size(), 900u);
  const auto texts = score_texts(fixture);
  for (size_t i = 0; i < texts.size(); ++i) {
    const TestJson& entry = fixture["cases"][i];
    const std::string& text = texts[i];
    const auto ids = entry[1].get<Ids>();
    ASSERT_EQ(tokenizer.encode(text, kParsed), ids) << text;
    ASSERT_EQ(tokenizer.decode(ids), entry.size() > 2 ? entry[2].get<std::string>() : text);
    ASSERT_NO_FATAL_FAILURE(expect_stream_equals_batch(tokenizer, ids));
  }
}

// After a user-defined token this library puts a prefix space again, as llama.cpp does and
// SentencePiece does not: only texts without such tokens are compared.
TEST(TokenizerParity, ScoreFormWithSpacePrefix) {
  const TestJson fixture = read_json_fixture("score_vocab.json");
  const auto tokenizer = Tokenizer::from_gguf_vocab(score_vocab(fixture));
  const auto texts = score_texts(fixture);
  size_t compared = 0;
  for (size_t i = 0; i < fixture["prefixed"].size(); ++i) {
    const TestJson& entry = fixture["prefixed"][i];
    const std::string& text = texts.at(5 * i);
    const auto ids = entry[0].get<Ids>();
    bool has_user_token = false;
    for (const int32_t id : ids) {
      has_user_token = has_user_token || fixture["vocab"]["types"][static_cast<size_t>(id)] == 4;
    }
    if (has_user_token) continue;
    ++compared;
    ASSERT_EQ(tokenizer.encode(text, kParsed), ids) << text;
    ASSERT_EQ(tokenizer.decode(ids), entry.size() > 1 ? entry[1].get<std::string>() : text);
  }
  EXPECT_GE(compared, 100u);
}

}  // namespace
}  // namespace mlxn::tokenizer
