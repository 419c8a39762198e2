// SPDX-License-Identifier: Apache-2.0
#include "recall.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "flags.h"

namespace mlxn::cli {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::vector<int32_t> unpacked(const std::string& text) {
  if (text.size() % 2 != 0) return {};
  std::vector<int32_t> ids(text.size() / 2);
  for (size_t i = 0; i < ids.size(); ++i) {
    const size_t first = kAlphabet.find(text[2 * i]), second = kAlphabet.find(text[2 * i + 1]);
    if (first == kAlphabet.npos || second == kAlphabet.npos) return {};
    ids[i] = static_cast<int32_t>(64 * first + second);
  }
  return ids;
}

// None if one of them is no id.
std::vector<int32_t> ids_of(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& value : list.get<Json::array_t>()) {
    const bool is_id =
        value.is_number_unsigned() && value.get<uint64_t>() <= std::numeric_limits<int32_t>::max();
    if (!is_id) return {};
    ids.push_back(value.get<int32_t>());
  }
  return ids;
}

RecallItem item_of(const Json& json) {
  const Json& prompt = json.at("prompt");
  RecallItem item;
  item.prompt = prompt.is_string() ? unpacked(prompt.get<std::string>()) : ids_of(prompt);
  item.digits = json.at("digits").get<std::string>();
  return item;
}

}  // namespace

std::string recall_file_beside(const std::string& model_path) {
  namespace fs = std::filesystem;
  fs::path model = fs::path(model_path).lexically_normal();
  if (!model.has_filename()) model = model.parent_path();
  const fs::path file = model.parent_path() / "recall.json";
  std::error_code error;
  return fs::is_regular_file(file, error) ? file.string() : std::string();
}

std::vector<RecallItem> read_recall(const std::string& path, size_t count) {
  const std::string text = read_file("--recall", path);
  try {
    const Json json = Json::parse(text);
    const Json& items = json.at("items");
    std::vector<RecallItem> result;
    for (size_t i = 0; i < std::min(count, items.size()); ++i) {
      result.push_back(item_of(items.at(i)));
      if (!result.back().prompt.empty()) continue;
      throw UsageError(
          fmt::format("--recall: {}: item {}: found no tokens, required a list of "
                      "ids or two base64 characters a token",
                      path, i));
    }
    return result;
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("--recall: {}: found {}, required items with prompt and digits",
                                 path, error.what()));
  }
}

}  // namespace mlxn::cli
