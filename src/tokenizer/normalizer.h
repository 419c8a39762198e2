// SPDX-License-Identifier: Apache-2.0
// Rewrites the text between added tokens before it is cut up.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/json.h"

namespace mlxn::tokenizer {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string apply(std::string text) const = 0;
};

// Every `from` becomes `to`, left to right. `from` is not empty.
std::unique_ptr<Normalizer> make_replace(std::string_view from, std::string_view to);
// Puts `prefix` before any text that is not empty.
std::unique_ptr<Normalizer> make_prepend(std::string_view prefix);
std::unique_ptr<Normalizer> make_sequence(std::vector<std::unique_ptr<Normalizer>> parts);
// The "normalizer" of a tokenizer.json. Throws for kinds that are not supported.
std::unique_ptr<Normalizer> make_normalizer(Json spec);

std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace mlxn::tokenizer
