// SPDX-License-Identifier: Apache-2.0
#include "table.h"

#include <fmt/format.h>

#include <algorithm>

namespace mlxn::cli {
namespace {

std::string text_of(const Row& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.2f}", value.get<double>());
  return value.dump();
}

std::string cell(const Row& row, const std::string& key) {
  if (row.contains(key + "_text")) return text_of(row[key + "_text"]);
  return row.contains(key) ? text_of(row[key]) : "";
}

// Columns take characters, not bytes: the plus-minus sign is two bytes.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string padded(const std::string& text, size_t width, bool right) {
  const std::string space(width - std::min(width, width_of(text)), ' ');
  return right ? space + text : text + space;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

bool is_text_only(const std::string& key) { return key.ends_with("_text"); }

}  // namespace

std::string markdown(const std::vector<Column>& columns, const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Column& column : columns) {
    size_t width = width_of(column.title);
    for (const Row& row : rows) width = std::max(width, width_of(cell(row, column.key)));
    widths.push_back(width);
  }
  std::string head = "|", rule = "|", body;
  for (size_t i = 0; i < columns.size(); ++i) {
    head += " " + padded(columns[i].title, widths[i], columns[i].right) + " |";
    rule += " " + std::string(widths[i] - 1, '-') + (columns[i].right ? ":" : "-") + " |";
  }
  for (const Row& row : rows) {
    body += "|";
    for (size_t i = 0; i < columns.size(); ++i) {
      body += " " + padded(cell(row, columns[i].key), widths[i], columns[i].right) + " |";
    }
    body += "\n";
  }
  return head + "\n" + rule + "\n" + body;
}

Row without_texts(const std::vector<Row>& rows) {
  Row list = Row::array();
  for (const Row& row : rows) {
    Row plain;
    for (const auto& [key, value] : row.items()) {
      if (!is_text_only(key)) plain[key] = value;
    }
    list.push_back(std::move(plain));
  }
  return list;
}

std::string csv(const std::vector<Row>& rows) {
  std::string text;
  for (size_t i = 0; i < rows.size(); ++i) {
    std::string head, line;
    for (const auto& [key, value] : rows[i].items()) {
      if (is_text_only(key)) continue;
      const char* comma = line.empty() && head.empty() ? "" : ",";
      head += comma + key;
      line += comma + csv_field(value.is_string() ? value.get<std::string>() : value.dump());
    }
    if (i == 0) text += head + "\n";
    text += line + "\n";
  }
  return text;
}

}  // namespace mlxn::cli
