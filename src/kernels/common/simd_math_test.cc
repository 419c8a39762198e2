// SPDX-License-Identifier: Apache-2.0
// Exp, Tanh and LoadRow on every Highway target that this machine runs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/common/simd_math_test.cc"
#include <hwy/foreach_target.h>
//
#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <bit>
#include <cmath>
#include <vector>

#include "kernels/common/simd.h"
#include "kernels/common/simd_math-inl.h"
#include "kernels/common/simd_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// count is a multiple of 16.
void ExpAndTanh(const float* x, int64_t count, float* exp, float* tanh) {
  const hn::ScalableTag<float> d;
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
    hn::StoreU(Exp(d, hn::LoadU(d, x + i)), d, exp + i);
    hn::StoreU(Tanh(d, hn::LoadU(d, x + i)), d, tanh + i);
  }
}

void Widen(const uint16_t* bits, int64_t count, float* from_f16, float* from_bf16) {
  const hn::ScalableTag<float> d;
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
    hn::StoreU(LoadRow(d, reinterpret_cast<const F16*>(bits + i)), d, from_f16 + i);
    hn::StoreU(LoadRow(d, reinterpret_cast<const BF16*>(bits + i)), d, from_bf16 + i);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(ExpAndTanh);
HWY_EXPORT(Widen);

namespace {

class SimdMathTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > Device::open("cpu").isa()) GTEST_SKIP() << "this machine lacks the ISA";
  }
};

INSTANTIATE_TEST_SUITE_P(Isas, SimdMathTest,
                         ::testing::Values(Isa::kBaseline, Isa::kAvx2, Isa::kAvx512));

// Error in units of the last place of the exact value, subnormal ones included.
double ulps(float found, double exact) {
  const int exponent = std::max(std::ilogb(exact), -126);
  return std::abs(found - exact) / std::ldexp(1.0, exponent - 23);
}

TEST_P(SimdMathTest, TwoUlp) {
  const auto run = variant(HWY_DISPATCH_TABLE(ExpAndTanh), GetParam());
  std::vector<float> x(4096), exp(4096), tanh(4096);
  // Every 4099th bit pattern; 4099 is prime.
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32);) {
    for (float& value : x) {
      value = std::bit_cast<float>(static_cast<uint32_t>(bits));
      bits += 4099;
    }
    run(x.data(), static_cast<int64_t>(x.size()), exp.data(), tanh.data());
    for (size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i])) {
        ASSERT_TRUE(std::isnan(exp[i]) && std::isnan(tanh[i]));
        continue;
      }
      const double e = std::exp(double{x[i]}), t = std::tanh(double{x[i]});
      if (e > 3.4028235e38) {
        ASSERT_EQ(exp[i], INFINITY) << x[i];
      } else if (e < 0x1p-150) {
        ASSERT_EQ(std::bit_cast<uint32_t>(exp[i]), 0u) << x[i];
      } else {
        ASSERT_LE(ulps(exp[i], e), 2.0) << x[i];
      }
      ASSERT_EQ(std::signbit(tanh[i]), std::signbit(x[i]));
      if (t == 0.0) continue;
      ASSERT_LE(ulps(tanh[i], t), 2.0) << x[i];
    }
  }
}

TEST_P(SimdMathTest, ExactValues) {
  const auto run = variant(HWY_DISPATCH_TABLE(ExpAndTanh), GetParam());
  const float inf = INFINITY;
  const std::vector<float> x = {0.0f, -0.0f, inf,    -inf, -1e30f, 1e30f, 88.7f, -103.0f,
                                9.1f, -9.1f, 1e-30f, 1.0f, 0.5f,   2.0f,  3.0f,  4.0f};
  std::vector<float> exp(16), tanh(16);
  run(x.data(), 16, exp.data(), tanh.data());
  EXPECT_EQ(exp[0], 1.0f);
  EXPECT_EQ(exp[1], 1.0f);
  EXPECT_EQ(exp[2], inf);
  EXPECT_EQ(exp[3], 0.0f);
  EXPECT_EQ(exp[4], 0.0f);
  EXPECT_EQ(exp[5], inf);
  EXPECT_EQ(tanh[2], 1.0f);
  EXPECT_EQ(tanh[3], -1.0f);
  EXPECT_EQ(tanh[8], 1.0f);
  EXPECT_EQ(tanh[9], -1.0f);
  EXPECT_EQ(tanh[10], 1e-30f);
}

TEST_P(SimdMathTest, WideningIsExact) {
  const auto run = variant(HWY_DISPATCH_TABLE(Widen), GetParam());
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<float> from_f16(65536), from_bf16(65536);
  run(bits.data(), 65536, from_f16.data(), from_bf16.data());
  for (size_t i = 0; i < bits.size(); ++i) {
    const float f = to_float(F16{bits[i]}), b = to_float(BF16{bits[i]});
    if (std::isnan(f)) {
      ASSERT_TRUE(std::isnan(from_f16[i])) << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(from_f16[i]), std::bit_cast<uint32_t>(f)) << i;
    }
    ASSERT_EQ(std::bit_cast<uint32_t>(from_bf16[i]), std::bit_cast<uint32_t>(b)) << i;
  }
}

}  // namespace
}  // namespace mlxn::kernels
#endif  // HWY_ONCE
