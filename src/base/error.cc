// SPDX-License-Identifier: Apache-2.0
#include "mlxn/error.h"

#include <algorithm>
#include <utility>

namespace mlxn {
namespace {

constexpr size_t kMaxField = 1000;  // bytes shown of a field
constexpr size_t kMaxPath = 4096;   // bytes shown of `where`, often a path

// Length of the whole UTF-8 character at the start of `text`, 0 if there is none.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
  const bool surrogate = lead == 0xed && byte(1) >= 0xa0;
  const bool beyond = lead == 0xf4 && byte(1) >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

// Fields may quote a hostile file. Control characters, which a terminal would obey, and bytes that
// are not UTF-8 are shown as \xNN, so that a message is one line of text; long ones are cut.
void append_shown(std::string_view field, size_t max_bytes, std::string& text) {
  constexpr char kDigits[] = "0123456789abcdef";
  const std::string_view shown = field.substr(0, std::min(field.size(), max_bytes));
  for (size_t pos = 0; pos < shown.size();) {
    const size_t length = character_length(shown.substr(pos));
    const auto first = static_cast<uint8_t>(shown[pos]);
    const bool is_c1 = length == 2 && first == 0xc2 && static_cast<uint8_t>(shown[pos + 1]) < 0xa0;
    if (length > 0 && first >= 0x20 && first != 0x7f && !is_c1) {
      text += shown.substr(pos, length);
      pos += length;
    } else {
      text += "\\x";
      text += kDigits[first >> 4];
      text += kDigits[first & 15];
      ++pos;
    }
  }
  if (shown.size() < field.size()) text += "...";
}

std::string render(ErrorKind kind, const ErrorDetail& detail) {
  std::string text;
  append_shown(detail.where.empty() ? name(kind) : std::string_view(detail.where), kMaxPath, text);
  const auto append = [&](std::string_view label, const std::string& field) {
    if (field.empty()) return;
    text += label;
    append_shown(field, kMaxField, text);
  };
  append(": ", detail.parameter);
  append(": found ", detail.found);
  append(detail.found.empty() ? ": required " : ", required ", detail.required);
  return text;
}

}  // namespace

std::string_view name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return "invalid argument";
    case ErrorKind::kDeviceNotFound:
      return "device not found";
    case ErrorKind::kCommandBuffer:
      return "command buffer error";
    case ErrorKind::kBufferAllocation:
      return "buffer allocation failed";
    case ErrorKind::kKernelNotFound:
      return "kernel not found";
    case ErrorKind::kIo:
      return "i/o error";
    case ErrorKind::kSafetensors:
      return "bad safetensors file";
    case ErrorKind::kGguf:
      return "bad gguf file";
    case ErrorKind::kQuantConfig:
      return "bad quantization config";
    case ErrorKind::kConfig:
      return "bad model config";
    case ErrorKind::kUnsupportedDtype:
      return "unsupported dtype";
    case ErrorKind::kTokenizer:
      return "bad tokenizer";
    case ErrorKind::kTemplate:
      return "chat template error";
    case ErrorKind::kContextFull:
      return "context full";
    case ErrorKind::kKernelCompilation:
      return "kernel compilation failed";
  }
  return "error";
}

Error::Error(ErrorKind kind, const std::string& message)
    : Error(kind, ErrorDetail{message, {}, {}, {}}) {}

Error::Error(ErrorKind kind, ErrorDetail detail)
    : std::runtime_error(render(kind, detail)), kind_(kind), detail_(std::move(detail)) {}

}  // namespace mlxn
