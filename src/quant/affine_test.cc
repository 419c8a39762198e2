// SPDX-License-Identifier: Apache-2.0
// MLX affine against the `mlx` package, and the differences between its two recipes.
#include "quant/affine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "mlxn/error.h"
#include "quant/test_fixtures.h"

namespace mlxn::quant {
namespace {

constexpr int kWidths[] = {2, 3, 4, 5, 6, 8};
constexpr int kGroups[] = {32, 64, 128};

struct Case {
  int bits;
  int group_size;
  DType dtype;
};

struct Encoded {
  std::vector<std::byte> codes, scales, biases;
};

Encoded encode(const std::vector<float>& in, const Case& c, AffineRecipe recipe) {
  const size_t groups = in.size() / c.group_size;
  Encoded out{std::vector<std::byte>(in.size() * c.bits / 8),
              std::vector<std::byte>(groups * size_of(c.dtype)),
              std::vector<std::byte>(groups * size_of(c.dtype))};
  encode_row_affine(
      in.data(), static_cast<int64_t>(in.size()), recipe,
      {out.codes.data(), out.scales.data(), out.biases.data(), c.dtype, c.bits, c.group_size});
  return out;
}

std::vector<float> decode(const Encoded& encoded, const Case& c, bool with_bias = true) {
  std::vector<float> out(encoded.codes.size() * 8 / c.bits);
  decode_row_affine({encoded.codes.data(), encoded.scales.data(),
                     with_bias ? encoded.biases.data() : nullptr, c.dtype, c.bits, c.group_size},
                    static_cast<int64_t>(out.size()), out.data());
  return out;
}

std::string prefix(const char* kind, const Case& c) {
  return std::string(kind) + "/" + std::to_string(c.bits) + "/" + std::to_string(c.group_size) +
         "/" + std::string(name(c.dtype));
}

TEST(Affine, DecodesToTheBitsOfMlx) {
  const Fixtures fixtures("affine.bin");
  for (const int bits : kWidths) {
    for (const int group_size : kGroups) {
      for (const DType dtype : {f32, f16, bf16}) {
        const Case c{bits, group_size, dtype};
        const std::string at = prefix("decode", c);
        const auto expected = fixtures.get<float>(at + "/values");
        const auto values =
            decode({fixtures.get<std::byte>(at + "/codes"), fixtures.get<std::byte>(at + "/scales"),
                    fixtures.get<std::byte>(at + "/biases")},
                   c);
        ASSERT_EQ(values.size(), expected.size());
        for (size_t i = 0; i < values.size(); ++i) {
          ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(expected[i]))
              << at << " element " << i << ": " << values[i] << ", not " << expected[i];
        }
      }
    }
  }
}

TEST(Affine, CpuRecipeWritesTheBytesOfMlx) {
  const Fixtures fixtures("affine.bin");
  const auto input = shared_encoder_input();
  std::vector<Case> cases = {{4, 64, f16}, {4, 64, bf16}, {8, 32, f16}, {8, 32, bf16}};
  for (const int bits : kWidths) {
    for (const int group_size : kGroups) cases.push_back({bits, group_size, f32});
  }
  for (const Case& c : cases) {
    // mlx quantises what its 16-bit input holds.
    std::vector<float> stored = input;
    for (float& value : stored) {
      if (c.dtype == f16) value = to_float(to_f16(value));
      if (c.dtype == bf16) value = to_float(to_bf16(value));
    }
    const Encoded got = encode(stored, c, AffineRecipe::kCpu);
    const std::string at = prefix("encode", c);
    EXPECT_EQ(got.scales, fixtures.get<std::byte>(at + "/scales")) << at;
    EXPECT_EQ(got.biases, fixtures.get<std::byte>(at + "/biases")) << at;
    EXPECT_EQ(got.codes, fixtures.get<std::byte>(at + "/codes")) << at;
  }
}

TEST(Affine, PackAndUnpackAreInverse) {
  std::mt19937 random(3);
  for (const int bits : kWidths) {
    std::vector<uint8_t> codes(128);
    for (auto& code : codes) code = static_cast<uint8_t>(random() & ((1u << bits) - 1));
    std::vector<std::byte> packed(128 * bits / 8);
    pack_codes(codes.data(), 128, bits, packed.data());
    std::vector<uint8_t> back(128);
    unpack_codes(packed.data(), 128, bits, back.data());
    EXPECT_EQ(back, codes) << bits;
    // Bit n of the stream is bit n % 8 of byte n / 8.
    for (int n = 0; n < 128 * bits; ++n) {
      const int in_code = codes[n / bits] >> (n % bits) & 1;
      ASSERT_EQ(in_code, static_cast<int>(packed[n / 8]) >> (n % 8) & 1) << bits << " " << n;
    }
  }
}

TEST(Affine, MissingBiasesAreZero) {
  const Case c{4, 32, f32};
  std::vector<float> in(64);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i) - 20.0f;
  Encoded encoded = encode(in, c, AffineRecipe::kMetal);
  const auto without = decode(encoded, c, false);
  std::fill(encoded.biases.begin(), encoded.biases.end(), std::byte{0});
  EXPECT_EQ(decode(encoded, c), without);
}

TEST(Affine, RoundTripStaysWithinHalfAStep) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> in(1024);
  for (float& value : in) value = normal(random);
  for (const AffineRecipe recipe : {AffineRecipe::kMetal, AffineRecipe::kCpu}) {
    for (const int bits : kWidths) {
      for (const int group_size : kGroups) {
        const Case c{bits, group_size, f32};
        const Encoded encoded = encode(in, c, recipe);
        const auto out = decode(encoded, c);
        for (size_t i = 0; i < in.size(); ++i) {
          const float step = std::fabs(
              load_scale(encoded.scales.data(), f32, static_cast<int64_t>(i) / group_size));
          // The far edge may be up to one step outside after the scale was snapped.
          ASSERT_NEAR(in[i], out[i], 1.001f * step) << bits << " " << group_size << " " << i;
        }
      }
    }
  }
}

TEST(Affine, RecipesDifferOnAllNegativeGroups) {
  // [-8, -4]: the Metal recipe fits [-8, 0] in 15 steps, the CPU recipe [-8, -4].
  const Case c{4, 32, f32};
  std::vector<float> in(32);
  for (int i = 0; i < 32; ++i) in[i] = -8.0f + 4.0f * static_cast<float>(i) / 31.0f;
  const Encoded metal = encode(in, c, AffineRecipe::kMetal);
  const Encoded cpu = encode(in, c, AffineRecipe::kCpu);
  EXPECT_FLOAT_EQ(load_scale(metal.scales.data(), f32, 0), 8.0f / 15.0f);
  EXPECT_FLOAT_EQ(load_scale(cpu.scales.data(), f32, 0), 8.0f / 30.0f);
  EXPECT_EQ(load_scale(metal.biases.data(), f32, 0), -8.0f);
  EXPECT_EQ(load_scale(cpu.biases.data(), f32, 0), -8.0f);
}

TEST(Affine, RecipesDifferOnTies) {
  // Scale 1, bias -8: -5.5 is code 2.5, which Metal rounds to 3 and the CPU to 2.
  const Case c{4, 32, f32};
  std::vector<float> in(32, 0.0f);
  in[0] = -8.0f;
  in[1] = 7.0f;
  in[2] = -5.5f;
  EXPECT_EQ(decode(encode(in, c, AffineRecipe::kMetal), c)[2], -5.0f);
  EXPECT_EQ(decode(encode(in, c, AffineRecipe::kCpu), c)[2], -6.0f);
}

TEST(Affine, ConstantAndZeroGroups) {
  for (const AffineRecipe recipe : {AffineRecipe::kMetal, AffineRecipe::kCpu}) {
    for (const float value : {0.0f, 0.75f, -0.75f, 4e-8f, -4e-8f}) {
      for (const int bits : kWidths) {
        const Case c{bits, 64, f32};
        for (const float got : decode(encode(std::vector<float>(64, value), c, recipe), c)) {
          ASSERT_NEAR(got, value, 1e-7f) << value << " " << bits;
        }
      }
    }
  }
}

TEST(Affine, RefusesBadParametersAndValues) {
  std::vector<float> in(64, 1.0f);
  EXPECT_THROW(encode(in, {7, 32, f32}, AffineRecipe::kCpu), Error);
  EXPECT_THROW(encode(in, {4, 16, f32}, AffineRecipe::kCpu), Error);
  EXPECT_THROW(encode(std::vector<float>(32, 1.0f), {4, 64, f32}, AffineRecipe::kCpu), Error);
  in[9] = NAN;
  EXPECT_THROW(encode(in, {4, 32, f32}, AffineRecipe::kMetal), Error);
}

}  // namespace
}  // namespace mlxn::quant
