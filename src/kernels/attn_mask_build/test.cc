// SPDX-License-Identifier: Apache-2.0
#include "kernels/attn_mask_build/reference.h"
#include "kernels/common/test_kit.h"
#include "mlxn/ops/attention_mask.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::test_device;

class AttnMaskBuildTest : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = test_device(GetParam());
  Stream stream_{device_};

  // Runs the op and compares bit patterns with the oracle.
  Buffer expect_oracle(DType dtype, int64_t q_len, int64_t k_len, int64_t q_offset, bool causal,
                       std::optional<int64_t> window_size) {
    const GuardedBuffer out(device_, dtype, {q_len, k_len});
    ops::attn_mask_build(
        stream_,
        {.out = out.view(), .q_offset = q_offset, .causal = causal, .window_size = window_size});
    stream_.commit().wait();
    out.check();
    const kernels::AttnMaskBuildParams p{.out = nullptr,
                                         .q_len = q_len,
                                         .k_len = k_len,
                                         .q_offset = q_offset,
                                         .window_size = window_size.value_or(0),
                                         .causal = causal,
                                         .dtype = dtype};
    const uint32_t blocked = dtype == f32 ? 0xff800000u : dtype == f16 ? 0xfc00u : 0xff80u;
    for (int64_t i = 0; i < q_len; ++i) {
      for (int64_t j = 0; j < k_len; ++j) {
        const auto at = static_cast<size_t>(i * k_len + j);
        const uint32_t bits = dtype == f32 ? out.view().span<uint32_t>()[at]
                                           : uint32_t{out.view().span<uint16_t>()[at]};
        const uint32_t expected = kernels::attn_mask_build_reference(p, i, j) ? 0 : blocked;
        if (bits != expected) {
          ADD_FAILURE() << name(dtype) << " row " << i << " key " << j << ": " << bits;
          return out.view();
        }
      }
    }
    return out.view();
  }
};

INSTANTIATE_TEST_SUITE_P(
    Entries, AttnMaskBuildTest,
    ::testing::ValuesIn(testing::runnable(kernels::attn_mask_build_entries())));

TEST_P(AttnMaskBuildTest, ExactCells) {  // M1
  constexpr int64_t kFar = std::numeric_limits<int64_t>::max();
  for (DType dtype : {f32, f16, bf16}) {
    expect_oracle(dtype, 8, 8, 0, true, {});
    const Buffer window = expect_oracle(dtype, 16, 16, 0, true, 4);
    for (int64_t j = 0; j < 16; ++j) {  // row 10 sees 7 .. 10
      const float cell = testing::to_floats(window)[static_cast<size_t>(10 * 16 + j)];
      EXPECT_EQ(cell, j >= 7 && j <= 10 ? 0.0f : -INFINITY);
    }
    expect_oracle(dtype, 7, 19, 12, true, {});
    expect_oracle(dtype, 12, 12, 0, false, 3);
    expect_oracle(dtype, 5, 3, 0, false, {});
    expect_oracle(dtype, 5, 300, 1000, true, 50);  // everything is too old
    expect_oracle(dtype, 5, 300, 290, true, kFar);
    for (int64_t width : {1, 7, 8, 9, 63, 64, 65, 257}) {
      expect_oracle(dtype, 33, width, 3, true, 20);
    }
  }
}

TEST_P(AttnMaskBuildTest, DirectCapturedAndReplayedAgree) {
  const Buffer causal = device_.alloc(bf16, {40, 130}), window = device_.alloc(f32, {40, 130});
  testing::expect_repeatable(
      device_,
      [&](Stream& stream) {
        ops::attn_mask_build(stream, {.out = causal, .q_offset = 3, .causal = true});
        ops::attn_mask_build(stream, {.out = window, .causal = true, .window_size = 20});
      },
      {causal, window});
}

TEST(AttnMaskBuildErrors, EachRuleNamesItsParameter) {  // M6
  const Device device = test_device();
  Stream stream(device);
  using Args = ops::AttnMaskBuildArgs;
  const Args good{.out = device.alloc(bf16, {4, 4})};
  const auto expect = [&](const std::vector<std::string>& fragments, const auto& change) {
    Args args = good;
    change(args);
    auto all = fragments;
    all.push_back("attn_mask_build");
    expect_error(ErrorKind::kInvalidArgument, all, [&] { ops::attn_mask_build(stream, args); });
  };
  const auto claim = [&](const Buffer& b, const Shape& shape) {
    return Buffer(b.allocation(), 0, b.byte_len(), b.dtype(), shape);
  };
  expect({"window_size", "0", "1"}, [](Args& a) { a.window_size = 0; });
  expect({"window_size", "-3"}, [](Args& a) { a.window_size = -3; });
  expect({"q_offset", "-1"}, [](Args& a) { a.q_offset = -1; });
  expect({"q_offset"}, [](Args& a) { a.q_offset = std::numeric_limits<int64_t>::max(); });
  expect({"out", "u8"}, [&](Args& a) { a.out = device.alloc(u8, {4, 4}); });
  expect({"out", "extents"}, [&](Args& a) { a.out = claim(a.out, {0, 4}); });
  expect({"out", "extents"}, [&](Args& a) { a.out = claim(a.out, {4, 0}); });
  expect({"out", "bytes"}, [&](Args& a) { a.out = claim(a.out, {4, 5}); });
  expect({"out", "shape"}, [&](Args& a) { a.out = claim(a.out, {int64_t{1} << 40, 1 << 30}); });
  expect({"out", "2 extents"}, [&](Args& a) { a.out = a.out.reshape({1, 4, 4}); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_mask_build(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
