// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/normalizer.h"

#include <utility>

namespace mlxn::tokenizer {
namespace {

class Replace : public Normalizer {
 public:
  Replace(std::string_view from, std::string_view to) : from_(from), to_(to) {}
  std::string apply(std::string text) const override { return replace_all(text, from_, to_); }

 private:
  std::string from_;
  std::string to_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string_view prefix) : prefix_(prefix) {}
  std::string apply(std::string text) const override {
    return text.empty() ? text : prefix_ + text;
  }

 private:
  std::string prefix_;
};

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> parts) : parts_(std::move(parts)) {}
  std::string apply(std::string text) const override {
    for (const auto& part : parts_) text = part->apply(std::move(text));
    return text;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

}  // namespace

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  size_t pos = 0;
  while (true) {
    const size_t hit = text.find(from, pos);
    if (hit == std::string_view::npos) break;
    out.append(text, pos, hit - pos);
    out.append(to);
    pos = hit + from.size();
  }
  out.append(text, pos);
  return out;
}

std::unique_ptr<Normalizer> make_replace(std::string_view from, std::string_view to) {
  return std::make_unique<Replace>(from, to);
}

std::unique_ptr<Normalizer> make_prepend(std::string_view prefix) {
  return std::make_unique<Prepend>(prefix);
}

std::unique_ptr<Normalizer> make_sequence(std::vector<std::unique_ptr<Normalizer>> parts) {
  return std::make_unique<Sequence>(std::move(parts));
}

std::unique_ptr<Normalizer> make_normalizer(Json spec) {
  const std::string_view type = type_of(spec, "normalizer");
  if (type == "Replace") {
    const auto content = find_string(spec, "content");
    if (!content) fail("tokenizer", "normalizer Replace", "no content", "a string");
    return make_replace(string_pattern(spec, "normalizer Replace"), *content);
  }
  if (type == "Prepend") {
    const auto prefix = find_string(spec, "prepend");
    if (!prefix) fail("tokenizer", "normalizer Prepend", "no prepend", "a string");
    return make_prepend(*prefix);
  }
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> parts;
    const auto list = find(spec, "normalizers");
    if (!list) fail("tokenizer", "normalizer Sequence", "no normalizers", "an array");
    for (const Json part : as_array(*list, "normalizers")) parts.push_back(make_normalizer(part));
    return make_sequence(std::move(parts));
  }
  fail("tokenizer", "normalizer", type, "Replace, Prepend or Sequence");
}

}  // namespace mlxn::tokenizer
