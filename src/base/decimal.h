// SPDX-License-Identifier: Apache-2.0
// Numbers in text, whatever the locale.
#pragma once

#include <optional>
#include <string_view>

namespace mlxn::base {

// The number that the whole text spells: digits with an optional '-', '.' and exponent, or "inf" or
// "nan". nullopt for anything else and for what a double cannot hold.
std::optional<double> parse_decimal(std::string_view text);

}  // namespace mlxn::base
