// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf_vocab.h"

#include <limits>

namespace mlxn::checkpoint {
namespace {

constexpr int32_t kMaxId = std::numeric_limits<int32_t>::max();
constexpr std::string_view kTemplateKey = "tokenizer.chat_template";

std::optional<int32_t> read_id(const GgufFile& gguf, const char* name) {
  const auto id = gguf.integer(std::string("tokenizer.ggml.") + name + "_token_id", 0, kMaxId);
  if (!id) return std::nullopt;
  return static_cast<int32_t>(*id);
}

std::vector<std::string> read_texts(const GgufFile& gguf, const char* key) {
  const auto views = gguf.texts(key);
  if (!views) return {};
  return std::vector<std::string>(views->begin(), views->end());
}

}  // namespace

GgufVocab read_gguf_vocab(const GgufFile& gguf) {
  GgufVocab vocab;
  vocab.model = gguf.text("tokenizer.ggml.model").value_or("");
  vocab.tokens = read_texts(gguf, "tokenizer.ggml.tokens");
  vocab.merges = read_texts(gguf, "tokenizer.ggml.merges");
  vocab.scores = gguf.floats("tokenizer.ggml.scores").value_or(std::vector<float>{});
  if (const auto types = gguf.integers("tokenizer.ggml.token_type", 0, kMaxId)) {
    vocab.token_types.assign(types->begin(), types->end());
  }
  vocab.bos_id = read_id(gguf, "bos");
  vocab.eos_id = read_id(gguf, "eos");
  vocab.eot_id = read_id(gguf, "eot");
  vocab.eom_id = read_id(gguf, "eom");
  vocab.unknown_id = read_id(gguf, "unknown");
  vocab.padding_id = read_id(gguf, "padding");
  vocab.add_bos = gguf.boolean("tokenizer.ggml.add_bos_token");
  vocab.add_eos = gguf.boolean("tokenizer.ggml.add_eos_token");
  vocab.add_space_prefix = gguf.boolean("tokenizer.ggml.add_space_prefix");
  for (const GgufValue& value : gguf.parts()[0].header.metadata) {
    if (value.key.substr(0, kTemplateKey.size()) != kTemplateKey) continue;
    const std::string_view rest = value.key.substr(kTemplateKey.size());
    const bool is_named = rest.size() > 1 && rest[0] == '.';
    if (!rest.empty() && !is_named) continue;
    // The value in hand is read directly: looking each key up again would be quadratic.
    if (value.type != GgufValueType::kString) gguf.reject(value.key, "another type", "a string");
    vocab.chat_templates[is_named ? std::string(rest.substr(1)) : "default"] =
        std::string(reinterpret_cast<const char*>(value.data.data()), value.data.size());
  }
  return vocab;
}

}  // namespace mlxn::checkpoint
