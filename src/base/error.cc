// SPDX-License-Identifier: Apache-2.0
#include "mlxn/error.h"

#include <utility>

namespace mlxn {
namespace {

// Values from files and arguments may hold anything; the text stays one line.
std::string one_line(const std::string& text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else {
      out += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

std::string render(ErrorKind kind, const ErrorDetail& detail) {
  std::string text = detail.where.empty() ? std::string(name(kind)) : detail.where;
  if (!detail.parameter.empty()) text += ": " + detail.parameter;
  if (!detail.found.empty()) text += ": found " + detail.found;
  if (!detail.required.empty()) {
    text += (detail.found.empty() ? ": required " : ", required ") + detail.required;
  }
  return one_line(text);
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
  }
  return "error";
}

Error::Error(ErrorKind kind, const std::string& message)
    : std::runtime_error(one_line(message)), kind_(kind), detail_{message, {}, {}, {}} {}

Error::Error(ErrorKind kind, ErrorDetail detail)
    : std::runtime_error(render(kind, detail)), kind_(kind), detail_(std::move(detail)) {}

}  // namespace mlxn
