// SPDX-License-Identifier: Apache-2.0
// Damaged inputs: whatever the bytes, the result is a value or an mlxn::Error. Sanitizers watch.
#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <string>
#include <vector>

#include "mlxn/tokenizer.h"
#include "tokenizer/test_support.h"

namespace mlxn::tokenizer {
namespace {

// A few random edits: bytes replaced, removed, doubled, and pieces of the text moved.
std::string mutate(std::string text, std::mt19937& random) {
  constexpr std::string_view kBytes = "\"{}[]():,.%#|-+~'\\ \n019aeiftn\x80\xff_<>=*/";
  const auto below = [&](size_t n) { return n == 0 ? 0 : random() % n; };
  for (size_t edits = 1 + below(4); edits > 0; --edits) {
    const size_t at = below(text.size());
    switch (below(5)) {
      case 0:
        if (!text.empty()) text[at] = kBytes[below(kBytes.size())];
        break;
      case 1:
        text.erase(at, below(8));
        break;
      case 2:
        text.insert(at, 1, kBytes[below(kBytes.size())]);
        break;
      case 3:
        text.insert(at, text.substr(below(text.size()), below(30)));
        break;
      default:
        text.insert(at, std::to_string(static_cast<int32_t>(random()) >> below(31)));
    }
  }
  return text;
}

TEST(Robustness, MutatedTokenizerFiles) {
  const TestJson variants = read_json_fixture("variants.json");
  std::mt19937 random(1);
  size_t loaded = 0;
  size_t refused = 0;
  for (const auto& [name, variant] : variants.items()) {
    const std::string source = variant["tokenizer"].dump();
    for (int round = 0; round < 200; ++round) {
      const std::string text = mutate(source, random);
      try {
        const auto tokenizer = Tokenizer::from_json(text);
        const auto ids = tokenizer.encode("<s>abc  a-b\xff\xe4 \xc3\xa9</s>");
        tokenizer.decode(ids);
        expect_stream_equals_batch(tokenizer, ids);
        ++loaded;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kTokenizer) << error.what();
        ++refused;
      }
    }
  }
  EXPECT_GE(loaded, 100u);
  EXPECT_GE(refused, 100u);
}

TEST(Robustness, MutatedTemplates) {
  const TestJson cases = read_template_cases();
  const std::string json = read_json_fixture("variants.json")["plain"]["tokenizer"].dump();
  const std::vector<ChatMessage> messages = {
      {"system", "be"}, {"user", "hi \xff"}, {"assistant", "yes"}};
  std::mt19937 random(2);
  size_t rendered = 0;
  size_t failed = 0;
  for (const TestJson& entry : cases) {
    const std::string source = entry[1].get<std::string>();
    if (source.empty()) continue;
    for (int round = 0; round < 20; ++round) {
      const auto tokenizer = Tokenizer::from_json(json, {}, mutate(source, random) + " ");
      try {
        tokenizer.apply_chat_template(messages);
        ++rendered;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kTemplate) << error.what();
        ++failed;
      }
    }
  }
  EXPECT_GE(rendered, 500u);
  EXPECT_GE(failed, 500u);
}

TEST(Robustness, MutatedGgufVocabularies) {
  const TestJson fixture = read_json_fixture("score_vocab.json");
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    GgufVocab vocab;
    vocab.model = round % 2 ? "llama" : "gemma4";
    for (size_t i = 0; i < 60; ++i) {
      vocab.tokens.push_back(mutate(fixture["vocab"]["tokens"][i * 7].get<std::string>(), random));
      vocab.scores.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
      vocab.token_types.push_back(static_cast<int32_t>(random() % 9) - 1);
    }
    vocab.merges = {vocab.tokens[3] + " " + vocab.tokens[4]};
    vocab.unknown_id = static_cast<int32_t>(random() % 64);
    try {
      const auto tokenizer = Tokenizer::from_gguf_vocab(vocab);
      expect_stream_equals_batch(tokenizer,
                                 tokenizer.encode("the <table> \n\n a\xff" + vocab.tokens[5]));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kTokenizer) << error.what();
    }
  }
}

}  // namespace
}  // namespace mlxn::tokenizer
