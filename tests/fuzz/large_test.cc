// SPDX-License-Identifier: Apache-2.0
// Files far larger than what a fuzzer tries, each made to be slow or to swell: a parser takes time
// and memory in proportion to the file.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/test_kit.h"
#include "checkpoint/config.h"
#include "checkpoint/gguf_parse.h"
#include "checkpoint/json.h"
#include "checkpoint/quant_config.h"
#include "checkpoint/safetensors.h"
#include "mlxn/error.h"
#include "mlxn/tokenizer.h"

namespace mlxn::fuzz {
namespace {

constexpr size_t kMaxBytes = size_t{64} << 20;
constexpr size_t kBytesPerByte = 20;  // the JSON parser's tables alone are 15, touched where used
constexpr double kSecondsPerMiB = 0.1;

// Sanitizers are many times slower and say nothing about time.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kTimed = false;
#else
constexpr bool kTimed = true;
#endif

// Runs `parse` on `file`; it may refuse with a typed error.
template <typename Parse>
void expect_proportional(const char* what, const std::string& file, const Parse& parse) {
  SCOPED_TRACE(what);
  const base::Cost cost = base::cost_of([&] {
    try {
      parse(file);
    } catch (const Error& error) {
      EXPECT_FALSE(error.detail().where.empty()) << error.what();
    }
  });
  EXPECT_LE(cost.bytes, kMaxBytes + kBytesPerByte * file.size());
  if (kTimed) {
    EXPECT_LE(cost.seconds, 1 + kSecondsPerMiB * static_cast<double>(file.size() >> 20));
  }
}

std::string repeat(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

template <typename T>
std::string raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}

std::string gguf_text(const std::string& text) { return raw<uint64_t>(text.size()) + text; }

std::string gguf(uint64_t tensors, uint64_t keys, const std::string& body) {
  std::string file = "GGUF" + raw<uint32_t>(3) + raw(tensors) + raw(keys) + body;
  file.resize((file.size() + 31) / 32 * 32 + 32 * tensors);
  return file;
}

void parse_gguf(const std::string& file) {
  const checkpoint::GgufHeader header =
      checkpoint::parse_gguf(std::as_bytes(std::span(file)), "f.gguf");
  for (const checkpoint::GgufValue& value : header.metadata) {
    if (value.element_type == checkpoint::GgufValueType::kString) checkpoint::decode_strings(value);
  }
  header.find("not there");
}

TEST(LargeFiles, Gguf) {
  std::string keys;
  for (int i = 0; i < 100'000; ++i) keys += gguf_text(std::to_string(i)) + raw<uint32_t>(0) + "\1";
  expect_proportional("keys", gguf(0, 100'000, keys), parse_gguf);
  std::string tensors;
  for (uint64_t i = 0; i < 100'000; ++i) {
    tensors += gguf_text(std::to_string(i)) + raw<uint32_t>(1) + raw<uint64_t>(1) +
               raw<uint32_t>(0) + raw<uint64_t>(32 * i);
  }
  expect_proportional("tensors", gguf(100'000, 0, tensors), parse_gguf);
  const std::string array = gguf_text("a") + raw<uint32_t>(9) + raw<uint32_t>(8);
  expect_proportional("empty strings",
                      gguf(0, 1, array + raw<uint64_t>(1 << 22) + std::string(8 << 22, '\0')),
                      parse_gguf);
}

std::string safetensors(const std::string& header) { return raw<uint64_t>(header.size()) + header; }

void parse_safetensors(const std::string& file) {
  checkpoint::parse_safetensors(std::as_bytes(std::span(file)), "f.safetensors");
}

TEST(LargeFiles, Safetensors) {
  std::string entries = "{";
  for (int i = 0; i < 200'000; ++i) {
    entries += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                           i > 0 ? "," : "", i);
  }
  expect_proportional("tensors", safetensors(entries + "}"), parse_safetensors);
  std::string metadata = R"({"__metadata__":{)";
  for (int i = 0; i < 500'000; ++i) {
    metadata += fmt::format(R"({}"{}":"")", i > 0 ? "," : "", i);
  }
  expect_proportional("metadata", safetensors(metadata + "}}"), parse_safetensors);
  std::string ranks = R"({"t":{"dtype":"U8","data_offsets":[0,0],"shape":[)";
  for (int i = 0; i < 1'000'000; ++i) ranks += "1,";
  expect_proportional("shape", safetensors(ranks + "1]}}"), parse_safetensors);
}

void parse_config(const std::string& file) {
  const auto config = checkpoint::Json::parse(file, "config.json");
  const auto quant = checkpoint::QuantConfig::read(config);
  for (int i = 0; i < 1000; ++i) quant.find(fmt::format("model.layers.{}.mlp.up_proj", i));
  checkpoint::config_from_json(config, {});
}

TEST(LargeFiles, Config) {
  std::string keys = "{";
  std::string overrides = R"({"quantization":{"group_size":64,"bits":4)";
  std::string layers = R"({"model_type":"gemma3_text","num_hidden_layers":1024,"layer_types":[")";
  std::string numbers = R"({"model_type":"gemma3_text","eos_token_id":[1)";
  for (int i = 0; i < 200'000; ++i) {
    keys += fmt::format(R"({}"k{}":1)", i > 0 ? "," : "", i);
    overrides += fmt::format(R"(,"m{}":{{"bits":8}})", i);
    layers += R"(full_attention",")";
    numbers += ",1";
  }
  expect_proportional("keys", keys + "}", parse_config);
  expect_proportional("overrides", overrides + "}}", parse_config);
  expect_proportional("layers", layers + "\"]}", parse_config);
  expect_proportional("numbers", numbers + "]}", parse_config);
}

void use_tokenizer(const std::string& file) {
  const Tokenizer tokenizer = Tokenizer::from_json(file);
  tokenizer.decode(tokenizer.encode("some text of words"));
}

std::string tokenizer_json(const std::string& vocab, const std::string& merges,
                           const std::string& more = "") {
  return R"({"model":{"type":"BPE","vocab":{)" + vocab + R"(},"merges":[)" + merges + "]}" + more +
         "}";
}

TEST(LargeFiles, Tokenizer) {
  std::string vocab = R"("a":0)";
  for (int i = 1; i < 500'000; ++i) vocab += fmt::format(R"(,"t{}":{})", i, i);
  expect_proportional("vocab", tokenizer_json(vocab, ""), use_tokenizer);
  std::string merges = R"("a a")";
  for (int i = 0; i < 500'000; ++i) merges += R"(,"a a")";
  expect_proportional("merges", tokenizer_json(R"("a":0,"aa":1)", merges), use_tokenizer);
  std::string added;
  std::string longer;
  std::string normalizers;
  for (int i = 0; i < 100'000; ++i) {
    added +=
        fmt::format(R"({}{{"id":{},"content":"<{}>","special":true}})", i > 0 ? "," : "", i + 1, i);
    longer += fmt::format(R"({}{{"id":{},"content":"{}"}})", i > 0 ? "," : "", i + 1,
                          std::string(static_cast<size_t>(i % 1000 + 1), 'w'));
    normalizers += fmt::format(R"({}{{"type":"Prepend","prepend":"x"}})", i > 0 ? "," : "");
  }
  expect_proportional("added tokens",
                      tokenizer_json(R"("a":0)", "", R"(,"added_tokens":[)" + added + "]"),
                      use_tokenizer);
  expect_proportional("long added tokens",
                      tokenizer_json(R"("a":0)", "", R"(,"added_tokens":[)" + longer + "]"),
                      use_tokenizer);
  expect_proportional(
      "normalizers",
      tokenizer_json(R"("a":0)", "",
                     R"(,"normalizer":{"type":"Sequence","normalizers":[)" + normalizers + "]}"),
      use_tokenizer);
  expect_proportional("long token", tokenizer_json("\"" + std::string(4 << 20, 'x') + "\":0", ""),
                      use_tokenizer);
}

TEST(LargeFiles, ChatTemplate) {
  const auto render = [](const std::string& source) {
    const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_json(R"("a":0)", ""), {}, source);
    tokenizer.apply_chat_template({});
  };
  expect_proportional("text", std::string(4 << 20, 'x'), render);
  expect_proportional("string", "{{ '" + std::string(4 << 20, 'x') + "' }}", render);
  expect_proportional("braces", std::string(4 << 20, '{'), render);
  expect_proportional("comments", repeat("{# #}", 500'000), render);
  expect_proportional("open comments", repeat("{#", 500'000), render);
  expect_proportional("raw blocks", repeat("{% raw %}{% endraw %}", 200'000), render);
  expect_proportional("newlines", std::string(4 << 20, '\n') + "{{ 1 }}", render);
  expect_proportional(
      "spaces",
      std::string(4 << 20, ' ') + "{%- if 1 -%}" + std::string(4 << 20, ' ') + "{% endif %}",
      render);
}

}  // namespace
}  // namespace mlxn::fuzz
