// SPDX-License-Identifier: Apache-2.0
// Global functions.
#include <fmt/format.h>

#include <array>
#include <ctime>

#include "tokenizer/jinja_interpreter.h"

namespace mlxn::tokenizer::jinja {
namespace {

constexpr const char* kFunctions[] = {"range", "namespace", "dict", "raise_exception",
                                      "strftime_now"};

Value range(Interpreter& in, const Args& args) {
  int64_t bounds[3] = {0, 0, 1};  // start, stop, step
  const size_t count = args.positional.size();
  if (count < 1 || count > 3) in.fail("range takes 1 to 3 arguments");
  for (size_t i = 0; i < count; ++i) {
    bounds[count == 1 ? 1 : i] = int_of(in, args.positional[i], "an argument of range");
  }
  const auto [start, stop, step] = std::array{bounds[0], bounds[1], bounds[2]};
  if (step == 0) in.fail("range with step zero");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    in.heap().step();
    items.push_back(make_int(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return in.heap().list(std::move(items));
}

Value make_mapping(Interpreter& in, const Args& args, Value result) {
  Heap& heap = in.heap();
  if (const auto other = args.get(0, "")) {
    if (!other->is(Type::kDict)) in.fail("expected a dict");
    for (const auto& [key, value] : other->dict->entries) heap.set(*result.dict, key, value);
  }
  for (const auto& [key, value] : args.named) {
    heap.set(*result.dict, heap.string(std::string(key)), value);
  }
  return result;
}

std::tm time_of(std::optional<int64_t> now) {
  std::tm parts{};
  if (now) {
    const auto seconds = static_cast<std::time_t>(*now);
    gmtime_r(&seconds, &parts);
  } else {
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &parts);
  }
  return parts;
}

// One conversion at a time, so that a format cannot ask for huge paddings.
std::string format_time(Interpreter& in, const std::string& format) {
  constexpr std::string_view kKnown = "aAbBcdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%";
  const std::tm parts = time_of(in.now());
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (i % 64 == 0 || format[i] == '%') in.heap().step(8);
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    std::string one = "%";
    if (format[i + 1] == '-' && i + 2 < format.size()) one += format[++i];
    one += format[++i];
    if (kKnown.find(one.back()) == std::string_view::npos) {
      in.fail(fmt::format("strftime_now: unknown format '{}'", one));
    }
    char buffer[128];
    out.append(buffer, std::strftime(buffer, sizeof(buffer), one.c_str(), &parts));
    in.heap().check_text(out.size());
  }
  return out;
}

}  // namespace

std::optional<Value> global_function(std::string_view name) {
  for (const char* function : kFunctions) {
    if (name == function) return make_function(function);
  }
  return std::nullopt;
}

Value call_function(Interpreter& in, std::string_view name, const Args& args) {
  if (name == "range") return range(in, args);
  if (name == "namespace") return make_mapping(in, args, in.heap().name_space());
  if (name == "dict") return make_mapping(in, args, in.heap().dict());
  if (name == "raise_exception") {
    const auto message = args.get(0, "message");
    in.fail(message ? to_text(in.heap(), *message) : "raise_exception");
  }
  const auto format = args.get(0, "format");
  if (!format) in.fail("strftime_now without a format");
  return in.heap().string(format_time(in, text_of(in, *format, "the format")));
}

}  // namespace mlxn::tokenizer::jinja
