// SPDX-License-Identifier: Apache-2.0
// Rules of the public class that no fixture covers: BOS, stop ids, bytes, limits, refusals.
#include "mlxn/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/test_support.h"

namespace mlxn::tokenizer {
namespace {

using Ids = std::vector<int32_t>;

const Tokenizer& gemma() {
  static const Tokenizer tokenizer = Tokenizer::from_json(read_fixture("gemma_tokenizer.json"));
  return tokenizer;
}

// A valid tokenizer.json to break.
TestJson small_spec() {
  return TestJson::parse(R"({
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true, "normalized": false},
                     {"id": 6, "content": "<eos>", "special": true, "normalized": false}],
    "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "_"},
    "pre_tokenizer": null, "post_processor": null,
    "decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "_"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
              "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "_": 4, "<0x0A>": 5}, "merges": ["a b"]}})");
}

TEST(Tokenizer, GemmaAddsBosOnce) {
  EXPECT_TRUE(gemma().adds_bos());
  EXPECT_EQ(gemma().bos_id(), 2);
  EXPECT_EQ(gemma().eos_id(), 1);
  EXPECT_EQ(gemma().encode(""), Ids({2}));
  const Ids plain = gemma().encode("hello", {false, true});
  Ids with_bos = plain;
  with_bos.insert(with_bos.begin(), 2);
  EXPECT_EQ(gemma().encode("hello"), with_bos);
  EXPECT_EQ(gemma().encode("<bos>hello"), with_bos);
  EXPECT_NE(gemma().encode("<bos>hello", {true, false}), with_bos) << "as text it is no BOS";
}

TEST(Tokenizer, ConfigDecidesAboutBosAndEos) {
  TestJson spec = small_spec();
  spec["added_tokens"].push_back({{"id", 7}, {"content", "<bos>"}, {"special", true}});
  const std::string json = spec.dump();
  EXPECT_EQ(Tokenizer::from_json(json).encode("ab"), Ids({7, 3}));
  EXPECT_EQ(Tokenizer::from_json(json, R"({"add_bos_token": false})").encode("ab"), Ids({3}));
  EXPECT_EQ(
      Tokenizer::from_json(json, R"({"add_bos_token": false, "tokenizer_class": "GemmaTokenizer"})")
          .encode("ab"),
      Ids({7, 3}));
  EXPECT_EQ(Tokenizer::from_json(json, R"({"add_eos_token": true})").encode("ab"), Ids({7, 3, 6}));
  const auto other =
      Tokenizer::from_json(json, R"({"bos_token": {"content": "ab"}, "eos_token": null})");
  EXPECT_EQ(other.bos_id(), 3);
  EXPECT_FALSE(other.adds_bos());
}

TEST(Tokenizer, StopIdsAndSpecialTokens) {
  EXPECT_EQ(gemma().stop_ids(), Ids({1, *gemma().token_id("<turn|>")}));
  EXPECT_TRUE(gemma().is_special(2));
  EXPECT_FALSE(gemma().is_special(*gemma().token_id("<table>")));
  EXPECT_FALSE(gemma().is_special(-1));
  EXPECT_FALSE(gemma().is_special(1 << 30));
  const Ids ids = gemma().encode("a<|turn>b<table>");
  EXPECT_EQ(gemma().decode(ids), "<bos>a<|turn>b<table>");
  EXPECT_EQ(gemma().decode(ids, true), "ab<table>");
}

TEST(Tokenizer, PiecesAndIdsOutOfRange) {
  EXPECT_EQ(gemma().piece(*gemma().token_id("\xe2\x96\x81the")), " the");
  EXPECT_EQ(gemma().token(*gemma().token_id("\xe2\x96\x81the")), "\xe2\x96\x81the");
  EXPECT_EQ(gemma().piece(*gemma().token_id("<0xE4>")), "\xe4");
  EXPECT_EQ(gemma().token_id("no such token"), std::nullopt);
  EXPECT_EQ(gemma().piece(-1), "");
  EXPECT_EQ(gemma().piece(gemma().vocab_size()), "");
  const Ids ids = {-5, gemma().vocab_size(), INT32_MAX, INT32_MIN};
  EXPECT_EQ(gemma().decode(ids), "");
}

TEST(Tokenizer, BytesThatAreNoUtf8BecomeByteTokens) {
  const auto byte = [](int value) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", value);
    return *gemma().token_id(text);
  };
  const EncodeOptions plain{false, false};
  EXPECT_EQ(gemma().encode("\xff\xfe", plain), Ids({byte(0xff), byte(0xfe)}));
  EXPECT_EQ(gemma().encode("\xe4\xb8", plain), Ids({byte(0xe4), byte(0xb8)}));
  EXPECT_EQ(gemma().encode("\xed\xa0\x80", plain), Ids({byte(0xed), byte(0xa0), byte(0x80)}));
  EXPECT_EQ(gemma().decode(Ids({byte(0xff), byte(0xfe)})), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(gemma().decode(Ids({byte(0xe4), byte(0xb8)})), "\xef\xbf\xbd") << "one cut character";
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    std::string joined;
    const Ids ids = gemma().encode(bytes, plain);
    for (const int32_t id : ids) joined += gemma().piece(id);
    ASSERT_EQ(joined, bytes);
    ASSERT_NO_FATAL_FAILURE(expect_stream_equals_batch(gemma(), ids));
  }
}

TEST(StreamDecoder, EveryStartAndFlushOfRandomIds) {
  std::mt19937 random(9);
  const int32_t first_byte = *gemma().token_id("<0x00>");
  for (int round = 0; round < 1000; ++round) {
    Ids ids(1 + random() % 12);
    for (int32_t& id : ids) {
      id = random() % 2
               ? first_byte + static_cast<int32_t>(random() % 256)
               : static_cast<int32_t>(random() % static_cast<uint32_t>(gemma().vocab_size()));
    }
    ASSERT_NO_FATAL_FAILURE(expect_stream_equals_batch(gemma(), ids));
    // A flush in the middle equals decoding both halves.
    const size_t cut = random() % ids.size();
    StreamDecoder decoder(gemma());
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i == cut) text += decoder.flush();
      text += decoder.push(ids[i]);
    }
    text += decoder.flush();
    const std::span<const int32_t> all(ids);
    ASSERT_EQ(text, gemma().decode(all.first(cut)) + gemma().decode(all.subspan(cut)));
  }
}

TEST(Tokenizer, LongTextsTakeNoQuadraticTime) {
  // A quadratic merge loop would take hours on these.
  for (const std::string unit : {"a", " the end of it", "\xe4\xb8\xad", "\n", " "}) {
    std::string text;
    while (text.size() < 1000000) text += unit;
    const Ids ids = gemma().encode(text, {false, true});
    EXPECT_EQ(gemma().decode(ids), text);
  }
}

// A token that only looks like a byte is text.
TEST(TokenizerJson, ByteTokensAreTwoHexDigits) {
  TestJson spec = small_spec();
  int id = 5;
  const std::vector<std::string> odd = {"<0x-1>", "<0xGG>", "<0x100>", "<0x1>",
                                        "<0x>",   "<0x 1>", "<0xff ",  "<0X0A>"};
  for (const std::string& text : odd) spec["model"]["vocab"][text] = ++id + 1;
  const auto tokenizer = Tokenizer::from_json(spec.dump());
  for (const std::string& text : odd) {
    EXPECT_EQ(tokenizer.decode(Ids({*tokenizer.token_id(text)})), text);
  }
  EXPECT_EQ(tokenizer.decode(Ids({5})), "\n");
}

GgufVocab small_gguf(const std::string& model) {
  GgufVocab vocab;
  vocab.model = model;
  vocab.tokens = {"<unk>", "<s>",          "</s>",          "a",     "b",
                  "ab",    "\xe2\x96\x81", "<end_of_turn>", "<tool>"};
  vocab.scores = {0, 0, 0, -1, -2, -3, -4, 0, 0};
  vocab.token_types = {2, 3, 3, 1, 1, 1, 1, 3, 4};
  vocab.merges = {"a b"};
  vocab.bos_id = 1;
  vocab.eos_id = 2;
  vocab.unknown_id = 0;
  vocab.eot_id = 7;
  return vocab;
}

TEST(GgufTokenizer, FlagsAndStops) {
  GgufVocab vocab = small_gguf("llama");
  auto tokenizer = Tokenizer::from_gguf_vocab(vocab);
  EXPECT_EQ(tokenizer.encode("ab"), Ids({1, 6, 5}))
      << "BOS and a prefix space unless told otherwise";
  EXPECT_EQ(tokenizer.decode(Ids({6, 5})), "ab");
  EXPECT_EQ(tokenizer.stop_ids(), Ids({2, 7}));
  vocab.add_space_prefix = false;
  vocab.add_bos = false;
  vocab.add_eos = true;
  tokenizer = Tokenizer::from_gguf_vocab(vocab);
  EXPECT_EQ(tokenizer.encode("a<tool>b<end_of_turn>"), Ids({3, 8, 4, 7, 2}));
  EXPECT_EQ(tokenizer.encode("<tool>", {false, false}), Ids({8})) << "user-defined, always matched";
  EXPECT_EQ(tokenizer.decode(Ids({3, 8, 7}), true), "a<tool>");
  EXPECT_EQ(tokenizer.encode("z", {false, true}), Ids({0})) << "no byte tokens here";
  vocab.model = "gemma4";
  tokenizer = Tokenizer::from_gguf_vocab(vocab);
  EXPECT_EQ(tokenizer.encode("ab a"), Ids({1, 5, 6, 3, 2})) << "BOS is forced";
}

TEST(GgufTokenizer, DamagedVocabulariesAreRefused) {
  const auto refused = [](std::string_view part, const auto& change) {
    GgufVocab vocab = small_gguf("llama");
    change(vocab);
    expect_error(ErrorKind::kTokenizer, part, [&] { Tokenizer::from_gguf_vocab(vocab); });
  };
  refused("gpt2", [](GgufVocab& v) { v.model = "gpt2"; });
  refused("bert", [](GgufVocab& v) { v.model = "bert"; });
  refused("tokens", [](GgufVocab& v) { v.tokens.clear(); });
  refused("scores", [](GgufVocab& v) { v.scores.pop_back(); });
  refused("token_type", [](GgufVocab& v) { v.token_types.push_back(1); });
  refused("bos_token_id", [](GgufVocab& v) { v.bos_id = 9; });
  refused("eos_token_id", [](GgufVocab& v) { v.eos_id = -1; });
  refused("unknown_token_id", [](GgufVocab& v) { v.unknown_id = INT32_MAX; });
  refused("eot_token_id", [](GgufVocab& v) { v.eot_id = 100; });
  refused("merges[1]", [](GgufVocab& v) { v.model = "gemma4", v.merges.push_back("a z"); });
  refused("1024", [](GgufVocab& v) { v.tokens[8] = std::string(5000, 'x'); });
  GgufVocab twins = small_gguf("llama");
  twins.tokens[4] = "a";
  EXPECT_EQ(Tokenizer::from_gguf_vocab(twins).encode("a", {false, true}), Ids({6, 3}))
      << "the first of two equal tokens is found";
}

TEST(Tokenizer, FromDirectory) {
  const auto dir = std::filesystem::temp_directory_path() /
                   ("mlxn_tokenizer_test_" + std::to_string(std::random_device{}()));
  std::filesystem::create_directories(dir);
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(dir / name) << text;
  };
  expect_error(ErrorKind::kIo, "tokenizer.json", [&] { Tokenizer::from_directory(dir.string()); });
  write("tokenizer.json", small_spec().dump());
  EXPECT_FALSE(Tokenizer::from_directory(dir.string()).has_chat_template());
  write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(Tokenizer::from_directory(dir.string()).apply_chat_template({}), "config");
  write("chat_template.jinja", "file");
  EXPECT_EQ(Tokenizer::from_directory(dir.string()).apply_chat_template({}), "file");
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace mlxn::tokenizer
