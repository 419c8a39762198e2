// SPDX-License-Identifier: Apache-2.0
#include "quant/encode_util.h"

#include <fmt/format.h>

#include <cmath>

#include "mlxn/error.h"

namespace mlxn::quant {

void check_encode_input(std::string_view format, const float* in, int64_t k, int block_elements) {
  if (k <= 0 || k % block_elements != 0) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{fmt::format("encode {}", format), "row length", std::to_string(k),
                            fmt::format("a positive multiple of {}", block_elements)});
  }
  for (int64_t i = 0; i < k; ++i) {
    if (!std::isfinite(in[i])) {
      throw Error(ErrorKind::kInvalidArgument,
                  ErrorDetail{fmt::format("encode {}", format), fmt::format("element {}", i),
                              fmt::format("{}", in[i]), "a finite value"});
    }
  }
}

}  // namespace mlxn::quant
