// SPDX-License-Identifier: Apache-2.0
#include "base/decimal.h"

#include <charconv>
#if !defined(__cpp_lib_to_chars)
#if defined(__APPLE__)
#include <xlocale.h>
#endif
#include <cerrno>
#include <clocale>
#include <cstdlib>
#include <string>
#endif

namespace mlxn::base {

#if defined(__cpp_lib_to_chars)

std::optional<double> parse_decimal(std::string_view text) {
  double value = 0.0;
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (text.empty() || result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return value;
}

#else  // libc++ reads no floating-point numbers with from_chars

std::optional<double> parse_decimal(std::string_view text) {
  // What strtod would take besides: blanks, '+', hexadecimal digits.
  const bool is_plain =
      !text.empty() && text[0] != '+' && static_cast<unsigned char>(text[0]) > ' ';
  if (!is_plain || text.find_first_of("xX") != std::string_view::npos) return std::nullopt;
  static const locale_t c_locale = ::newlocale(LC_ALL_MASK, "C", nullptr);
  const std::string copy(text);
  char* end = nullptr;
  errno = 0;
  const double value = ::strtod_l(copy.c_str(), &end, c_locale);
  if (errno != 0 || end != copy.c_str() + copy.size()) return std::nullopt;
  return value;
}

#endif

}  // namespace mlxn::base
