// SPDX-License-Identifier: Apache-2.0
#include "convert/types.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/no_memory.h"
#include "checkpoint/fail.h"
#include "quant/mlx_fp.h"

namespace mlxn::convert {
namespace {

using checkpoint::fail;
using checkpoint::in_quotes;

constexpr int kForcedGroup = 64;
constexpr size_t kMaxPattern = 1000;
constexpr int kWordCodes = 32;

// What takes the place of a format whose blocks do not divide a row.
struct Fallback {
  std::string_view from;
  std::string_view to;
};
constexpr std::array<Fallback, 6> kFallbacks = {{{"q4_k", "q5_0"},
                                                 {"q5_k", "q5_1"},
                                                 {"q6_k", "q8_0"},
                                                 {"q2_k", "q4_0"},
                                                 {"q3_k", "q4_0"},
                                                 {"iq4_xs", "iq4_nl"}}};

[[noreturn]] void reject(const char* parameter, std::string found, std::string required) {
  fail(ErrorKind::kInvalidArgument, "quantize", parameter, std::move(found), std::move(required));
}

bool can_write(const quant::FormatTraits& traits) {
  return traits.gguf_type >= 0 && traits.encode_row != nullptr;
}

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

DType scale_dtype_of(const checkpoint::StoredTensor& source) {
  const Encoding encoding = float_encoding(source);
  return encoding.format == Format::kF16    ? DType::kF16
         : encoding.format == Format::kBF16 ? DType::kBF16
                                            : DType::kF32;
}

std::optional<int> parse_bits(const std::string& text) {
  if (text.size() != 1 || text[0] < '0' || text[0] > '9') return std::nullopt;
  return text[0] - '0';
}

std::shared_ptr<const regex_t> compile(const std::string& pattern) {
  const std::string where = "pattern " + in_quotes(pattern);
  const char* required = "a POSIX extended regular expression of at most 1000 bytes";
  if (pattern.size() > kMaxPattern || pattern.find('\0') != std::string::npos) {
    reject("keep", where, required);
  }
  auto compiled = std::make_unique<regex_t>();
  if (const int code = ::regcomp(compiled.get(), pattern.c_str(), REG_EXTENDED | REG_NOSUB)) {
    char reason[128];
    ::regerror(code, compiled.get(), reason, sizeof(reason));
    reject("keep", where + ": " + reason, required);
  }
  return {compiled.release(), [](const regex_t* regex) {
            ::regfree(const_cast<regex_t*>(regex));
            delete regex;
          }};
}

quant::AffineRecipe recipe_of(const QuantizeOptions& options) {
  return options.recipe == QuantizeRecipe::kCpu ? quant::AffineRecipe::kCpu
                                                : quant::AffineRecipe::kMetal;
}

Encoding fp_encoding(Format format) {
  const quant::FpMode mode = quant::fp_mode(format);
  return {format, mode.bits, mode.group_size, DType::kU8, {}};
}

Encoding dense(Format format) {
  Encoding encoding;
  encoding.format = format;
  return encoding;
}

}  // namespace

Encoding float_encoding(const checkpoint::StoredTensor& source) {
  const quant::FormatTraits* traits = stored_format(source);
  return dense(traits != nullptr && is_float(traits->format) ? traits->format : Format::kF32);
}

TypeChooser::TypeChooser(const QuantizeOptions& options) : options_(options) {
  file_level_ = parse(options.type, "type", false);
  for (const KeepRule& rule : options.keep) {
    rules_.push_back({compile(rule.pattern), parse(rule.type, "keep", true)});
  }
}

TypeChooser::Choice TypeChooser::parse(const std::string& text, const char* parameter,
                                       bool is_rule) const {
  const std::string type = lower(text);
  if (is_rule && type == "copy") return {true, {}};
  if (options_.format == OutputFormat::kMlx) return parse_mlx(type, parameter, is_rule);
  const quant::FormatTraits* traits = quant::find_format(type);
  if (traits == nullptr || !can_write(*traits)) {
    reject(parameter, "type " + in_quotes(text),
           fmt::format("one of: {}{}", fmt::join(quantize_types(OutputFormat::kGguf), ", "),
                       is_rule ? ", copy" : ""));
  }
  return {false, dense(traits->format)};
}

TypeChooser::Choice TypeChooser::parse_mlx(const std::string& type, const char* parameter,
                                           bool is_rule) const {
  if (type == "float") return {true, {}};
  const quant::FormatTraits* traits = quant::find_format(type);
  if (traits != nullptr && is_float(traits->format)) return {false, dense(traits->format)};
  const Format mode = quant::format_of_mode(type);
  if (quant::is_mlx_fp(mode)) return {false, fp_encoding(mode)};
  const auto rule_bits = is_rule ? parse_bits(type) : std::nullopt;
  if (type != "affine" && !rule_bits) {
    reject(parameter, "type " + in_quotes(type),
           fmt::format("one of: {}{}", fmt::join(quantize_types(OutputFormat::kMlx), ", "),
                       is_rule ? ", copy or a number of bits" : ""));
  }
  Encoding encoding;
  encoding.format = Format::kAffine;
  encoding.bits = rule_bits.value_or(options_.bits);
  encoding.group_size = options_.group_size;
  encoding.recipe = recipe_of(options_);
  if (!quant::is_affine_bits(encoding.bits)) {
    reject(rule_bits ? parameter : "bits", std::to_string(encoding.bits), "2, 3, 4, 5, 6 or 8");
  }
  if (!quant::is_affine_group_size(encoding.group_size)) {
    reject("group_size", std::to_string(encoding.group_size), "32, 64 or 128");
  }
  return {false, encoding};
}

const TypeChooser::Choice* TypeChooser::match(std::string_view name) const {
  const std::string text(name);
  for (const Rule& rule : rules_) {
    if (::regexec(rule.pattern.get(), text.c_str(), 0, nullptr, 0) == 0) return &rule.choice;
  }
  return nullptr;
}

Encoding TypeChooser::mlx_matrix(std::string_view name, const checkpoint::StoredTensor& source,
                                 int64_t cols, int forced_bits) const {
  const Choice* rule = match(name);
  const Choice& choice = rule != nullptr ? *rule : file_level_;
  if (choice.as_stored) return float_encoding(source);
  Encoding encoding = choice.encoding;
  if (!encoding.is_mlx()) return encoding;
  if (rule == nullptr && forced_bits != 0) {
    encoding.format = Format::kAffine;
    encoding.recipe = recipe_of(options_);
    encoding.bits = forced_bits;
    encoding.group_size = kForcedGroup;
  }
  const Encoding& file = file_level_.encoding;
  const int file_group = file.is_mlx() ? file.group_size : encoding.group_size;
  // The codes of a row are whole words, so of nvfp4's groups of 16 there are an even number.
  if (cols % file_group != 0 || cols % encoding.group_size != 0 || cols % kWordCodes != 0) {
    return float_encoding(source);
  }
  if (encoding.is_affine()) encoding.scale_dtype = scale_dtype_of(source);
  return encoding;
}

Encoding TypeChooser::gguf_matrix(std::string_view name, const checkpoint::StoredTensor& source,
                                  int64_t cols, bool always_f32) const {
  const Choice* rule = match(name);
  if (rule == nullptr && always_f32) return dense(Format::kF32);
  const Choice& choice = rule != nullptr ? *rule : file_level_;
  if (choice.as_stored) {
    const quant::FormatTraits* traits = stored_format(source);
    return dense(traits != nullptr && traits->gguf_type >= 0 ? traits->format : Format::kF32);
  }
  const quant::FormatTraits* traits = &quant::traits_of(choice.encoding.format);
  while (cols % traits->block_elements != 0) {
    std::string_view next = "f16";
    for (const Fallback& fallback : kFallbacks) {
      if (fallback.from == traits->name) next = fallback.to;
    }
    traits = quant::find_format(next);
    if (traits == nullptr || !can_write(*traits)) {
      fail(ErrorKind::kUnsupportedDtype, "quantize", "tensor " + in_quotes(name),
           fmt::format("rows of {} values, which are not whole blocks of {}", cols,
                       mlxn::name(choice.encoding.format)),
           fmt::format("a type that can be written in the place of {}", next));
    }
  }
  return dense(traits->format);
}

}  // namespace mlxn::convert

namespace mlxn {

std::vector<std::string> quantize_types(OutputFormat format) try {
  if (format == OutputFormat::kMlx)
    return {"affine", "mxfp4", "mxfp8", "nvfp4", "float", "f32", "f16", "bf16"};
  std::vector<std::string> names;
  for (const quant::FormatTraits& traits : quant::formats()) {
    if (convert::can_write(traits)) names.emplace_back(traits.name);
  }
  return names;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
