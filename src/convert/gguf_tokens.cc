// SPDX-License-Identifier: Apache-2.0
// tokenizer.json to the tokenizer.ggml.* keys of GGUF.
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <filesystem>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/mapped_file.h"
#include "checkpoint/fail.h"
#include "convert/gguf_model.h"

namespace mlxn::convert {
namespace {

namespace dom = simdjson::dom;
namespace fs = std::filesystem;

constexpr size_t kMaxTokenizerFile = size_t{256} << 20;
constexpr size_t kMaxConfigFile = size_t{64} << 20;
constexpr size_t kMaxTemplateFile = size_t{4} << 20;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581
constexpr float kNoScore = -1000.0f;                     // of tokens that no merge makes

enum TokenType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

[[noreturn]] void reject(std::string field, std::string found, std::string required) {
  checkpoint::fail(ErrorKind::kTokenizer, "tokenizer.json", std::move(field), std::move(found),
                   std::move(required));
}

// The text at a JSON pointer, "" if there is none.
std::string_view text_at(dom::element root, std::string_view pointer) {
  std::string_view text;
  return root.at_pointer(pointer).get(text) ? std::string_view() : text;
}

bool true_at(dom::element root, std::string_view pointer) {
  bool value = false;
  return !root.at_pointer(pointer).get(value) && value;
}

class Document {
 public:
  // The file, or nothing if it does not exist.
  Document(const fs::path& path, size_t max_bytes) {
    std::error_code error;
    if (!fs::exists(path, error)) return;
    const std::string text = base::read_text_file(path.string(), max_bytes);
    if (const auto code = parser_.parse(text).get(root_)) {
      if (code == simdjson::MEMALLOC) throw std::bad_alloc();
      checkpoint::fail(ErrorKind::kTokenizer, path.string(), "text", simdjson::error_message(code),
                       "valid JSON");
    }
    present_ = true;
  }
  bool present() const { return present_; }
  dom::element root() const { return root_; }

 private:
  dom::parser parser_;
  dom::element root_;
  bool present_ = false;
};

struct Merge {
  std::string left, right;
};

class Vocabulary {
 public:
  explicit Vocabulary(dom::element root) : root_(root) {
    check_pipeline();
    read_vocab();
    read_added_tokens();
    read_merges();
  }

  // Fills up to `count` tokens.
  void pad(int64_t count) {
    if (static_cast<int64_t>(tokens.size()) > count) {
      reject("model.vocab", fmt::format("{} tokens", tokens.size()),
             fmt::format("at most {}, the rows of the embedding", count));
    }
    for (auto id = static_cast<int64_t>(tokens.size()); id < count; ++id) {
      tokens.push_back(fmt::format("[PAD{}]", id));
      types.push_back(kUnused);
    }
  }

  std::optional<int64_t> find(std::string_view token) const {
    const auto found = ids_.find(std::string(token));
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }

  std::vector<std::string> merge_lines() const {
    std::vector<std::string> lines;
    for (const Merge& merge : merges) lines.push_back(merge.left + " " + merge.right);
    return lines;
  }

  // Scores by which joining the best pair first gives what the merges give: minus the rank of the
  // rules that make the token. Only if these rules stand together and are all ways to make it, and
  // every token of several characters has one. Else nullopt.
  std::optional<std::vector<float>> scores() const;

  std::vector<std::string> tokens;
  std::vector<int64_t> types;
  std::vector<Merge> merges;

 private:
  void check_pipeline() const;
  void read_vocab();
  void read_added_tokens();
  void read_merges();
  void set(int64_t id, std::string_view token, TokenType type);
  size_t ways_to_make(const std::string& token) const;

  dom::element root_;
  std::unordered_map<std::string, int64_t> ids_;
};

void Vocabulary::check_pipeline() const {
  const std::string_view type = text_at(root_, "/model/type");
  if (!type.empty() && type != "BPE") {
    reject("model.type", checkpoint::in_quotes(type), "\"BPE\"");
  }
  if (!true_at(root_, "/model/byte_fallback")) {
    reject("model.byte_fallback", "false", "true, as GGUF readers assume for Gemma");
  }
  const std::string_view normalizer = text_at(root_, "/normalizer/type");
  const bool marks_spaces = normalizer == "Replace" &&
                            text_at(root_, "/normalizer/pattern/String") == " " &&
                            text_at(root_, "/normalizer/content") == kSpaceMark;
  if (!marks_spaces) {
    reject("normalizer", checkpoint::in_quotes(normalizer), "a Replace of spaces by U+2581");
  }
}

void Vocabulary::set(int64_t id, std::string_view token, TokenType type) {
  if (id < 0 || id >= kMaxVocab) {
    reject("id of " + checkpoint::in_quotes(token), std::to_string(id), "0 to 2^24 - 1");
  }
  const auto index = static_cast<size_t>(id);
  if (tokens.size() <= index) {
    tokens.resize(index + 1);
    types.resize(index + 1, kUnused);
  }
  tokens[index] = token;
  types[index] = type;
  ids_[std::string(token)] = id;
}

void Vocabulary::read_vocab() {
  dom::object vocab;
  if (root_.at_pointer("/model/vocab").get(vocab)) {
    reject("model.vocab", "nothing", "an object of ids");
  }
  // Ids may leave gaps, but not more of them than there are tokens many times over.
  const int64_t limit = 8 * static_cast<int64_t>(vocab.size()) + 65536;
  for (const auto [token, value] : vocab) {
    int64_t id = -1;
    if (value.get(id) || id >= limit) {
      reject("model.vocab." + checkpoint::in_quotes(token), "another value", "an id");
    }
    const bool is_byte = token.size() == 6 && token.starts_with("<0x") && token.back() == '>';
    set(id, token, is_byte ? kByte : kNormal);
  }
}

void Vocabulary::read_added_tokens() {
  dom::array added;
  if (root_.at_pointer("/added_tokens").get(added)) return;
  const std::string_view unknown = text_at(root_, "/model/unk_token");
  const auto limit = static_cast<int64_t>(tokens.size() + added.size() + 65536);
  for (dom::element entry : added) {
    const std::string_view content = text_at(entry, "/content");
    int64_t id = -1;
    if (entry.at_pointer("/id").get(id) || content.empty() || id >= limit) {
      reject("added_tokens", "an entry", "id and content");
    }
    set(id, content,
        content == unknown           ? kUnknown
        : true_at(entry, "/special") ? kControl
                                     : kUserDefined);
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) tokens[id] = fmt::format("[PAD{}]", id);
  }
}

void Vocabulary::read_merges() {
  dom::array list;
  if (root_.at_pointer("/model/merges").get(list)) reject("model.merges", "nothing", "a list");
  for (dom::element entry : list) {
    Merge merge;
    std::string_view left, right;
    if (!entry.get(left)) {
      const size_t space = left.find(' ', 1);
      if (space == std::string_view::npos)
        reject("model.merges", checkpoint::in_quotes(left), "two tokens");
      merge = {std::string(left.substr(0, space)), std::string(left.substr(space + 1))};
    } else if (!entry.at_pointer("/0").get(left) && !entry.at_pointer("/1").get(right)) {
      merge = {std::string(left), std::string(right)};
    } else {
      reject("model.merges", "another value", "pairs of tokens");
    }
    if (merge.left.find(' ') != std::string::npos || merge.right.find(' ') != std::string::npos) {
      reject("model.merges", checkpoint::in_quotes(merge.left + " " + merge.right),
             "tokens without spaces");
    }
    merges.push_back(std::move(merge));
  }
}

bool is_character_start(char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }

// Cuts of the token into two tokens that may be merged.
size_t Vocabulary::ways_to_make(const std::string& token) const {
  const auto can_merge = [&](const std::string& part) {
    const auto id = find(part);
    if (!id) return false;
    const int64_t type = types[static_cast<size_t>(*id)];
    return type == kNormal || type == kUserDefined || type == kUnused;
  };
  size_t ways = 0;
  for (size_t cut = 1; cut < token.size(); ++cut) {
    if (!is_character_start(token[cut])) continue;
    ways += can_merge(token.substr(0, cut)) && can_merge(token.substr(cut)) ? 1 : 0;
  }
  return ways;
}

std::optional<std::vector<float>> Vocabulary::scores() const {
  std::vector<float> result(tokens.size(), kNoScore);
  std::vector<size_t> rules(tokens.size(), 0);
  std::string previous;
  float rank = 0.0f;
  for (const Merge& merge : merges) {
    const std::string token = merge.left + merge.right;
    const auto id = find(token);
    if (!id) return std::nullopt;
    const auto index = static_cast<size_t>(*id);
    if (token != previous) {
      if (rules[index] > 0) return std::nullopt;
      result[index] = -(rank++);
      previous = token;
    }
    ++rules[index];
  }
  const float last = -rank - 1.0f;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] == kNormal && rules[id] != ways_to_make(tokens[id])) return std::nullopt;
    if (rules[id] == 0) result[id] = types[id] == kNormal ? last : kNoScore;
  }
  return result;
}

// "bos_token": "<bos>" or {"content": "<bos>"}.
std::string_view named_token(const Document& config, const std::string& key) {
  if (!config.present()) return {};
  const std::string_view text = text_at(config.root(), "/" + key);
  return text.empty() ? text_at(config.root(), "/" + key + "/content") : text;
}

void add_templates(const std::string& directory, const Document& config, GgufMetadata& out) {
  const fs::path file = fs::path(directory) / "chat_template.jinja";
  std::error_code error;
  if (fs::exists(file, error)) {
    out.text("tokenizer.chat_template", base::read_text_file(file.string(), kMaxTemplateFile));
    return;
  }
  if (!config.present()) return;
  const std::string_view only = text_at(config.root(), "/chat_template");
  if (!only.empty()) out.text("tokenizer.chat_template", only);
  dom::array list;
  if (config.root().at_pointer("/chat_template").get(list)) return;
  for (dom::element entry : list) {
    const std::string_view name = text_at(entry, "/name");
    const std::string_view text = text_at(entry, "/template");
    if (name.empty() || text.empty()) continue;
    out.text(name == "default" ? "tokenizer.chat_template"
                               : "tokenizer.chat_template." + std::string(name),
             text);
  }
}

// GGUF names three ids that end generation.
void add_end_ids(const ModelConfig& model, std::optional<int64_t> eos, GgufMetadata& out,
                 std::vector<std::string>& notes) {
  std::vector<int64_t> ids = model.eos_token_ids;
  const auto first = eos ? std::find(ids.begin(), ids.end(), *eos) : ids.end();
  if (first != ids.end()) std::rotate(ids.begin(), first, first + 1);
  const char* keys[] = {"eos", "eot", "eom"};
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i < std::size(keys)) {
      out.u32(fmt::format("tokenizer.ggml.{}_token_id", keys[i]), ids[i]);
    } else {
      notes.push_back(
          fmt::format("GGUF has no key for a fourth end token: {} is left out", ids[i]));
    }
  }
}

void add_special_ids(const ModelConfig& model, GgufMetadata& out) {
  if (model.bos_token_id) out.u32("tokenizer.ggml.bos_token_id", *model.bos_token_id);
  if (model.pad_token_id) out.u32("tokenizer.ggml.padding_token_id", *model.pad_token_id);
  if (!model.suppress_tokens.empty()) {
    out.i32s("tokenizer.ggml.suppress_tokens", model.suppress_tokens);
  }
}

void add_vocabulary(const ModelFamily family, const Vocabulary& vocab, GgufMetadata& out) {
  const auto scores =
      family == ModelFamily::kGemma3 ? vocab.scores() : std::optional<std::vector<float>>();
  out.text("tokenizer.ggml.model", scores ? "llama" : "gemma4");
  out.texts("tokenizer.ggml.tokens", vocab.tokens);
  std::vector<float> plain(vocab.tokens.size(), 0.0f);
  for (size_t id = 0; id < plain.size(); ++id) {
    if (vocab.types[id] != kNormal) plain[id] = kNoScore;
  }
  out.f32s("tokenizer.ggml.scores", scores ? *scores : plain);
  out.i32s("tokenizer.ggml.token_type", vocab.types);
  if (!scores) out.texts("tokenizer.ggml.merges", vocab.merge_lines());
}

}  // namespace

bool add_tokenizer(const std::string& directory, const ModelConfig& model, GgufMetadata& out,
                   std::vector<std::string>& notes) {
  add_special_ids(model, out);
  const Document json(fs::path(directory) / "tokenizer.json", kMaxTokenizerFile);
  if (!json.present()) {
    add_end_ids(model, std::nullopt, out, notes);
    return false;
  }
  Vocabulary vocab(json.root());
  vocab.pad(model.vocab_size);
  const Document config(fs::path(directory) / "tokenizer_config.json", kMaxConfigFile);
  add_end_ids(model, vocab.find(named_token(config, "eos_token")), out, notes);
  if (const auto id = vocab.find(text_at(json.root(), "/model/unk_token"))) {
    out.u32("tokenizer.ggml.unknown_token_id", *id);
  }
  if (const auto id = vocab.find(named_token(config, "mask_token"))) {
    out.u32("tokenizer.ggml.mask_token_id", *id);
  }
  add_vocabulary(model.family, vocab, out);
  const bool no_bos = config.present() &&
                      !text_at(config.root(), "/tokenizer_class").starts_with("Gemma") &&
                      !config.root().at_pointer("/add_bos_token").error() &&
                      !true_at(config.root(), "/add_bos_token");
  out.boolean("tokenizer.ggml.add_bos_token", !no_bos);
  out.boolean("tokenizer.ggml.add_eos_token",
              config.present() && true_at(config.root(), "/add_eos_token"));
  out.boolean("tokenizer.ggml.add_space_prefix", false);
  add_templates(directory, config, out);
  return true;
}

}  // namespace mlxn::convert
