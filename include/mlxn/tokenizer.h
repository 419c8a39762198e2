// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back, and chat templates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/export.h"

namespace mlxn {

// The tokenizer.ggml.* metadata of a GGUF file. Empty optionals are keys the file does not have.
struct GgufVocab {
  std::string model;                // "llama" (SentencePiece scores), "gemma4" (merges by rank)
  std::vector<std::string> tokens;  // text of id i
  std::vector<float> scores;        // "llama": per token
  std::vector<int32_t>
      token_types;  // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  std::vector<std::string> merges;  // "gemma4": "left right", best first
  std::optional<int32_t> bos_id;
  std::optional<int32_t> eos_id;
  std::optional<int32_t> eot_id;  // end of turn
  std::optional<int32_t> eom_id;  // end of message
  std::optional<int32_t> unknown_id;
  std::optional<int32_t> padding_id;
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
  std::optional<bool> add_space_prefix;
  std::map<std::string, std::string> chat_templates;  // by name; the unnamed one is "default"
};

struct EncodeOptions {
  bool add_special = true;    // add BOS (and EOS) as the tokenizer says; off for template output
  bool parse_special = true;  // text such as "<eos>" becomes the special token, not characters
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool", ...
  std::string content;
};

struct ChatOptions {
  bool add_generation_prompt = true;
  // Further template variables as JSON texts, such as {"enable_thinking", "true"} or {"tools",
  // "[]"}. They win over the variables that the tokenizer sets itself, "messages" too.
  std::map<std::string, std::string> variables;
  // Time for strftime_now in seconds since 1970, read as UTC; the local time of now if empty.
  std::optional<int64_t> now;
};

// Immutable; copies share their data, and every method may be called from several threads at once.
// Constructors throw Error(kTokenizer) for malformed data and for kinds that are not supported.
class MLXN_API Tokenizer {
 public:
  struct Impl;

  // Reads tokenizer.json and, where present, tokenizer_config.json and chat_template.jinja.
  static Tokenizer from_directory(const std::string& path);
  static Tokenizer from_json(std::string_view tokenizer_json,
                             std::string_view tokenizer_config_json = {},
                             std::string_view chat_template = {});
  static Tokenizer from_gguf_vocab(const GgufVocab& vocab);

  // Any bytes are accepted; those that are not UTF-8 become byte tokens.
  std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;
  // Always valid UTF-8: each maximal invalid sequence becomes U+FFFD. Ids without a token give "".
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  // Largest id + 1.
  int32_t vocab_size() const;
  // The bytes that a token adds to decoded text; perhaps part of a character. "" if there is none.
  std::string_view piece(int32_t id) const;
  // The token as the vocabulary spells it. "" if there is none.
  std::string_view token(int32_t id) const;
  std::optional<int32_t> token_id(std::string_view token) const;
  bool is_special(int32_t id) const;

  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  // Ids that end generation as far as the tokenizer knows, ascending.
  const std::vector<int32_t>& stop_ids() const;
  // True if encode() with add_special puts BOS first. It never adds a second one.
  bool adds_bos() const;

  bool has_chat_template() const;
  // The conversation as text, to be encoded with add_special off. Throws Error(kTemplate) naming
  // the line of the template.
  std::string apply_chat_template(std::span<const ChatMessage> messages,
                                  const ChatOptions& options = {}) const;

  const Impl& impl() const { return *impl_; }

 private:
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

// Text of tokens as they come, in whole characters. The concatenation of all results equals
// Tokenizer::decode of the ids.
class MLXN_API StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special = false);

  std::string push(int32_t id);
  // What was held back, an incomplete character as U+FFFD; then starts afresh.
  std::string flush();

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  bool at_start_ = true;   // no token seen yet
  uint32_t stripped_ = 0;  // characters taken off the start so far
  bool strip_done_ = false;
  std::string held_;  // incomplete character
};

}  // namespace mlxn
