// SPDX-License-Identifier: Apache-2.0
// What the encoders of block formats write, against ggml and by their own invariants.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "mlxn/error.h"
#include "quant/registry.h"
#include "quant/test_fixtures.h"

namespace mlxn::quant {
namespace {

// What a format keeps, each as a share of the largest magnitude of a block: of any value, of one
// value among zeroes, of a constant.
struct Precision {
  const char* name;
  float any;
  float spike;
  float constant;
};
// One step of the codes where a fit or a clamp may cost it, half a step else. Four bits of E2M1
// lose a quarter of what lies between 6 and 8 scales.
constexpr Precision kPrecisions[] = {
    {"q4_0", 1 / 8.0f, 2e-3f, 2e-2f},  {"q8_0", 1 / 127.0f, 2e-3f, 2e-2f},
    {"q4_k", 2 / 15.0f, 2e-3f, 2e-2f}, {"q6_k", 1 / 32.0f, 2e-3f, 2e-2f},
    {"q4_1", 1 / 15.0f, 2e-3f, 2e-2f}, {"q5_0", 1 / 16.0f, 2e-3f, 2e-2f},
    {"q5_1", 1 / 31.0f, 2e-3f, 2e-2f}, {"q2_k", 2 / 3.0f, 2e-3f, 2e-2f},
    {"q5_k", 2 / 31.0f, 2e-3f, 2e-2f}, {"mxfp4", 1 / 4.0f, 1 / 4.0f, 1 / 4.0f},
};

class BlockEncoder : public testing::TestWithParam<Precision> {
 protected:
  const FormatTraits& traits() const { return *find_format(GetParam().name); }

  std::vector<std::byte> encode(const std::vector<float>& in) const {
    std::vector<std::byte> out(in.size() / traits().block_elements * traits().block_bytes);
    traits().encode_row(in.data(), static_cast<int64_t>(in.size()), out.data());
    return out;
  }
  std::vector<float> round_trip(const std::vector<float>& in) const {
    const auto blocks = encode(in);
    std::vector<float> out(in.size());
    traits().decode_row(blocks.data(), static_cast<int64_t>(out.size()), out.data());
    return out;
  }
};

TEST(BlockEncoders, AllAreTested) {
  for (const FormatTraits& traits : formats()) {
    const bool tested = std::any_of(std::begin(kPrecisions), std::end(kPrecisions),
                                    [&](const Precision& p) { return traits.name == p.name; });
    EXPECT_EQ(tested, traits.block_elements > 1 && traits.encode_row != nullptr) << traits.name;
  }
}

TEST_P(BlockEncoder, EncodesToTheBytesOfTheReference) {
  const Fixtures fixtures("blocks.bin");
  const auto input = fixtures.get<float>("encode/input");
  const auto expected = fixtures.get<std::byte>(std::string("encode/") + GetParam().name);
  const auto blocks = encode(input);
  ASSERT_EQ(blocks.size(), expected.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    ASSERT_EQ(blocks[i], expected[i])
        << "block " << i / traits().block_bytes << " byte " << i % traits().block_bytes;
  }
}

TEST_P(BlockEncoder, ZeroesStayZero) {
  for (const float value : round_trip(std::vector<float>(traits().block_elements))) {
    EXPECT_EQ(value, 0.0f);
  }
}

TEST_P(BlockEncoder, RoundTripStaysWithinTheStep) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> in(256 * 16);
  for (float& value : in) value = normal(random);
  const auto out = round_trip(in);
  for (size_t begin = 0; begin < in.size(); begin += traits().block_elements) {
    float largest = 0.0f;
    for (int j = 0; j < traits().block_elements; ++j) {
      largest = std::max(largest, std::fabs(in[begin + j]));
    }
    for (int j = 0; j < traits().block_elements; ++j) {
      ASSERT_NEAR(in[begin + j], out[begin + j], 1.01f * largest * GetParam().any) << begin + j;
    }
  }
}

TEST_P(BlockEncoder, KeepsASpikeAndAConstant) {
  for (const float value : {1.0f, -1.0f, 0.75f, -3.5f, 1000.0f}) {
    std::vector<float> spike(traits().block_elements);
    spike[17] = value;
    const auto out = round_trip(spike);
    for (int i = 0; i < traits().block_elements; ++i) {
      ASSERT_NEAR(out[i], spike[i], GetParam().spike * std::fabs(value)) << value << " at " << i;
    }
    for (const float got : round_trip(std::vector<float>(traits().block_elements, value))) {
      ASSERT_NEAR(got, value, GetParam().constant * std::fabs(value));
    }
  }
}

TEST_P(BlockEncoder, EncodesTinyAndHugeValuesWithoutUndefinedBehaviour) {
  // 1 / d overflows, or d overflows f16; codes must still be in range.
  for (const float value : {1e-40f, 1e-44f, 3e38f, std::numeric_limits<float>::denorm_min()}) {
    std::vector<float> in(traits().block_elements, value);
    in[3] = -value;
    in[5] = 0.0f;
    EXPECT_EQ(encode(in).size(), static_cast<size_t>(traits().block_bytes));
  }
}

TEST_P(BlockEncoder, RefusesWhatIsNotFiniteAndPartialBlocks) {
  std::vector<float> in(static_cast<size_t>(traits().block_elements) * 2, 1.0f);
  std::vector<std::byte> out(static_cast<size_t>(traits().block_bytes) * 2);
  const auto refused = [&](int64_t k) {
    try {
      traits().encode_row(in.data(), k, out.data());
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kInvalidArgument;
    }
    return false;
  };
  EXPECT_TRUE(refused(0));
  EXPECT_TRUE(refused(traits().block_elements + 1));
  EXPECT_FALSE(refused(static_cast<int64_t>(in.size())));
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    in.back() = bad;
    EXPECT_TRUE(refused(static_cast<int64_t>(in.size())));
  }
}

TEST_P(BlockEncoder, WritesWholeBlocksOnly) {
  const int size = traits().block_bytes;
  std::vector<std::byte> out(size + 2, std::byte{0xa5});
  const std::vector<float> in(traits().block_elements, 1.0f);
  traits().encode_row(in.data(), traits().block_elements, out.data() + 1);
  EXPECT_EQ(out.front(), std::byte{0xa5});
  EXPECT_EQ(out.back(), std::byte{0xa5});
}

INSTANTIATE_TEST_SUITE_P(Formats, BlockEncoder, testing::ValuesIn(kPrecisions),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mlxn::quant
