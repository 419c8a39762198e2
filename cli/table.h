// SPDX-License-Identifier: Apache-2.0
// Rows of named values as a markdown table, CSV, JSON or JSON lines.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mlxn::cli {

struct Column {
  std::string key;    // in JSON and CSV
  std::string title;  // in markdown
  bool right = false;
};

using Row = nlohmann::ordered_json;  // an object with the columns' keys, and perhaps more

// Markdown shows `<key>_text` instead of `<key>` where a row has it.
std::string markdown(const std::vector<Column>& columns, const std::vector<Row>& rows);
// The rows as a JSON list without their `_text` values.
Row without_texts(const std::vector<Row>& rows);
std::string csv(const std::vector<Row>& rows);

}  // namespace mlxn::cli
