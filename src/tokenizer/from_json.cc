// SPDX-License-Identifier: Apache-2.0
// Tokenizers from tokenizer.json and the files beside it.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "base/no_memory.h"
#include "mlxn/error.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/impl.h"
#include "tokenizer/json.h"

namespace mlxn {
namespace {

using tokenizer::AddedToken;
using tokenizer::fail;
using tokenizer::find;
using tokenizer::Json;
using tokenizer::JsonDocument;

// Gemma's tokenizer.json is about 33 MB.
constexpr size_t kMaxTokenizerFile = size_t{256} << 20;
constexpr size_t kMaxConfigFile = size_t{64} << 20;
constexpr size_t kMaxTemplateFile = size_t{4} << 20;

AddedToken read_added_token(Json spec, const std::string& name, int64_t limit) {
  AddedToken token;
  const auto content = tokenizer::find_string(spec, "content");
  const auto id = find(spec, "id");
  if (!content || !id) {
    fail("tokenizer", name, tokenizer::shown(spec), "an object with id and content");
  }
  if (content->size() > tokenizer::kMaxAddedTokenLength) {
    fail("tokenizer", name + ".content", std::to_string(content->size()) + " bytes",
         "at most 1024 bytes");
  }
  const int64_t number = tokenizer::as_int(*id, name + ".id");
  if (number < 0 || number >= limit) {
    fail("tokenizer", name + ".id", std::to_string(number), "0 to " + std::to_string(limit - 1));
  }
  token.content = *content;
  token.id = static_cast<int32_t>(number);
  token.special = tokenizer::find_bool(spec, "special", false);
  token.normalized = tokenizer::find_bool(spec, "normalized", false);
  token.single_word = tokenizer::find_bool(spec, "single_word", false);
  token.lstrip = tokenizer::find_bool(spec, "lstrip", false);
  token.rstrip = tokenizer::find_bool(spec, "rstrip", false);
  return token;
}

void register_token(Tokenizer::Impl& impl, const AddedToken& token) {
  const auto known = impl.vocab.find(token.content);
  const std::string name = "added_tokens[" + token.content + "]";
  if (impl.added.find(token.content)) fail("tokenizer", name, "a second entry", "every token once");
  if (known && *known != token.id) {
    fail("tokenizer", name, "id " + std::to_string(token.id),
         "the id in model.vocab, " + std::to_string(*known));
  }
  if (!known) {
    if (impl.vocab.contains(token.id) || !impl.added.add(token.content, token.id)) {
      fail("tokenizer", name, "id " + std::to_string(token.id) + " of another token", "its own id");
    }
  }
  if (token.normalized && impl.normalizer) {
    impl.normalized_matcher.add(token, impl.normalizer->apply(token.content));
  } else {
    (token.normalized ? impl.normalized_matcher : impl.raw_matcher).add(token, token.content);
  }
  if (token.special) {
    const auto index = static_cast<size_t>(token.id);
    if (impl.special.size() <= index) impl.special.resize(index + 1);
    impl.special[index] = true;
  }
}

void read_added_tokens(Json root, Tokenizer::Impl& impl) {
  const auto field = find(root, "added_tokens");
  if (!field) return;
  const tokenizer::JsonArray entries = tokenizer::as_array(*field, "added_tokens");
  const int64_t limit = tokenizer::id_limit(impl.vocab.count() + entries.size());
  size_t index = 0;
  for (const Json entry : entries) {
    const std::string name = "added_tokens[" + std::to_string(index++) + "]";
    const AddedToken token = read_added_token(entry, name, limit);
    if (!token.content.empty()) register_token(impl, token);
  }
}

void read_pipeline(Json root, Tokenizer::Impl& impl) {
  const auto model = find(root, "model");
  if (!model) fail("tokenizer", "model", "none", "an object");
  if (const auto part = find(root, "normalizer"))
    impl.normalizer = tokenizer::make_normalizer(*part);
  if (const auto part = find(root, "pre_tokenizer")) {
    impl.pre_tokenizer = tokenizer::make_pre_tokenizer(*part);
  }
  impl.model = tokenizer::make_bpe_model(*model, impl.vocab);
  if (const auto part = find(root, "post_processor")) {
    impl.post_processor = tokenizer::make_post_processor(*part);
  }
  if (const auto part = find(root, "decoder")) {
    impl.decoder = tokenizer::make_decoder(*part);
  } else {
    impl.decoder.separator = " ";
  }
}

// "bos_token": "<bos>" or {"content": "<bos>", ...}.
std::optional<std::string> token_text(Json value) {
  if (value.is_string()) return std::string(tokenizer::as_string(value, "token"));
  const auto content = tokenizer::find_string(value, "content");
  if (!content) return std::nullopt;
  return std::string(*content);
}

void read_special_variables(Json config, Tokenizer::Impl& impl) {
  for (const auto [key, value] : tokenizer::as_object(config, "JSON")) {
    if (!key.ends_with("_token") || key.starts_with("add_")) continue;
    if (const auto text = token_text(value)) impl.special_variables[std::string(key)] = *text;
  }
}

void read_chat_templates(Json config, Tokenizer::Impl& impl) {
  const auto field = find(config, "chat_template");
  if (!field) return;
  if (field->is_string()) {
    impl.chat_templates["default"] = tokenizer::as_string(*field, "chat_template");
    return;
  }
  for (const Json entry : tokenizer::as_array(*field, "chat_template")) {
    const auto name = tokenizer::find_string(entry, "name");
    const auto text = tokenizer::find_string(entry, "template");
    if (!name || !text) {
      fail("tokenizer", "chat_template", tokenizer::shown(entry),
           "an object with name and template");
    }
    impl.chat_templates[std::string(*name)] = *text;
  }
}

// The id of a special token that the config names, or of `usual` if it names none.
std::optional<int32_t> special_id(Tokenizer::Impl& impl, const std::string& key,
                                  std::string_view usual) {
  const auto named = impl.special_variables.find(key);
  if (named != impl.special_variables.end()) return impl.token_id(named->second);
  const auto id = impl.token_id(usual);
  if (!id || !impl.is_special(*id)) return std::nullopt;
  impl.special_variables[key] = usual;
  return id;
}

// What tokenizer_config.json says about BOS and EOS around a text.
struct Surround {
  std::optional<bool> bos;  // empty: the usual
  bool eos = false;
};

// Gemma needs BOS whatever its post-processor says.
Surround read_surround(Json config) {
  Surround result;
  const auto type = tokenizer::find_string(config, "tokenizer_class");
  if (type && type->starts_with("Gemma")) {
    result.bos = true;
  } else if (find(config, "add_bos_token")) {
    result.bos = tokenizer::find_bool(config, "add_bos_token", false);
  }
  result.eos = tokenizer::find_bool(config, "add_eos_token", false);
  return result;
}

// Errors of `read` about contents name the file.
template <typename Read>
void naming(const std::string& file, Read read) {
  try {
    read();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kTokenizer) throw;
    ErrorDetail detail = error.detail();
    detail.where = file;
    throw Error(ErrorKind::kTokenizer, std::move(detail));
  }
}

// The texts of the files; `directory` ends in a slash or is empty.
void build(Tokenizer::Impl& impl, std::string_view tokenizer_json,
           std::string_view tokenizer_config_json, std::string_view chat_template,
           const std::string& directory) {
  const std::string file = directory + "tokenizer.json";
  naming(file, [&] {
    const JsonDocument document(tokenizer_json, "tokenizer");
    read_pipeline(document.root(), impl);
    read_added_tokens(document.root(), impl);
  });
  Surround surround;
  if (!tokenizer_config_json.empty()) {
    naming(directory + "tokenizer_config.json", [&] {
      const JsonDocument document(tokenizer_config_json, "tokenizer");
      read_special_variables(document.root(), impl);
      read_chat_templates(document.root(), impl);
      surround = read_surround(document.root());
    });
  }
  if (!chat_template.empty()) {
    impl.chat_templates.clear();
    impl.chat_templates["default"] = chat_template;
  }
  impl.bos_id = special_id(impl, "bos_token", "<bos>");
  impl.eos_id = special_id(impl, "eos_token", "<eos>");
  const bool usual = impl.bos_id && impl.token(*impl.bos_id) == "<bos>";
  naming(file, [&] { impl.finish(surround.bos.value_or(usual), surround.eos, {}); });
}

}  // namespace

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json,
                               std::string_view tokenizer_config_json,
                               std::string_view chat_template) try {
  auto impl = std::make_shared<Impl>();
  build(*impl, tokenizer_json, tokenizer_config_json, chat_template, "");
  return Tokenizer(std::move(impl));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Tokenizer Tokenizer::from_directory(const std::string& path) try {
  const std::filesystem::path directory(path);
  const auto read_if_there = [&](const char* name, size_t max_bytes) {
    const std::filesystem::path file = directory / name;
    std::error_code error;
    if (!std::filesystem::exists(file, error)) return std::string();
    return base::read_text_file(file.string(), max_bytes);
  };
  const std::string json =
      base::read_text_file((directory / "tokenizer.json").string(), kMaxTokenizerFile);
  auto impl = std::make_shared<Impl>();
  build(*impl, json, read_if_there("tokenizer_config.json", kMaxConfigFile),
        read_if_there("chat_template.jinja", kMaxTemplateFile), (directory / "").string());
  return Tokenizer(std::move(impl));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
