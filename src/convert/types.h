// SPDX-License-Identifier: Apache-2.0
// Which type each tensor gets: the file's type, the user's rules, and what shapes allow.
#pragma once

#include <regex.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "convert/plan.h"
#include "mlxn/quantize.h"

namespace mlxn::convert {

class TypeChooser {
 public:
  // Throws kInvalidArgument for an unknown type, numbers out of range and a bad pattern.
  explicit TypeChooser(const QuantizeOptions& options);

  // The type of the matrix called `name` in the output. MLX: a matrix whose rows are not whole
  // groups of the file's size keeps its float type, and `forced_bits` (0: none; group 64) wins over
  // the file's bits but not over a rule.
  Encoding mlx_matrix(std::string_view name, const checkpoint::StoredTensor& source, int64_t cols,
                      int forced_bits = 0) const;
  // GGUF: rows that are not whole blocks of 256 get a type of nearly the same size with blocks of
  // 32, those that are not whole blocks of 32 become f16. `always_f32`: unless a rule matches.
  // Throws kUnsupportedDtype if no type that can be written is left.
  Encoding gguf_matrix(std::string_view name, const checkpoint::StoredTensor& source, int64_t cols,
                       bool always_f32 = false) const;

  // The file's type: what most matrices get.
  Encoding file_level() const { return file_level_.encoding; }

 private:
  struct Choice {
    bool as_stored = false;  // "copy", "float"
    Encoding encoding;
  };
  struct Rule {
    std::shared_ptr<const regex_t> pattern;
    Choice choice;
  };

  Choice parse(const std::string& type, const char* parameter, bool is_rule) const;
  Choice parse_mlx(const std::string& type, const char* parameter, bool is_rule) const;
  const Choice* match(std::string_view name) const;

  const QuantizeOptions& options_;
  Choice file_level_;
  std::vector<Rule> rules_;
};

// A tensor that is stored as it is; f32 if that is not a float type.
Encoding float_encoding(const checkpoint::StoredTensor& source);

}  // namespace mlxn::convert
