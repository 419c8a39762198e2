// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "kernels/moe_combine/reference.h"
#include "mlxn/ops/moe.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

class MoeCombineTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, MoeCombineTest,
                         ::testing::ValuesIn(testing::runnable(kernels::moe_combine_entries())));

const float* floats(const Buffer& buffer) { return reinterpret_cast<const float*>(buffer.data()); }

// MM(k + 2) of ops.md 0.4.
void expect_matches(const ops::MoeCombineArgs& a, const std::string& what) {
  const kernels::MoeCombineParams p{
      a.y.data(),        floats(a.weights), a.shared.data(), floats(a.shared_gate),
      a.residual.data(), nullptr,           a.y.dim(0),      a.y.dim(1),
      a.y.dim(2),        a.y.dtype()};
  const auto r = kernels::moe_combine_reference(p);
  const double terms = static_cast<double>(p.top_k + 2);
  testing::expect_close(
      testing::to_floats(a.out), r.out,
      [&](size_t i) {
        return (8 + terms / 32 + std::log2(terms)) * 0x1p-24 * r.magnitude[i] + 1e-6 +
               testing::store_tolerance(p.dtype, r.out[i]);
      },
      what);
}

TEST_P(MoeCombineTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t dim : {1, 31, 33, 255, 513, 4097}) {
      for (int64_t top_k : {1, 2, 8}) {
        for (int form = 0; form < 8; ++form) {
          const GuardedBuffer out(device, dtype, {3, dim});
          ops::MoeCombineArgs args{.y = random_buffer(device, dtype, {3, top_k, dim}, random),
                                   .weights = random_buffer(device, f32, {3, top_k}, random),
                                   .out = out.view()};
          if (form & 1) args.shared = random_buffer(device, dtype, {3, dim}, random);
          if (form & 2) args.residual = random_buffer(device, dtype, {3, dim}, random);
          if (form == 5) args.shared_gate = random_buffer(device, f32, {3}, random);
          ops::moe_combine(stream, args);
          stream.commit().wait();
          expect_matches(args, std::string(name(dtype)) + " dim " + std::to_string(dim) + " form " +
                                   std::to_string(form));
          out.check();
        }
      }
    }
  }
}

TEST_P(MoeCombineTest, InPlaceOverTheResidualAndGateLimits) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  const Buffer residual = random_buffer(device, f32, {4, 70}, random).rows(1, 2);
  const Buffer out = device.alloc(f32, {2, 70});
  ops::MoeCombineArgs args{
      .y = random_buffer(device, f32, {2, 3, 70}, random),
      .weights = random_buffer(device, f32, {2, 3}, random),
      .shared = random_buffer(device, f32, {2, 70}, random),
      .shared_gate = testing::make_buffer(device, f32, {2}, std::vector<float>{1000.0f, -1000.0f}),
      .residual = residual,
      .out = out};
  ops::moe_combine(stream, args);
  stream.commit().wait();
  expect_matches(args, "gates of 1 and 0");
  args.out = residual;
  ops::moe_combine(stream, args);
  stream.commit().wait();
  EXPECT_EQ(testing::bytes_of(residual), testing::bytes_of(out));
}

TEST_P(MoeCombineTest, ThreadsAndTokensDoNotChangeBits) {
  Random random(3);
  const int64_t tokens = 50, top_k = 3, dim = 5001;
  const auto y = random.normals(tokens * top_k * dim), w = random.normals(tokens * top_k);
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const ops::MoeCombineArgs args{.y = testing::make_buffer(device, f32, {tokens, top_k, dim}, y),
                                   .weights = testing::make_buffer(device, f32, {tokens, top_k}, w),
                                   .out = device.alloc(f32, {tokens, dim})};
    ops::MoeCombineArgs last = args;
    last.y = args.y.rows(tokens - 1, 1);
    last.weights = args.weights.rows(tokens - 1, 1);
    last.out = device.alloc(f32, {1, dim});
    ops::moe_combine(stream, args);
    ops::moe_combine(stream, last);
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(args.out);
    EXPECT_EQ(testing::bytes_of(args.out), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(args.out.rows(tokens - 1, 1)), testing::bytes_of(last.out));
  }
}

TEST_P(MoeCombineTest, NanOfOneExpertReachesItsElementsOnly) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  std::vector<float> values(2 * 40, 1.0f);
  values[40 + 39] = NAN;
  const ops::MoeCombineArgs args{
      .y = testing::make_buffer(device, f32, {1, 2, 40}, values),
      .weights = testing::make_buffer(device, f32, {1, 2}, std::vector<float>{0.5f, 0.5f}),
      .out = device.alloc(f32, {1, 40})};
  ops::moe_combine(stream, args);
  stream.commit().wait();
  const auto found = args.out.span<float>();
  EXPECT_EQ(found[38], 1.0f);
  EXPECT_TRUE(std::isnan(found[39]));
}

TEST_P(MoeCombineTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(4);
  const ops::MoeCombineArgs args{.y = random_buffer(device, f32, {30, 3, 513}, random),
                                 .weights = random_buffer(device, f32, {30, 3}, random),
                                 .shared = random_buffer(device, f32, {30, 513}, random),
                                 .shared_gate = random_buffer(device, f32, {30}, random),
                                 .residual = random_buffer(device, f32, {30, 513}, random),
                                 .out = device.alloc(f32, {30, 513})};
  testing::expect_repeatable(device, [&](Stream& stream) { ops::moe_combine(stream, args); },
                             {args.out});
}

TEST(MoeCombineErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const ops::MoeCombineArgs good{.y = device.alloc(f32, {4, 2, 8}),
                                 .weights = device.alloc(f32, {4, 2}),
                                 .shared = device.alloc(f32, {4, 8}),
                                 .shared_gate = device.alloc(f32, {4}),
                                 .residual = device.alloc(f32, {4, 8}),
                                 .out = device.alloc(f32, {4, 8})};
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::MoeCombineArgs bad = good;
    change(bad);
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::moe_combine(stream, bad); });
  };
  expect({"moe_combine: y:", "empty"}, [](auto& a) { a.y = {}; });
  expect({"y:", "[T, top_k, D]"}, [](auto& a) { a.y = a.y.reshape({8, 8}); });
  expect({"weights:", "7"}, [&](auto& a) { a.weights = device.alloc(f32, {7}); });
  expect({"weights:", "bf16"}, [&](auto& a) { a.weights = device.alloc(bf16, {4, 2}); });
  expect({"shared:", "[3, 8]"}, [&](auto& a) { a.shared = device.alloc(f32, {3, 8}); });
  expect({"shared_gate:", "3"}, [&](auto& a) { a.shared_gate = device.alloc(f32, {3}); });
  expect({"shared_gate:", "shared"}, [](auto& a) { a.shared = {}; });
  expect({"residual:", "f16"}, [&](auto& a) { a.residual = device.alloc(f16, {4, 8}); });
  expect({"out:", "[4, 7]"}, [&](auto& a) { a.out = device.alloc(f32, {4, 7}); });
  expect({"out:", "overlap", "y"}, [](auto& a) { a.out = a.y.slice(0, 32).reshape({4, 8}); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::moe_combine(stream, good);
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
  EXPECT_EQ(stream.counters().barriers, 0u);
}

}  // namespace
}  // namespace mlxn
