// SPDX-License-Identifier: Apache-2.0
#include "kernels/attn_merge/reference.h"
#include "kernels/common/test_kit.h"
#include "mlxn/ops/attention.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

class AttnMergeTest : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = test_device(GetParam());
  Stream stream_{device_};

  struct Case {
    int64_t parts, rows, dim;
    DType dtype = f32;
  };
  // Parts of very different weight; every fifth is of no keys and holds NaN.
  ops::AttnMergeArgs make_args(const Case& c) {
    Random random(static_cast<uint32_t>(c.parts * 1000 + c.dim));
    ops::AttnMergeArgs args;
    args.parts = testing::random_buffer(device_, c.dtype, {c.parts, c.rows, c.dim}, random);
    args.lse = device_.alloc(f32, {c.parts, c.rows});
    for (int64_t i = 0; i < c.parts * c.rows; ++i) {
      args.lse.span<float>()[static_cast<size_t>(i)] = 5.0f * random.normal();
      if (i % 5 != 4) continue;
      args.lse.span<float>()[static_cast<size_t>(i)] = -INFINITY;
      const std::vector<float> nan(static_cast<size_t>(c.dim), NAN);
      kernels::store_f32(c.dtype, nan.data(), c.dim, args.parts.data(), i * c.dim);
    }
    return args;
  }
  kernels::AttnMergeReference reference_of(const ops::AttnMergeArgs& args) {
    return kernels::attn_merge_reference({.parts = args.parts.data(),
                                          .lse = args.lse.span<float>().data(),
                                          .out = nullptr,
                                          .out_lse = nullptr,
                                          .num_parts = args.parts.dim(0),
                                          .rows = args.parts.dim(1),
                                          .dim = args.parts.dim(2),
                                          .dtype = args.parts.dtype()});
  }
  void expect_oracle(const Case& c) {
    auto args = make_args(c);
    const std::string what =
        std::to_string(c.parts) + " x " + std::to_string(c.rows) + " x " + std::to_string(c.dim);
    const GuardedBuffer out(device_, c.dtype, {c.rows, c.dim}), lse(device_, f32, {c.rows});
    args.out = out.view();
    args.out_lse = lse.view();
    ops::attn_merge(stream_, args);
    stream_.commit().wait();
    out.check();
    lse.check();
    const auto reference = reference_of(args);
    const auto tolerance = [&](size_t i) {
      return 4e-6 * reference.weight[i] + testing::store_tolerance(c.dtype, reference.out[i]) +
             1e-37;
    };
    testing::expect_close(testing::to_floats(out.view()), reference.out, tolerance, what);
    testing::expect_close(
        testing::to_floats(lse.view()), reference.lse,
        [&](size_t i) { return 2e-6 * (1.0 + std::abs(reference.lse[i])); }, what + " lse");
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, AttnMergeTest,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_merge_entries())));

TEST_P(AttnMergeTest, EveryShapeAndDtype) {
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t parts : {1, 2, 7}) {
      for (int64_t dim : {1, 7, 8, 17, 64, 509}) {
        for (int64_t rows : {1, 3, 50}) expect_oracle({parts, rows, dim, dtype});
      }
    }
  }
  expect_oracle({2, testing::is_short() ? 40 : 4001, 128});
  expect_oracle({3, 2, testing::is_short() ? 1100 : 5000});
}

TEST_P(AttnMergeTest, NoKeysAtAll) {
  auto args = make_args({3, 2, 16});
  std::fill_n(args.lse.span<float>().begin(), 6, -INFINITY);
  std::fill_n(args.parts.span<float>().begin(), 96, NAN);
  args.out = device_.alloc(f32, {2, 16});
  args.out_lse = device_.alloc(f32, {2});
  ops::attn_merge(stream_, args);
  stream_.commit().wait();
  for (float value : testing::to_floats(args.out)) EXPECT_EQ(value, 0.0f);
  for (float value : testing::to_floats(args.out_lse)) EXPECT_EQ(value, -INFINITY);
}

TEST_P(AttnMergeTest, OnePartIsCopied) {
  auto args = make_args({1, 4, 40});
  std::fill_n(args.lse.span<float>().begin(), 4, 3.5f);
  args.out = device_.alloc(f32, {4, 40});
  args.out_lse = device_.alloc(f32, {4});
  ops::attn_merge(stream_, args);
  stream_.commit().wait();
  EXPECT_EQ(testing::bytes_of(args.out), testing::bytes_of(args.parts));
  for (float value : testing::to_floats(args.out_lse)) EXPECT_EQ(value, 3.5f);
}

TEST_P(AttnMergeTest, RowsAndThreadsDoNotChangeBits) {
  const Case c{4, 300, 96};
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    Random random(1);
    const Buffer parts = testing::random_buffer(device, f32, {c.parts, c.rows, c.dim}, random);
    const Buffer lse = testing::random_buffer(device, f32, {c.parts, c.rows}, random);
    const Buffer out = device.alloc(f32, {c.rows, c.dim});
    ops::attn_merge(stream, {.parts = parts, .lse = lse, .out = out});
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(out);
    EXPECT_EQ(testing::bytes_of(out), expected) << threads;
    // Row 7 alone.
    const Buffer one = device.alloc(f32, {c.parts, 1, c.dim}), one_lse = device.alloc(f32, {4, 1});
    for (int64_t i = 0; i < c.parts; ++i) {
      std::memcpy(one.data() + i * c.dim * 4, parts.data() + (i * c.rows + 7) * c.dim * 4,
                  static_cast<size_t>(c.dim * 4));
      one_lse.span<float>()[static_cast<size_t>(i)] =
          lse.span<float>()[static_cast<size_t>(i * c.rows + 7)];
    }
    const Buffer alone = device.alloc(f32, {1, c.dim});
    ops::attn_merge(stream, {.parts = one, .lse = one_lse, .out = alone});
    stream.commit().wait();
    EXPECT_EQ(
        std::memcmp(alone.data(), expected.data() + 7 * c.dim * 4, static_cast<size_t>(c.dim * 4)),
        0);
  }
}

TEST_P(AttnMergeTest, DirectCapturedAndReplayedAgree) {
  auto args = make_args({7, 60, 72});
  args.out = device_.alloc(f32, {60, 72});
  args.out_lse = device_.alloc(f32, {60});
  testing::expect_repeatable(device_, [&](Stream& stream) { ops::attn_merge(stream, args); },
                             {args.out, args.out_lse});
}

TEST(AttnMergeErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  using Args = ops::AttnMergeArgs;
  const Args good{.parts = device.alloc(f32, {2, 3, 8}),
                  .lse = device.alloc(f32, {2, 3}),
                  .out = device.alloc(f32, {3, 8}),
                  .out_lse = device.alloc(f32, {3})};
  const auto expect = [&](const std::vector<std::string>& fragments, const auto& change) {
    Args args = good;
    change(args);
    auto all = fragments;
    all.push_back("attn_merge");
    expect_error(ErrorKind::kInvalidArgument, all, [&] { ops::attn_merge(stream, args); });
  };
  expect({"parts", "empty"}, [](Args& a) { a.parts = Buffer(); });
  expect({"parts", "3 extents"}, [](Args& a) { a.parts = a.parts.reshape({6, 8}); });
  expect({"parts", "i32"}, [&](Args& a) { a.parts = device.alloc(DType::kI32, {2, 3, 8}); });
  expect({"lse", "[3, 2]", "[2, 3]"}, [](Args& a) { a.lse = a.lse.reshape({3, 2}); });
  expect({"lse", "f16"}, [&](Args& a) { a.lse = device.alloc(f16, {2, 3}); });
  expect({"out", "f16", "f32"}, [&](Args& a) { a.out = device.alloc(f16, {3, 8}); });
  expect({"out", "[4, 8]"}, [&](Args& a) { a.out = device.alloc(f32, {4, 8}); });
  expect({"out_lse", "[4]", "[3]"}, [&](Args& a) { a.out_lse = device.alloc(f32, {4}); });
  expect({"out", "overlap"}, [](Args& a) { a.out = a.parts.reshape({3, 8}); });
  expect({"out_lse", "overlap"}, [](Args& a) { a.out_lse = a.lse.reshape({3}); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_merge(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
