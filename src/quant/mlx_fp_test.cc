// SPDX-License-Identifier: Apache-2.0
// MLX's fp modes against `mlx`, their small floats against the formula, and weights made of them.
#include "quant/mlx_fp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "mlxn/error.h"
#include "quant/fp_codes.h"
#include "quant/registry.h"
#include "quant/test_fixtures.h"
#include "quant/weight_view.h"

namespace mlxn::quant {
namespace {

// (-1)^s * 2^(E - 7) * 1.mmm, or 2^-6 * 0.mmm for E = 0; in f64, exact.
double e4m3_value(int byte) {
  const int exponent = byte / 8 % 16, mantissa = byte % 8;
  const double sign = byte < 128 ? 1.0 : -1.0;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<double>::quiet_NaN();
  if (exponent == 0) return sign * mantissa / 8.0 * std::pow(2.0, -6);
  return sign * (1.0 + mantissa / 8.0) * std::pow(2.0, exponent - 7);
}

TEST(FpCodes, EveryE4M3ByteHasItsValueAndComesBack) {
  for (int byte = 0; byte < 256; ++byte) {
    const float value = from_e4m3(static_cast<uint8_t>(byte));
    ASSERT_TRUE(same(value, static_cast<float>(e4m3_value(byte)))) << byte;
    if (!std::isnan(value)) {
      EXPECT_EQ(to_e4m3(value), byte) << value;
    }
  }
}

TEST(FpCodes, E4M3RoundsToTheNearestTiesToEven) {
  for (int byte = 0; byte < 0x7e; ++byte) {
    const auto low = static_cast<float>(e4m3_value(byte));
    const auto high = static_cast<float>(e4m3_value(byte + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 0.0f)), byte);
    EXPECT_EQ(to_e4m3(middle), byte % 2 == 0 ? byte : byte + 1);
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 1e9f)), byte + 1);
    EXPECT_EQ(to_e4m3(-middle), to_e4m3(middle) | 0x80);
  }
  EXPECT_EQ(to_e4m3(449.0f), 0x7e);
  EXPECT_EQ(to_e4m3(1e30f), 0x7e);
  EXPECT_EQ(to_e4m3(-INFINITY), 0xfe);
}

TEST(FpCodes, EveryE8M0ByteIsAPowerOfTwo) {
  for (int byte = 0; byte < 255; ++byte) {
    EXPECT_EQ(from_e8m0(static_cast<uint8_t>(byte)),
              static_cast<float>(std::ldexp(1.0, byte - 127)))
        << byte;
  }
  EXPECT_TRUE(std::isnan(from_e8m0(255)));
}

TEST(FpCodes, E2M1IsTwiceItsValue) {
  for (int code = 0; code < 16; ++code) {
    const int exponent = code / 2 % 4, mantissa = code % 2;
    const double magnitude =
        exponent == 0 ? mantissa / 2.0 : (1.0 + mantissa / 2.0) * std::pow(2.0, exponent - 1);
    EXPECT_EQ(kE2m1Doubled[code], 2.0 * (code < 8 ? magnitude : -magnitude)) << code;
  }
}

class MlxFp : public testing::TestWithParam<Format> {
 protected:
  std::string mode() const { return std::string(name(GetParam())).substr(4); }
  std::string record(const std::string& kind, const std::string& part) const {
    return kind + "/" + mode() + "/" + part;
  }
};

TEST_P(MlxFp, DecodesToTheBitsOfMlx) {
  const Fixtures fixtures("mlx_fp.bin");
  const auto codes = fixtures.get<std::byte>(record("decode", "codes"));
  const auto scales = fixtures.get<std::byte>(record("decode", "scales"));
  const auto expected = fixtures.get<float>(record("decode", "values"));
  std::vector<float> values(expected.size());
  decode_row_mlx_fp(GetParam(), codes.data(), scales.data(), static_cast<int64_t>(values.size()),
                    values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto scale = static_cast<int>(scales[i / fp_mode(GetParam()).group_size]);
    if (scale == 255 && GetParam() != Format::kMlxNvfp4) {
      ASSERT_TRUE(std::isnan(values[i]) && !std::isfinite(expected[i])) << i;
    } else {
      ASSERT_TRUE(same(values[i], expected[i]))
          << "element " << i << ": " << values[i] << ", not " << expected[i] << ", scale " << scale;
    }
  }
}

TEST_P(MlxFp, EncodesToTheBytesOfMlx) {
  const Fixtures fixtures("mlx_fp.bin");
  auto input = shared_encoder_input();
  const auto more = fixtures.get<float>("encode/input");
  input.insert(input.end(), more.begin(), more.end());
  const auto expected_codes = fixtures.get<std::byte>(record("encode", "codes"));
  const auto expected_scales = fixtures.get<std::byte>(record("encode", "scales"));
  std::vector<std::byte> codes(expected_codes.size()), scales(expected_scales.size());
  const FpMode mode = fp_mode(GetParam());
  ASSERT_EQ(codes.size(), input.size() * mode.bits / 8);
  ASSERT_EQ(scales.size(), input.size() / mode.group_size);
  encode_row_mlx_fp(GetParam(), input.data(), static_cast<int64_t>(input.size()), codes.data(),
                    scales.data());
  for (size_t g = 0; g < scales.size(); ++g) {
    ASSERT_EQ(scales[g], expected_scales[g]) << "group " << g;
  }
  for (size_t i = 0; i < input.size(); ++i) {
    const size_t at = i * mode.bits / 8;
    ASSERT_EQ(codes[at], expected_codes[at])
        << "element " << i << ": " << input[i] << ", scale byte "
        << static_cast<int>(scales[i / mode.group_size]);
  }
}

TEST_P(MlxFp, ZeroesStayZeroUnderAScaleOfOneOrNone) {
  const FpMode mode = fp_mode(GetParam());
  std::vector<std::byte> codes(256), scales(256 / mode.group_size);
  std::vector<float> values(256);
  encode_row_mlx_fp(GetParam(), values.data(), 256, codes.data(), scales.data());
  for (const std::byte scale : scales) EXPECT_EQ(scale, std::byte(mode.group_size == 16 ? 0 : 127));
  decode_row_mlx_fp(GetParam(), codes.data(), scales.data(), 256, values.data());
  for (const float value : values) EXPECT_EQ(value, 0.0f);
}

TEST_P(MlxFp, EveryCodeComesBack) {
  // The largest code opens every group, so that its scale is 1. -0 of E2M1 comes back as 0.
  const FpMode mode = fp_mode(GetParam());
  std::vector<std::byte> codes(256 * mode.bits / 8), scales(256 / mode.group_size);
  for (int i = 0; i < 256; ++i) {
    const bool first = i % mode.group_size == 0;
    if (mode.bits == 8) {
      codes[i] = static_cast<std::byte>(first || i % 128 == 127 ? 0x7e : i);
    } else {
      codes[i / 2] |= static_cast<std::byte>((first || i % 16 == 8 ? 7 : i % 16) << (i % 2 * 4));
    }
  }
  for (std::byte& scale : scales) scale = std::byte(mode.group_size == 16 ? 0x38 : 127);
  std::vector<float> values(256);
  decode_row_mlx_fp(GetParam(), codes.data(), scales.data(), 256, values.data());
  std::vector<std::byte> new_codes(codes.size()), new_scales(scales.size());
  encode_row_mlx_fp(GetParam(), values.data(), 256, new_codes.data(), new_scales.data());
  EXPECT_EQ(new_scales, scales);
  EXPECT_EQ(new_codes, codes);
}

TEST(MlxFpScale, BelowTheRangeItIsTheSmallest) {
  const std::vector<float> tiny(32, 1e-42f);
  for (const Format format : {Format::kMlxMxfp4, Format::kMlxMxfp8}) {
    std::vector<std::byte> codes(32), scales(1, std::byte{9});
    encode_row_mlx_fp(format, tiny.data(), 32, codes.data(), scales.data());
    EXPECT_EQ(scales[0], std::byte{0});
  }
}

TEST_P(MlxFp, RefusesWhatIsNotFiniteAndPartialGroups) {
  std::vector<float> in(64, 1.0f);
  std::vector<std::byte> codes(64), scales(4);
  const auto refused = [&](int64_t k) {
    try {
      encode_row_mlx_fp(GetParam(), in.data(), k, codes.data(), scales.data());
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kInvalidArgument;
    }
    return false;
  };
  EXPECT_TRUE(refused(0));
  EXPECT_TRUE(refused(33));
  EXPECT_TRUE(refused(16));
  EXPECT_FALSE(refused(64));
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    in.back() = bad;
    EXPECT_TRUE(refused(64));
  }
}

Buffer make_buffer(DType dtype, Shape shape, size_t byte_len) {
  auto bytes = std::make_shared<std::vector<uint64_t>>(byte_len / 8 + 1);
  auto allocation = std::make_shared<Allocation>();
  allocation->data = reinterpret_cast<std::byte*>(bytes->data());
  allocation->byte_len = bytes->size() * 8;
  allocation->owner = bytes;
  return Buffer(allocation, 0, byte_len, dtype, std::move(shape));
}

Weight fp_weight(Format format, int64_t experts, int64_t rows, int64_t cols) {
  const FpMode mode = fp_mode(format);
  Weight weight;
  weight.format = format;
  weight.shape = {experts, rows, cols};
  weight.bits = mode.bits;
  weight.group_size = mode.group_size;
  const int64_t words = cols * mode.bits / 32, groups = cols / mode.group_size;
  weight.data = make_buffer(u32, {experts, rows, words}, experts * rows * words * 4);
  weight.scales = make_buffer(u8, {experts, rows, groups}, experts * rows * groups);
  return weight;
}

TEST_P(MlxFp, ChecksOfAWeightNameWhatIsWrong) {
  const auto refused = [](const Weight& weight) {
    try {
      check_weight(weight, "w");
    } catch (const Error& error) {
      return error.detail().parameter;
    }
    return std::string();
  };
  const auto with = [&](const std::function<void(Weight&)>& change) {
    Weight weight = fp_weight(GetParam(), 2, 3, 64);
    change(weight);
    return refused(weight);
  };
  EXPECT_EQ(with([](Weight&) {}), "");
  EXPECT_EQ(with([](Weight& w) { w.bits = 12 - w.bits; }), "bits");
  EXPECT_EQ(with([](Weight& w) { w.group_size = 64; }), "group_size");
  EXPECT_EQ(with([](Weight& w) { w.shape[2] = 48; }), "row length");
  EXPECT_EQ(with([](Weight& w) { w.shape[1] = 4; }), "data");
  EXPECT_EQ(with([](Weight& w) { w.scales = Buffer(); }), "scales");
  EXPECT_EQ(with([](Weight& w) { w.scales = make_buffer(f16, {2, 3, 4}, 48); }), "scales");
  EXPECT_EQ(with([](Weight& w) { w.scales = make_buffer(u8, {11}, 11); }), "scales");
  EXPECT_EQ(with([](Weight& w) { w.biases = w.scales; }), "biases");
}

TEST_P(MlxFp, RowsOfAnExpertStack) {
  const int64_t experts = 3, rows = 5, cols = 96;
  const FpMode mode = fp_mode(GetParam());
  Weight weight = fp_weight(GetParam(), experts, rows, cols);
  const int64_t bytes = cols * mode.bits / 8, groups = cols / mode.group_size;
  const WeightView view = view_of(weight);
  EXPECT_EQ(view.row_bytes, bytes);
  EXPECT_EQ(view.row_scale_bytes, groups);
  EXPECT_EQ(stored_bytes(weight), static_cast<size_t>(experts * rows * (bytes + groups)));
  for (int64_t row = 0; row < experts * rows; ++row) {
    // Exact in every mode: 6 is the largest of each group.
    std::vector<float> values(cols), out(cols);
    for (int64_t i = 0; i < cols; ++i) {
      const int64_t t = (i + row) % 5;
      values[i] = std::ldexp(t % 2 == 0 ? -1.5f : 1.5f, static_cast<int>(t % 3));
    }
    encode_row_mlx_fp(GetParam(), values.data(), cols, weight.data.data() + row * bytes,
                      weight.scales.data() + row * groups);
    decode_row(view, row, out.data());
    EXPECT_EQ(out, values) << row;
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, MlxFp,
                         testing::Values(Format::kMlxMxfp4, Format::kMlxMxfp8, Format::kMlxNvfp4),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace mlxn::quant
