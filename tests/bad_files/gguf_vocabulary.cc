// SPDX-License-Identifier: Apache-2.0
// Vocabularies of GGUF files.
#include <cmath>
#include <type_traits>

#include "bad_file.h"
#include "checkpoint/gguf_metadata.h"

namespace mlxn::bad_files {
namespace {

using namespace checkpoint;
using enum ErrorKind;

const std::vector<std::string> kTokens = {"<unk>", "<s>", "</s>", "a", "b", "ab", "<turn|>"};
const std::vector<float> kScores = {0, 0, 0, -1, -2, -3, 0};
const std::vector<int32_t> kTypes = {2, 3, 3, 1, 1, 1, 4};

std::string key(const char* name) { return std::string("tokenizer.ggml.") + name; }

template <typename T>
std::string joined(const std::vector<T>& values) {
  std::string data;
  for (const T& value : values) {
    if constexpr (std::is_same_v<T, std::string>) {
      data += gguf_string(value);
    } else {
      data += raw(value);
    }
  }
  return data;
}

// A model of seven tokens; a case changes one key.
class Vocabulary {
 public:
  explicit Vocabulary(const std::string& model) {
    metadata_.u32("vocab_size", 100);
    text("model", model).tokens(kTokens).scores(kScores).types(kTypes);
    strings("merges", {"a b"}).u32("bos_token_id", 1).u32("eos_token_id", 2);
    u32("unknown_token_id", 0);
  }
  Vocabulary& text(const char* name, const std::string& value) {
    metadata_.text(key(name), value);
    return *this;
  }
  Vocabulary& u32(const char* name, uint32_t value) {
    metadata_.u32(key(name), value);
    return *this;
  }
  Vocabulary& array(const char* name, uint32_t type, uint64_t count, const std::string& data) {
    metadata_.array(key(name), type, count, data);
    return *this;
  }
  Vocabulary& strings(const char* name, const std::vector<std::string>& values) {
    return array(name, 8, values.size(), joined(values));
  }
  Vocabulary& tokens(const std::vector<std::string>& values) { return strings("tokens", values); }
  Vocabulary& scores(const std::vector<float>& values) {
    return array("scores", 6, values.size(), joined(values));
  }
  Vocabulary& types(const std::vector<int32_t>& values) {
    return array("token_type", 5, values.size(), joined(values));
  }
  Vocabulary& erase(const char* name) {
    metadata_.erase(key(name));
    return *this;
  }
  std::string build() const { return metadata_.build(); }

 private:
  Metadata metadata_ = gemma3();
};

Vocabulary scored() { return Vocabulary("llama"); }
Vocabulary ranked() { return Vocabulary("gemma4"); }

BadFile vocabulary(const char* rule, ErrorKind kind, const char* text, const Vocabulary& changed,
                   Step step = Step::kTokenizer) {
  return {std::string("gguf vocabulary: ") + rule, kind, text,
          {{"m.gguf", changed.build()}},           step, "m.gguf"};
}

}  // namespace

std::string good_gguf_vocabulary() { return scored().build(); }

BadFiles gguf_vocabularies() {
  std::vector<std::string> hostile = kTokens;
  hostile[6] = std::string(5000, 'x');
  return {
      vocabulary("no model", kTokenizer,
                 "m.gguf: tokenizer.ggml.model: found nothing, required llama or gemma4",
                 scored().erase("model")),
      vocabulary("another model", kTokenizer,
                 "m.gguf: tokenizer.ggml.model: found gpt2\\x0a, required llama or gemma4",
                 scored().text("model", "gpt2\n")),
      vocabulary("model of a number", kGguf,
                 "m.gguf: tokenizer.ggml.model: found type u32, required a string",
                 scored().u32("model", 1)),
      vocabulary("no tokens", kTokenizer,
                 "m.gguf: tokenizer.ggml.tokens: found 0, required 1 to 2^24",
                 scored().erase("tokens")),
      vocabulary("empty tokens", kTokenizer,
                 "m.gguf: tokenizer.ggml.tokens: found 0, required 1 to 2^24", scored().tokens({})),
      vocabulary(
          "tokens of numbers", kGguf,
          "m.gguf: tokenizer.ggml.tokens: found an array of 2 u32, required an array of strings",
          scored().array("tokens", 4, 2, std::string(8, '\0')), Step::kOpen),
      vocabulary("too few scores", kTokenizer,
                 "m.gguf: tokenizer.ggml.scores: found 3 values, required 7, one per token",
                 scored().scores({0, 0, 0})),
      vocabulary("no scores", kTokenizer,
                 "m.gguf: tokenizer.ggml.scores: found 0 values, required 7, one per token",
                 scored().erase("scores")),
      vocabulary("scores of integers", kGguf,
                 "m.gguf: tokenizer.ggml.scores: found an array of 7 i32, required an array of f32",
                 scored().array("scores", 5, 7, std::string(28, '\0'))),
      vocabulary("a score not a number", kTokenizer,
                 "m.gguf: tokenizer.ggml.scores[4]: found nan, required a number",
                 scored().scores({0, 0, 0, -1, NAN, -3, 0})),
      vocabulary("too many token types", kTokenizer,
                 "m.gguf: tokenizer.ggml.token_type: found 8 values, required 7, one per token",
                 scored().types({2, 3, 3, 1, 1, 1, 4, 1})),
      vocabulary("token type of floats", kGguf,
                 "m.gguf: tokenizer.ggml.token_type: found an array of 7 f32, required an array of "
                 "integers",
                 scored().array("token_type", 6, 7, std::string(28, '\0')), Step::kOpen),
      vocabulary("token type negative", kGguf,
                 "m.gguf: tokenizer.ggml.token_type[6]: found -1, required an integer from 0 to "
                 "2147483647",
                 scored().types({2, 3, 3, 1, 1, 1, -1}), Step::kOpen),
      vocabulary("bos beyond the tokens", kTokenizer,
                 "m.gguf: tokenizer.ggml.bos_token_id: found 7, required an id from 0 to 6",
                 scored().u32("bos_token_id", 7)),
      vocabulary("eos beyond the tokens", kTokenizer,
                 "m.gguf: tokenizer.ggml.eos_token_id: found 99, required an id from 0 to 6",
                 scored().u32("eos_token_id", 99)),
      vocabulary("eos beyond 2^31", kGguf,
                 "m.gguf: tokenizer.ggml.eos_token_id: found 4294967295, required an integer from "
                 "0 to 16777216",
                 scored().u32("eos_token_id", ~0u), Step::kOpen),
      vocabulary("unknown beyond the tokens", kTokenizer,
                 "m.gguf: tokenizer.ggml.unknown_token_id: found 7, required an id from 0 to 6",
                 scored().u32("unknown_token_id", 7)),
      vocabulary("padding beyond the tokens", kTokenizer,
                 "m.gguf: tokenizer.ggml.padding_token_id: found 8, required an id from 0 to 6",
                 scored().u32("padding_token_id", 8)),
      vocabulary("end of turn beyond the tokens", kTokenizer,
                 "m.gguf: tokenizer.ggml.eot_token_id: found 9, required an id from 0 to 6",
                 scored().u32("eot_token_id", 9)),
      vocabulary("end of message beyond the tokens", kTokenizer,
                 "m.gguf: tokenizer.ggml.eom_token_id: found 10, required an id from 0 to 6",
                 scored().u32("eom_token_id", 10)),
      vocabulary("add_bos_token of a number", kGguf,
                 "m.gguf: tokenizer.ggml.add_bos_token: found type u32, required a bool",
                 scored().u32("add_bos_token", 1)),
      vocabulary("add_space_prefix of text", kGguf,
                 "m.gguf: tokenizer.ggml.add_space_prefix: found type string, required a bool",
                 scored().text("add_space_prefix", "no")),
      vocabulary("special token too long", kTokenizer,
                 "m.gguf: tokenizer.ggml.tokens[6]: found 5000 bytes, required at most 1024 bytes "
                 "for this token type",
                 scored().tokens(hostile)),
      vocabulary("merge of unknown tokens", kTokenizer,
                 "m.gguf: merges[1]: found z\\x0a, required a token of the vocabulary",
                 ranked().strings("merges", {"a b", "a z\n"})),
      vocabulary("merge without a space", kTokenizer,
                 "m.gguf: merges[0]: found ab, required two tokens with one space between",
                 ranked().strings("merges", {"ab"})),
      vocabulary("merge into nothing", kTokenizer,
                 "m.gguf: merges[0]: found ba, required a token of the vocabulary",
                 ranked().strings("merges", {"b a"})),
      vocabulary(
          "merges of numbers", kGguf,
          "m.gguf: tokenizer.ggml.merges: found an array of 1 u32, required an array of strings",
          ranked().array("merges", 4, 1, raw(1))),
  };
}

}  // namespace mlxn::bad_files
