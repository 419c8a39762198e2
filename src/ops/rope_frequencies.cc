// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "base/no_memory.h"
#include "mlxn/ops/rope.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

constexpr int64_t kMaxRotaryDim = int64_t{1} << 31;

}  // namespace

std::vector<float> rope_frequencies(double theta, int64_t rotary_dim, int64_t denominator,
                                    const std::vector<float>& factors) try {
  const char* op = "rope_frequencies";
  if (!std::isfinite(theta) || theta <= 0.0) {
    fail(op, "theta", std::to_string(theta), "a finite number above 0");
  }
  if (rotary_dim < 0 || rotary_dim % 2 != 0 || rotary_dim > kMaxRotaryDim) {
    fail(op, "rotary_dim", std::to_string(rotary_dim), "an even number from 0 to 2^31");
  }
  check_min(op, "denominator", denominator, 1);
  const size_t pairs = static_cast<size_t>(rotary_dim / 2);
  if (!factors.empty() && factors.size() < pairs) {
    fail(op, "factors", std::to_string(factors.size()) + " values",
         "none, or " + std::to_string(pairs));
  }
  std::vector<float> inv_freq;
  inv_freq.reserve(pairs);
  for (size_t i = 0; i < pairs; ++i) {
    const double factor = factors.empty() ? 1.0 : factors[i];
    if (!(factor > 0.0)) fail(op, "factors", std::to_string(factor), "numbers above 0");
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(denominator);
    inv_freq.push_back(static_cast<float>(std::pow(theta, exponent) / factor));
  }
  return inv_freq;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
