// SPDX-License-Identifier: Apache-2.0
// tokenizer.json and tokenizer_config.json.
#include <nlohmann/json.hpp>

#include "bad_file.h"
#include "checkpoint/test_configs.h"
#include "checkpoint/test_util.h"

namespace mlxn::bad_files {
namespace {

using namespace checkpoint;
using enum ErrorKind;
using Spec = nlohmann::ordered_json;

// A valid tokenizer.json.
const Spec& good_spec() {
  static const Spec spec = Spec::parse(R"({
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true, "normalized": false},
                     {"id": 6, "content": "<eos>", "special": true, "normalized": false}],
    "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "_"},
    "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated"},
    "post_processor": {"type": "TemplateProcessing",
                       "single": [{"SpecialToken": {"id": "<unk>"}}, {"Sequence": {"id": "A"}}],
                       "special_tokens": {"<unk>": {"ids": [0]}}},
    "decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "_"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
              "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "_": 4, "<0x0A>": 5}, "merges": ["a b"]}})");
  return spec;
}

Files beside_model(const char* name, const std::string& text) {
  Files files = {{"config.json", kGemma3}, {"model.safetensors", safetensors_image("{}", 0)}};
  if (std::string(name) != "tokenizer.json")
    files.emplace_back("tokenizer.json", good_spec().dump());
  files.emplace_back(name, text);
  return files;
}

BadFile file(const char* rule, const char* text, const std::string& json) {
  return {std::string("tokenizer.json: ") + rule, kTokenizer, text,
          beside_model("tokenizer.json", json), Step::kTokenizer};
}

// The valid file with the value at `pointer` replaced.
BadFile with_value(const char* rule, const char* text, const char* pointer, const Spec& value) {
  Spec spec = good_spec();
  spec[Spec::json_pointer(pointer)] = value;
  return file(rule, text, spec.dump());
}

BadFile without(const char* rule, const char* text, const char* parent, const char* key) {
  Spec spec = good_spec();
  spec[Spec::json_pointer(parent)].erase(key);
  return file(rule, text, spec.dump());
}

BadFile config(const char* rule, const char* text, const std::string& json) {
  return {std::string("tokenizer_config.json: ") + rule, kTokenizer, text,
          beside_model("tokenizer_config.json", json), Step::kTokenizer};
}

std::string key_twice() {
  std::string text = good_spec().dump();
  return text.replace(text.find("\"b\":2"), 5, "\"a\":2");
}

}  // namespace

Files good_tokenizer_directory() { return beside_model("tokenizer.json", good_spec().dump()); }

BadFiles tokenizer_jsons() {
  const std::string deep = std::string(5000, '[') + std::string(5000, ']');
  const Spec text = {{"Sequence", {{"id", "A"}}}};
  const Spec special = {{"SpecialToken", {{"id", "<unk>"}}}};
  return {
      {"tokenizer.json: none",
       kIo,
       "tokenizer.json: open: found No such file or directory",
       {{"config.json", kGemma3}, {"model.safetensors", safetensors_image("{}", 0)}},
       Step::kTokenizer},
      file("empty", "tokenizer.json: JSON: found Empty: no JSON found, required valid JSON", ""),
      file("cut off",
           "tokenizer.json: JSON: found A string is opened, but never closed., required valid JSON",
           good_spec().dump().substr(0, 300)),
      file("a list", "tokenizer.json: model: found none, required an object", "[]"),
      file("null", "tokenizer.json: model: found none, required an object", "null"),
      file("not utf-8",
           "tokenizer.json: JSON: found The input is not valid UTF-8, required valid JSON",
           "{\"model\":\"\xff\xfe\"}"),
      file("deep nesting",
           "tokenizer.json: JSON: found The JSON document was too deep (too many nested objects "
           "and arrays), required valid JSON",
           deep),
      file("a token twice",
           "tokenizer.json: model.vocab[a]: found a second entry, required every token once",
           key_twice()),
      without("no model", "tokenizer.json: model: found none, required an object", "", "model"),
      without("no vocab",
              "tokenizer.json: model.vocab: found none, required an object of token texts and ids",
              "/model", "vocab"),
      without("no merges", "tokenizer.json: model.merges: found none, required an array", "/model",
              "merges"),
      with_value("model a number", "tokenizer.json: model: found 5, required an object with a type",
                 "/model", 5),
      with_value("WordPiece", "tokenizer.json: model: found WordPiece, required BPE", "/model/type",
                 "WordPiece"),
      with_value("Unigram", "tokenizer.json: model: found Unigram, required BPE", "/model/type",
                 "Unigram"),
      with_value("prefix of continuing words",
                 "tokenizer.json: continuing_subword_prefix: found ##, required none",
                 "/model/continuing_subword_prefix", "##"),
      with_value("suffix of words", "tokenizer.json: end_of_word_suffix: found </w>, required none",
                 "/model/end_of_word_suffix", "</w>"),
      with_value("vocab a list", "tokenizer.json: model.vocab: found [], required an object",
                 "/model/vocab", Spec::array()),
      with_value("id negative", "tokenizer.json: model.vocab[ab]: found -1, required 0 to 65547",
                 "/model/vocab/ab", -1),
      with_value("id of another token",
                 "tokenizer.json: model.vocab[ab]: found id 1 again, required every id once",
                 "/model/vocab/ab", 1),
      with_value("id far beyond the tokens",
                 "tokenizer.json: model.vocab[ab]: found 16777215, required 0 to 65547",
                 "/model/vocab/ab", 16777215),
      with_value("id over 2^32",
                 "tokenizer.json: model.vocab[ab]: found 4294967297, required 0 to 65547",
                 "/model/vocab/ab", 4294967297),
      with_value("id over 2^63",
                 "tokenizer.json: model.vocab[ab]: found 9223372036854775808, required an integer",
                 "/model/vocab/ab", 9223372036854775808u),
      with_value("id a float", "tokenizer.json: model.vocab[ab]: found 3.5, required an integer",
                 "/model/vocab/ab", 3.5),
      with_value("id 1e300", "tokenizer.json: model.vocab[ab]: found 1e+300, required an integer",
                 "/model/vocab/ab", 1e300),
      with_value("id of text", "tokenizer.json: model.vocab[ab]: found \"3\", required an integer",
                 "/model/vocab/ab", "3"),
      with_value("id of a token with a newline",
                 "tokenizer.json: model.vocab[a\\x0ab]: found -1, required 0 to 65549",
                 "/model/vocab/a\nb", -1),
      with_value("merges an object", "tokenizer.json: model.merges: found {}, required an array",
                 "/model/merges", Spec::object()),
      with_value("merge of an unknown token",
                 "tokenizer.json: merges[0]: found c, required a token of the vocabulary",
                 "/model/merges/0", "a c"),
      with_value("merge into an unknown token",
                 "tokenizer.json: merges[0]: found ba, required a token of the vocabulary",
                 "/model/merges/0", "b a"),
      with_value("merge of one token",
                 "tokenizer.json: merges[0]: found ab, required two tokens with one space between",
                 "/model/merges/0", "ab"),
      with_value(
          "merge with two spaces",
          "tokenizer.json: merges[0]: found a  b, required two tokens with one space between",
          "/model/merges/0", "a  b"),
      with_value("merge with a newline",
                 "tokenizer.json: merges[0]: found \\x0a, required a token of the vocabulary",
                 "/model/merges/0", "a \n"),
      with_value("merge of a list of one",
                 "tokenizer.json: merges[0]: found 1 tokens, required two tokens",
                 "/model/merges/0", {"a"}),
      with_value("merge of a number", "tokenizer.json: merges[0]: found 5, required an array",
                 "/model/merges/0", 5),
      with_value("merge with a number", "tokenizer.json: merges[0]: found 1, required a string",
                 "/model/merges/0", {"a", 1}),
      with_value("unk_token unknown",
                 "tokenizer.json: model.unk_token: found zz, required a token of the vocabulary",
                 "/model/unk_token", "zz"),
      with_value("byte_fallback of text",
                 "tokenizer.json: byte_fallback: found \"yes\", required a boolean",
                 "/model/byte_fallback", "yes"),
      with_value("added_tokens an object",
                 "tokenizer.json: added_tokens: found {}, required an array", "/added_tokens",
                 Spec::object()),
      with_value("added token a number",
                 "tokenizer.json: added_tokens[1]: found 6, required an object with id and content",
                 "/added_tokens/1", 6),
      with_value(
          "added id of another token",
          "tokenizer.json: added_tokens[<eos>]: found id 5 of another token, required its own id",
          "/added_tokens/1/id", 5),
      with_value("added id negative",
                 "tokenizer.json: added_tokens[1].id: found -2, required 0 to 65551",
                 "/added_tokens/1/id", -2),
      with_value("added id far beyond the tokens",
                 "tokenizer.json: added_tokens[1].id: found 8388608, required 0 to 65551",
                 "/added_tokens/1/id", 1 << 23),
      with_value(
          "added id differs from the vocab",
          "tokenizer.json: added_tokens[<unk>]: found id 1, required the id in model.vocab, 0",
          "/added_tokens/0/id", 1),
      with_value("added id of text",
                 "tokenizer.json: added_tokens[1].id: found \"6\", required an integer",
                 "/added_tokens/1/id", "6"),
      with_value(
          "added token too long",
          "tokenizer.json: added_tokens[1].content: found 2000 bytes, required at most 1024 bytes",
          "/added_tokens/1/content", std::string(2000, 'x')),
      with_value("added token null",
                 "tokenizer.json: added_tokens[1]: found "
                 "{\"id\":6,\"content\":null,\"special\":true,\"normalized\":false}, required an "
                 "object with id and content",
                 "/added_tokens/1/content", nullptr),
      with_value(
          "added token twice",
          "tokenizer.json: added_tokens[<eos>]: found a second entry, required every token once",
          "/added_tokens/-", good_spec()["added_tokens"][1]),
      with_value("special of a number", "tokenizer.json: special: found 1, required a boolean",
                 "/added_tokens/1/special", 1),
      with_value("normalizer NFC",
                 "tokenizer.json: normalizer: found NFC, required Replace, Prepend or Sequence",
                 "/normalizer/type", "NFC"),
      with_value("normalizer of a pattern",
                 "tokenizer.json: normalizer Replace: found pattern {\"Regex\":\" +\"}, required a "
                 "string pattern (no regex)",
                 "/normalizer/pattern", {{"Regex", " +"}}),
      with_value("normalizer with an empty pattern",
                 "tokenizer.json: normalizer Replace: found an empty pattern, required a string of "
                 "at least one byte",
                 "/normalizer/pattern/String", ""),
      without("normalizer without content",
              "tokenizer.json: normalizer Replace: found no content, required a string",
              "/normalizer", "content"),
      without("normalizer without type",
              "tokenizer.json: normalizer: found {\"pattern\":{\"String\":\" "
              "\"},\"content\":\"_\"}, required an object with a type",
              "/normalizer", "type"),
      with_value("pre_tokenizer ByteLevel",
                 "tokenizer.json: pre_tokenizer: found ByteLevel, required Split or Sequence",
                 "/pre_tokenizer/type", "ByteLevel"),
      with_value("pre_tokenizer of a regex",
                 "tokenizer.json: pre_tokenizer Split: found pattern {\"Regex\":\"\\\\s+\"}, "
                 "required a string pattern (no regex)",
                 "/pre_tokenizer/pattern", {{"Regex", "\\s+"}}),
      with_value("pre_tokenizer of another behavior",
                 "tokenizer.json: pre_tokenizer Split behavior: found Gone, required Removed, "
                 "Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
                 "/pre_tokenizer/behavior", "Gone"),
      with_value("decoder Metaspace",
                 "tokenizer.json: decoder: found Metaspace, required Replace, ByteFallback, Fuse, "
                 "Strip or Sequence",
                 "/decoder/type", "Metaspace"),
      with_value("decoder in another order",
                 "tokenizer.json: decoder: found ByteFallback after Fuse, required the order "
                 "Replace, ByteFallback, Fuse, Strip",
                 "/decoder/decoders/0", {{"type", "Fuse"}}),
      with_value("post_processor BertProcessing",
                 "tokenizer.json: post_processor: found BertProcessing, required "
                 "TemplateProcessing or Sequence",
                 "/post_processor/type", "BertProcessing"),
      with_value("post_processor id beyond the tokens",
                 "tokenizer.json: post_processor: found 99, required the id of a token",
                 "/post_processor/special_tokens/<unk>/ids/0", 99),
      with_value("post_processor id negative",
                 "tokenizer.json: post_processor id: found -1, required a token id",
                 "/post_processor/special_tokens/<unk>/ids/0", -1),
      with_value("post_processor without text",
                 "tokenizer.json: post_processor.single: found no text, required the text A once",
                 "/post_processor/single", Spec::array({special})),
      with_value("post_processor with two texts",
                 "tokenizer.json: post_processor.single: found an unknown item, required special "
                 "tokens and one text A",
                 "/post_processor/single", {text, text}),
      with_value(
          "post_processor of an unknown token",
          "tokenizer.json: post_processor.special_tokens: found no ids of <unk>, required ids",
          "/post_processor/special_tokens", Spec::object()),
      config("cut off",
             "tokenizer_config.json: JSON: found The JSON document has an improper structure: "
             "missing or superfluous commas, braces, missing keys, etc., required valid JSON",
             "{\"bos_token\":"),
      config("a list", "tokenizer_config.json: JSON: found [], required an object", "[]"),
      config("deep nesting",
             "tokenizer_config.json: JSON: found The JSON document was too deep (too many nested "
             "objects and arrays), required valid JSON",
             deep),
      config("add_bos_token of text",
             "tokenizer_config.json: add_bos_token: found \"yes\", required a boolean",
             R"({"add_bos_token":"yes"})"),
      config("add_eos_token of a number",
             "tokenizer_config.json: add_eos_token: found 1, required a boolean",
             R"({"add_eos_token":1})"),
      config("tokenizer_class of a number",
             "tokenizer_config.json: tokenizer_class: found 5, required a string",
             R"({"tokenizer_class":5})"),
      config("chat_template of a number",
             "tokenizer_config.json: chat_template: found 5, required an array",
             R"({"chat_template":5})"),
      config("chat_template without a name",
             "tokenizer_config.json: chat_template: found {\"template\":\"x\"}, required an object "
             "with name and template",
             R"({"chat_template":[{"template":"x"}]})"),
      config("chat_template without a text",
             "tokenizer_config.json: chat_template: found {\"name\":\"default\"}, required an "
             "object with name and template",
             R"({"chat_template":[{"name":"default"}]})"),
  };
}

}  // namespace mlxn::bad_files
