// SPDX-License-Identifier: Apache-2.0
// Filters come in two files: of texts and numbers, and of sequences. Each returns nothing for a
// name that it does not know.
#pragma once

#include <optional>
#include <string_view>

#include "tokenizer/jinja_interpreter.h"

namespace mlxn::tokenizer::jinja {

std::optional<Value> scalar_filter(Interpreter& in, std::string_view name, const Value& target,
                                   const Args& args);
std::optional<Value> sequence_filter(Interpreter& in, std::string_view name, const Value& target,
                                     const Args& args);

// Truth of an argument, false if it is left out.
bool flag(const Args& args, size_t index, std::string_view name);

}  // namespace mlxn::tokenizer::jinja
