// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/post_processor.h"

#include <limits>

namespace mlxn::tokenizer {
namespace {

void append_special_ids(Json spec, std::string_view name, std::vector<int32_t>& out) {
  const auto tokens = find(spec, "special_tokens");
  const auto token = tokens ? find(*tokens, name) : std::nullopt;
  const auto ids = token ? find(*token, "ids") : std::nullopt;
  if (!ids)
    fail("tokenizer", "post_processor.special_tokens", "no ids of " + std::string(name), "ids");
  for (const Json value : as_array(*ids, "post_processor ids")) {
    const int64_t id = as_int(value, "post_processor id");
    if (id < 0 || id > std::numeric_limits<int32_t>::max()) {
      fail("tokenizer", "post_processor id", std::to_string(id), "a token id");
    }
    out.push_back(static_cast<int32_t>(id));
  }
}

// Around one text the "single" template puts special tokens before and after {"Sequence": {"id":
// "A"}}.
PostProcessor make_template(Json spec) {
  PostProcessor result;
  bool after_text = false;
  const auto items = find(spec, "single");
  if (!items) fail("tokenizer", "post_processor TemplateProcessing", "no single", "an array");
  for (const Json item : as_array(*items, "post_processor.single")) {
    if (const auto special = find(item, "SpecialToken")) {
      const auto name = find_string(*special, "id");
      if (!name) fail("tokenizer", "post_processor.single", "a SpecialToken without id", "an id");
      append_special_ids(spec, *name, after_text ? result.suffix : result.prefix);
      continue;
    }
    const auto sequence = find(item, "Sequence");
    if (!sequence || find_string(*sequence, "id") != "A" || after_text) {
      fail("tokenizer", "post_processor.single", "an unknown item",
           "special tokens and one text A");
    }
    after_text = true;
  }
  if (!after_text) fail("tokenizer", "post_processor.single", "no text", "the text A once");
  return result;
}

}  // namespace

PostProcessor make_post_processor(Json spec) {
  const std::string_view type = type_of(spec, "post_processor");
  if (type == "TemplateProcessing") return make_template(spec);
  if (type == "Sequence") {
    const auto list = find(spec, "processors");
    if (!list) fail("tokenizer", "post_processor Sequence", "no processors", "an array");
    PostProcessor all;
    for (const Json part : as_array(*list, "processors")) {
      const PostProcessor one = make_post_processor(part);
      all.prefix.insert(all.prefix.begin(), one.prefix.begin(), one.prefix.end());
      all.suffix.insert(all.suffix.end(), one.suffix.begin(), one.suffix.end());
    }
    return all;
  }
  fail("tokenizer", "post_processor", type, "TemplateProcessing or Sequence");
}

}  // namespace mlxn::tokenizer
