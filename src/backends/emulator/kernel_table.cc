// SPDX-License-Identifier: Apache-2.0
// The kernels that were compiled for the emulator, by name.
#include <map>
#include <string>
#include <string_view>

#include "backends/emulator/emulator.h"

namespace mlxn::backends::emulator {
namespace {

std::map<std::string, Kernel>& table() {
  static std::map<std::string, Kernel> kernels;
  return kernels;
}

ParamKind kind_of(std::string_view word) {
  constexpr std::pair<std::string_view, ParamKind> kKinds[] = {
      {"IN", ParamKind::kIn},       {"SHADOW", ParamKind::kShadow}, {"OUT", ParamKind::kOut},
      {"INOUT", ParamKind::kInOut}, {"PARAMS", ParamKind::kParams}, {"TGBUF", ParamKind::kTgBuf},
  };
  for (const auto& [name, kind] : kKinds) {
    if (word == name) return kind;
  }
  return ParamKind::kInOut;  // unreachable: other words do not compile
}

// Takes "KIND(type, name)" off the front of the text, with the comma behind it.
Param take_param(std::string_view& text) {
  const size_t open = text.find('(');
  size_t close = open, depth = 0, comma = open;
  for (; close < text.size(); ++close) {
    if (text[close] == '(') ++depth;
    if (text[close] == ',' && depth == 1) comma = close;
    if (text[close] == ')' && --depth == 0) break;
  }
  const auto trimmed = [](std::string_view s) {
    while (s.starts_with(' ')) s.remove_prefix(1);
    while (s.ends_with(' ')) s.remove_suffix(1);
    return s;
  };
  Param param{kind_of(trimmed(text.substr(0, open))),
              std::string(trimmed(text.substr(comma + 1, close - comma - 1))), 0};
  text.remove_prefix(std::min(close + 1, text.size()));
  const size_t next = text.find(',');
  text.remove_prefix(next == std::string_view::npos ? text.size() : next + 1);
  return param;
}

}  // namespace

void add_kernel(const char* name, const char* declaration, const size_t* sizes, size_t count,
                void (*function)(), void (*call)(void (*)(), void* const*, const Ids&)) {
  Kernel kernel{name, {}, function, call};
  std::string_view text = declaration;
  for (size_t i = 0; i < count; ++i) {
    kernel.params.push_back(take_param(text));
    kernel.params.back().size = sizes[i];
  }
  table()[name] = std::move(kernel);
}

const Kernel* find_kernel(const std::string& name) {
  const auto found = table().find(name);
  return found == table().end() ? nullptr : &found->second;
}

}  // namespace mlxn::backends::emulator
