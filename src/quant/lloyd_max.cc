// SPDX-License-Identifier: Apache-2.0
// The Lloyd-Max quantiser of N(0, 1): every level is the mean of its cell, every boundary lies half
// way between two levels. Newton's method on the positive levels; the equations couple neighbours
// only, so a step is one tridiagonal solve, and four or five reach 1e-12.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/no_memory.h"
#include "mlxn/error.h"
#include "mlxn/ops/turboquant.h"

namespace mlxn::ops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double density(double x) { return std::isinf(x) ? 0.0 : 0.3989422804014327 * std::exp(-x * x / 2); }
double upper_tail(double x) { return std::isinf(x) ? 0.0 : std::erfc(x * M_SQRT1_2) / 2; }

// Probability and mean of a cell [a, b), a >= 0.
struct Cell {
  double mass;
  double mean;
};

Cell cell_of(double a, double b) {
  if (b - a > 0.75) {
    const double mass = upper_tail(a) - upper_tail(b);
    return {mass, (density(a) - density(b)) / mass};
  }
  // The differences above would cancel in a narrow cell; eight Gauss-Legendre points do not.
  constexpr std::array<double, 4> kPoints = {0.1834346424956498, 0.5255324099163290,
                                             0.7966664774136267, 0.9602898564975363};
  constexpr std::array<double, 4> kWeights = {0.3626837833783620, 0.3137066458778873,
                                              0.2223810344533745, 0.1012285362903763};
  const double half = (b - a) / 2, middle = (a + b) / 2;
  double mass = 0.0, moment = 0.0;
  for (size_t i = 0; i < kPoints.size(); ++i) {
    for (const double t : {half * kPoints[i], -half * kPoints[i]}) {
      const double weight = kWeights[i] * density(middle + t);
      mass += weight;
      moment += weight * t;
    }
  }
  return {mass * half, middle + moment / mass};
}

// x with upper_tail(x) = p, p <= 1/2, near enough to start from.
double tail_quantile(double p) {
  double low = 0.0, high = 40.0;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (upper_tail(middle) > p ? low : high) = middle;
  }
  return low;
}

double lower_bound_of(const std::vector<double>& c, size_t i) {
  return i == 0 ? 0.0 : i == c.size() ? kInfinity : (c[i - 1] + c[i]) / 2;
}

std::vector<double> newton_step(const std::vector<double>& c) {
  const size_t n = c.size();
  std::vector<double> diagonal(n), below(n), above(n), step(n);
  for (size_t i = 0; i < n; ++i) {
    const double a = lower_bound_of(c, i), b = lower_bound_of(c, i + 1);
    const Cell cell = cell_of(a, b);
    const double by_a = i == 0 ? 0.0 : density(a) * (cell.mean - a) / cell.mass;
    const double by_b = std::isinf(b) ? 0.0 : density(b) * (b - cell.mean) / cell.mass;
    below[i] = -by_a / 2;
    above[i] = -by_b / 2;
    diagonal[i] = 1.0 - by_a / 2 - by_b / 2;
    step[i] = cell.mean - c[i];
  }
  for (size_t i = 1; i < n; ++i) {
    const double factor = below[i] / diagonal[i - 1];
    diagonal[i] -= factor * above[i - 1];
    step[i] -= factor * step[i - 1];
  }
  step[n - 1] /= diagonal[n - 1];
  for (size_t i = n - 1; i-- > 0;) step[i] = (step[i] - above[i] * step[i + 1]) / diagonal[i];
  return step;
}

// c + step, the step halved until the levels ascend from above 0.
std::vector<double> advanced(const std::vector<double>& c, std::vector<double> step) {
  for (;;) {
    std::vector<double> next(c.size());
    bool ascends = true;
    for (size_t i = 0; i < c.size(); ++i) {
      next[i] = c[i] + step[i];
      ascends = ascends && next[i] > (i == 0 ? 0.0 : next[i - 1]);
    }
    if (ascends) return next;
    for (double& s : step) s /= 2;
  }
}

}  // namespace

std::vector<double> lloyd_max(int bits) try {
  if (bits < 1 || bits > 8) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"lloyd_max", "bits", std::to_string(bits), "1 to 8"});
  }
  const size_t half = size_t{1} << (bits - 1);
  std::vector<double> c(half);
  for (size_t i = 0; i < half; ++i) {
    const double upper = (static_cast<double>(half - i) - 0.5) / static_cast<double>(2 * half);
    c[i] = std::sqrt(3.0) * tail_quantile(upper);
  }
  for (int i = 0; i < 60; ++i) {
    const std::vector<double> step = newton_step(c);
    c = advanced(c, step);
    const double largest = std::abs(*std::max_element(
        step.begin(), step.end(), [](double a, double b) { return std::abs(a) < std::abs(b); }));
    if (largest < 1e-12) break;
  }
  std::vector<double> levels;
  for (size_t i = half; i-- > 0;) levels.push_back(-c[i]);
  levels.insert(levels.end(), c.begin(), c.end());
  return levels;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
