// SPDX-License-Identifier: Apache-2.0
// Vocabularies on their way to GGUF and back cut texts as before.
#include "mlxn/tokenizer.h"

#include <fmt/format.h>

#include "checkpoint/gguf_vocab.h"
#include "convert/gguf_model.h"
#include "convert/gguf_writer.h"
#include "convert/test_util.h"
#include "convert/tokenizer_json.h"

namespace mlxn::convert {
namespace {

using nlohmann::ordered_json;

const std::string kDemo = std::string(MLXN_SOURCE_DIR) + "/demo/model-mlx-4bit";
const std::string kDemoGguf = std::string(MLXN_SOURCE_DIR) + "/demo/model-q4_0.gguf";

const char* const kTexts[] = {"",
                              "Hello.",
                              "Tell me a story  about a fox.\n\nThe end.",
                              " leading and   many spaces",
                              "<|turn>user\nHi<turn|><bos>",
                              "na\xc3\xafve \xe2\x96\x81 \xf0\x9f\xa6\x8a \xe4\xb8\xad\xe6\x96\x87",
                              "tabs\tand\r\nreturns \x01"};

// The vocabulary that a GGUF file made of `directory` would have.
GgufVocab through_gguf(const std::string& directory, ModelConfig model) {
  const TempDir dir;
  GgufMetadata metadata;
  metadata.text("general.architecture", name(model.family));
  std::vector<std::string> notes;
  EXPECT_TRUE(add_tokenizer(directory, model, metadata, notes));
  EXPECT_TRUE(notes.empty());
  std::vector<PlannedTensor> none;
  uint64_t bytes = 0;
  const std::string path = dir.write("vocab.gguf", gguf_header(metadata, none, bytes));
  return checkpoint::read_gguf_vocab(*checkpoint::GgufFile::open(path));
}

void expect_same_cuts(const Tokenizer& a, const Tokenizer& b) {
  for (const char* text : kTexts) {
    EXPECT_EQ(a.encode(text), b.encode(text)) << text;
    EXPECT_EQ(a.decode(a.encode(text)), b.decode(b.encode(text))) << text;
  }
  EXPECT_EQ(a.bos_id(), b.bos_id());
  EXPECT_EQ(a.eos_id(), b.eos_id());
  EXPECT_EQ(a.stop_ids(), b.stop_ids());
}

void expect_same_chat(const Tokenizer& a, const Tokenizer& b) {
  const std::vector<ChatMessage> messages = {{"user", "Hello."}};
  ASSERT_TRUE(a.has_chat_template() && b.has_chat_template());
  EXPECT_EQ(a.apply_chat_template(messages), b.apply_chat_template(messages));
}

TEST(TokenizerToGguf, IsWhatTheShippedFileHas) {
  const GgufVocab vocab = through_gguf(kDemo, load_model_config(kDemo));
  const GgufVocab want = *Checkpoint::open(kDemoGguf).gguf_vocab();
  EXPECT_EQ(vocab.model, want.model);
  EXPECT_EQ(vocab.tokens, want.tokens);
  EXPECT_EQ(vocab.token_types, want.token_types);
  EXPECT_EQ(vocab.scores, want.scores);
  EXPECT_EQ(vocab.merges, want.merges);
  EXPECT_EQ(vocab.bos_id, want.bos_id);
  EXPECT_EQ(vocab.eos_id, want.eos_id);
  EXPECT_EQ(vocab.eot_id, want.eot_id);
  EXPECT_EQ(vocab.unknown_id, want.unknown_id);
  EXPECT_EQ(vocab.padding_id, want.padding_id);
  EXPECT_EQ(vocab.add_bos, want.add_bos);
  EXPECT_EQ(vocab.add_eos, want.add_eos);
  EXPECT_EQ(vocab.add_space_prefix, want.add_space_prefix);
  EXPECT_EQ(vocab.chat_templates, want.chat_templates);
}

TEST(TokenizerToGguf, EmbeddingsMayHaveMoreRows) {
  ModelConfig model = load_model_config(kDemo);
  model.vocab_size += 3;
  const GgufVocab vocab = through_gguf(kDemo, model);
  ASSERT_EQ(vocab.tokens.size(), 4099u);
  EXPECT_EQ(vocab.tokens[4098], "[PAD4098]");
  EXPECT_EQ(vocab.token_types[4098], 5);
  expect_same_cuts(Tokenizer::from_directory(kDemo), Tokenizer::from_gguf_vocab(vocab));
  model.vocab_size = 4095;
  GgufMetadata metadata;
  std::vector<std::string> notes;
  expect_error([&] { add_tokenizer(kDemo, model, metadata, notes); }, ErrorKind::kTokenizer,
               "4096 tokens");
}

TEST(TokenizerToJson, CutsAsTheGgufVocabularyDoes) {
  const GgufVocab vocab = *Checkpoint::open(kDemoGguf).gguf_vocab();
  const auto chat = vocab.chat_templates.at("default");
  const Tokenizer back = Tokenizer::from_json(tokenizer_json(vocab), tokenizer_config(vocab), chat);
  expect_same_cuts(back, Tokenizer::from_gguf_vocab(vocab));
  expect_same_chat(back, Tokenizer::from_gguf_vocab(vocab));
  expect_same_cuts(back, Tokenizer::from_directory(kDemo));
}

TEST(TokenizerToJson, IsTheFileThatTheVocabularyCameFrom) {
  const GgufVocab vocab = *Checkpoint::open(kDemoGguf).gguf_vocab();
  const auto got = ordered_json::parse(tokenizer_json(vocab));
  const auto want = ordered_json::parse(read_file(kDemo + "/tokenizer.json"));
  EXPECT_EQ(got["model"]["vocab"], want["model"]["vocab"]);
  EXPECT_EQ(got["model"]["merges"], want["model"]["merges"]);
  EXPECT_EQ(got["added_tokens"], want["added_tokens"]);
  EXPECT_EQ(got["normalizer"], want["normalizer"]);
  EXPECT_EQ(got["decoder"], want["decoder"]);
}

TEST(TokenizerToJson, VocabulariesThatHaveNoSuchFile) {
  const GgufVocab good = *Checkpoint::open(kDemoGguf).gguf_vocab();
  const auto refused = [](const GgufVocab& vocab, const std::string& part) {
    expect_error([&] { tokenizer_json(vocab); }, ErrorKind::kTokenizer, part);
  };
  GgufVocab vocab = good;
  vocab.model = "llama";
  refused(vocab, "scores do not say the order of merges");
  vocab = good;
  vocab.add_space_prefix = true;
  refused(vocab, "add_space_prefix");
  vocab = good;
  vocab.tokens[300] = vocab.tokens[301];
  refused(vocab, "twice");
  vocab = good;
  vocab.merges[5] = "one two three";
  refused(vocab, "one space");
  vocab = good;
  vocab.unknown_id = 5000;
  refused(vocab, "5000");
  vocab = good;
  vocab.tokens[300] = "\xff";
  refused(vocab, "UTF-8");
}

// "a b,ab c" as a list of strings.
ordered_json rules(const std::string& text) {
  ordered_json list = ordered_json::array();
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    list.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return list;
}

// A small tokenizer.json of Gemma 3's kind.
ordered_json small_tokenizer() {
  ordered_json json = ordered_json::parse(read_file(kDemo + "/tokenizer.json"));
  ordered_json& model = json["model"];
  ordered_json vocab = ordered_json::object();
  int id = 0;
  for (const auto& token : json["added_tokens"]) vocab[token["content"]] = id++;
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = id++;
  for (const char* token : {"\xe2\x96\x81", "a", "b", "c", "ab", "abc", "bc",
                            "\xe2\x96\x81"
                            "a"}) {
    vocab[token] = id++;
  }
  model["vocab"] = vocab;
  model["merges"] = rules("a b,ab c,a bc,b c,\xe2\x96\x81 a");
  return json;
}

GgufVocab gemma3_vocab(const ordered_json& tokenizer) {
  const TempDir dir;
  dir.write("tokenizer.json", tokenizer.dump());
  ModelConfig model;
  model.family = ModelFamily::kGemma3;
  model.vocab_size = 1000;
  return through_gguf(dir.path(), model);
}

TEST(TokenizerToGguf, Gemma3GetsScoresWhereTheySayTheSame) {
  const ordered_json json = small_tokenizer();
  const GgufVocab vocab = gemma3_vocab(json);
  EXPECT_EQ(vocab.model, "llama");
  const Tokenizer by_score = Tokenizer::from_gguf_vocab(vocab);
  const Tokenizer by_rank = Tokenizer::from_json(json.dump());
  for (const char* text : {"abc", "bcabc", "a abcab", "cab bc", " aab", "abcabcbcbc"}) {
    const EncodeOptions plain = {.add_special = false};
    EXPECT_EQ(by_score.encode(text, plain), by_rank.encode(text, plain)) << text;
  }
}

TEST(TokenizerToGguf, Gemma3KeepsMergesWhereScoresWouldCutOtherwise) {
  ordered_json apart = small_tokenizer();  // the rules of "abc" do not stand together
  apart["model"]["merges"] = rules("a b,ab c,b c,a bc,\xe2\x96\x81 a");
  EXPECT_EQ(gemma3_vocab(apart).model, "gemma4");
  ordered_json fewer = small_tokenizer();  // "a" + "bc" is no rule, but scores would join them
  fewer["model"]["merges"] = rules("a b,ab c,b c,\xe2\x96\x81 a");
  EXPECT_EQ(gemma3_vocab(fewer).model, "gemma4");
  ordered_json none = small_tokenizer();  // no rule makes "bc"
  none["model"]["merges"] = rules("a b,ab c,a bc,\xe2\x96\x81 a");
  EXPECT_EQ(gemma3_vocab(none).model, "gemma4");
}

TEST(TokenizerToGguf, PipelinesThatGgufHasNoNameFor) {
  const auto refused = [](const std::string& pointer, const ordered_json& value,
                          const std::string& part) {
    ordered_json json = small_tokenizer();
    json[ordered_json::json_pointer(pointer)] = value;
    const TempDir dir;
    dir.write("tokenizer.json", json.dump());
    ModelConfig model;
    model.vocab_size = 1000;
    GgufMetadata metadata;
    std::vector<std::string> notes;
    expect_error([&] { add_tokenizer(dir.path(), model, metadata, notes); }, ErrorKind::kTokenizer,
                 part);
  };
  refused("/model/type", "Unigram", "Unigram");
  refused("/model/byte_fallback", false, "byte_fallback");
  refused("/normalizer", nullptr, "normalizer");
  refused("/normalizer/content", "_", "normalizer");
  refused("/model/vocab", nullptr, "model.vocab");
  refused("/model/vocab/a", -1, "id of");
  refused("/model/vocab/a", 1 << 23, "model.vocab");
  refused("/model/vocab/a", "x", "model.vocab");
  refused("/model/merges", "x", "model.merges");
  refused("/model/merges/0", 5, "model.merges");
  refused("/model/merges/0", "ab", "model.merges");
  refused("/added_tokens/0", 5, "added_tokens");
}

}  // namespace
}  // namespace mlxn::convert
