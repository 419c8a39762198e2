// SPDX-License-Identifier: Apache-2.0
// Graphs that join norms with the elementwise ops around them: the same bits from fewer dispatches.
#include <functional>

#include "kernels/common/test_kit.h"
#include "mlxn/ops/elementwise.h"
#include "mlxn/ops/rms_norm.h"

namespace mlxn {
namespace {

using testing::bytes_of;
using testing::Random;
using testing::random_buffer;

constexpr float kEps = 1e-6f;
const Shape kShape = {5, 257};

class Fusion : public ::testing::Test {
 protected:
  Buffer fresh(DType dtype = f32) { return random_buffer(device_, dtype, kShape, random_); }

  // Records once as it is and once with GraphOptions::fuse; expects the same bytes in `outputs`,
  // and `fused` dispatches to be gone. What the work reads is put back in between.
  void expect_fused(size_t fused, const std::function<void(Stream&)>& record,
                    const std::vector<Buffer>& operands, const std::vector<Buffer>& temporaries,
                    const std::vector<Buffer>& outputs) {
    std::vector<std::vector<std::byte>> before, expected;
    for (const Buffer& b : operands) before.push_back(bytes_of(b));
    for (const bool fuse : {false, true}) {
      for (size_t i = 0; i < operands.size(); ++i) {
        std::memcpy(operands[i].data(), before[i].data(), before[i].size());
      }
      stream_.begin_capture();
      record(stream_);
      const Graph graph = stream_.end_capture({.fuse = fuse, .temporaries = temporaries});
      EXPECT_EQ(graph.stats().fused, fuse ? fused : 0u);
      stream_.replay(graph);
      stream_.commit().wait();
      std::vector<std::vector<std::byte>> found;
      for (const Buffer& b : outputs) found.push_back(bytes_of(b));
      if (!fuse) expected = found;
      EXPECT_TRUE(found == expected);
    }
  }

  Device device_ = testing::test_device();
  Stream stream_{device_};
  Random random_{11};
  Buffer x_ = fresh(), s_ = fresh(), t_ = device_.alloc(f32, kShape),
         y_ = device_.alloc(f32, kShape);
  Buffer weight_ = random_buffer(device_, f32, {257}, random_);

  void norm(Stream& stream, const Buffer& x, const Buffer& out) {
    ops::rms_norm(stream, {.x = x, .weight = weight_, .out = out, .eps = kEps});
  }
};

TEST_F(Fusion, NormThenMulAddOrScale) {
  expect_fused(1,
               [&](Stream& s) {
                 norm(s, x_, t_);
                 ops::mul(s, {.a = t_, .b = s_, .out = y_});
               },
               {x_, s_}, {t_}, {y_});
  expect_fused(1,
               [&](Stream& s) {
                 norm(s, x_, t_);
                 s.barrier();
                 ops::add(s, {.a = s_, .b = t_, .out = s_});
               },
               {x_, s_}, {t_}, {s_});
  expect_fused(1,
               [&](Stream& s) {
                 norm(s, x_, t_);
                 ops::scale(s, {.x = t_, .out = y_, .factor = 0.37f});
               },
               {x_}, {t_}, {y_});
}

TEST_F(Fusion, ResultsThatAreOverwrittenNeedNoTemporaries) {
  expect_fused(1,
               [&](Stream& s) {
                 norm(s, x_, t_);
                 ops::mul(s, {.a = t_, .b = s_, .out = t_});
               },
               {x_, s_}, {}, {t_});
  expect_fused(2,
               [&](Stream& s) {
                 norm(s, x_, x_);
                 ops::mul(s, {.a = s_, .b = x_, .out = x_});
                 ops::scale(s, {.x = x_, .out = x_, .factor = -3.0f});
               },
               {x_, s_}, {}, {x_});
}

TEST_F(Fusion, AddThenNorm) {
  expect_fused(1,
               [&](Stream& s) {
                 ops::add(s, {.a = x_, .b = s_, .out = t_});
                 norm(s, t_, y_);
               },
               {x_, s_}, {}, {t_, y_});
  expect_fused(1,
               [&](Stream& s) {
                 ops::add(s, {.a = x_, .b = s_, .out = x_});
                 norm(s, x_, y_);
               },
               {x_, s_}, {}, {x_, y_});
  expect_fused(1,
               [&](Stream& s) {
                 ops::add(s, {.a = x_, .b = s_, .out = t_});
                 norm(s, t_, t_);
               },
               {x_, s_}, {}, {t_});
}

TEST_F(Fusion, AWholeChainBecomesOneDispatch) {
  const Buffer z = fresh();
  expect_fused(4,
               [&](Stream& s) {
                 ops::add(s, {.a = x_, .b = s_, .out = x_});
                 norm(s, x_, t_);
                 ops::mul(s, {.a = t_, .b = z, .out = t_});
                 ops::add(s, {.a = t_, .b = s_, .out = t_});
                 ops::scale(s, {.x = t_, .out = t_, .factor = 0.5f});
               },
               {x_, s_, z}, {}, {x_, t_});
}

TEST_F(Fusion, LeavesAloneWhatWouldChangeBitsOrMemory) {
  const auto none = [&](const std::function<void(Stream&)>& record,
                        const std::vector<Buffer>& temporaries = {}) {
    expect_fused(0, record, {x_, s_}, temporaries, {x_, s_, t_, y_});
  };
  none([&](Stream& s) {  // t_ may be read outside
    norm(s, x_, t_);
    ops::mul(s, {.a = t_, .b = s_, .out = y_});
  });
  none(
      [&](Stream& s) {  // the factor is the norm itself
        norm(s, x_, t_);
        ops::mul(s, {.a = t_, .b = t_, .out = y_});
      },
      {t_});
  none(
      [&](Stream& s) {  // another view of the norm
        norm(s, x_, t_);
        ops::mul(s, {.a = t_.rows(0, 2), .b = s_.rows(0, 2), .out = y_.rows(0, 2)});
      },
      {t_});
  none(
      [&](Stream& s) {  // read once more
        norm(s, x_, t_);
        ops::mul(s, {.a = t_, .b = s_, .out = y_});
        ops::scale(s, {.x = t_, .out = x_, .factor = 2.0f});
      },
      {t_});
  none(
      [&](Stream& s) {  // something in between
        norm(s, x_, t_);
        ops::scale(s, {.x = s_, .out = s_, .factor = 2.0f});
        ops::mul(s, {.a = t_, .b = s_, .out = y_});
      },
      {t_});
  none(
      [&](Stream& s) {  // softcap is none of them
        norm(s, x_, t_);
        ops::softcap(s, {.x = t_, .out = y_, .cap = 3.0f});
      },
      {t_});
}

TEST_F(Fusion, SixteenBitsRoundTwiceAndStayApart) {
  for (const DType dtype : {f16, bf16}) {
    const Buffer x = fresh(dtype), s = fresh(dtype), t = device_.alloc(dtype, kShape);
    expect_fused(0,
                 [&](Stream& stream) {
                   norm(stream, x, t);
                   ops::mul(stream, {.a = t, .b = s, .out = t});
                 },
                 {x, s}, {t}, {t});
  }
}

TEST_F(Fusion, GoesWithReordering) {
  const Buffer z = fresh(), u = device_.alloc(f32, kShape);
  stream_.begin_capture();
  norm(stream_, x_, t_);
  ops::mul(stream_, {.a = t_, .b = s_, .out = t_});
  ops::scale(stream_, {.x = t_, .out = y_, .factor = 2.0f});  // joined, t_ is a temporary
  ops::softcap(stream_, {.x = y_, .out = y_, .cap = 5.0f});
  ops::softcap(stream_, {.x = z, .out = u, .cap = 5.0f});  // independent
  const Graph graph = stream_.end_capture({.fuse = true, .reorder = true, .temporaries = {t_}});
  EXPECT_EQ(graph.dispatch_count(), 3u);
  EXPECT_EQ(graph.barrier_count(), 1u);
  EXPECT_EQ(graph.stats().fused, 2u);
  EXPECT_EQ(graph.stats().moved, 2u);
  stream_.replay(graph);
  stream_.commit().wait();
  const std::vector<std::byte> found = bytes_of(y_), found_u = bytes_of(u);
  norm(stream_, x_, t_);
  ops::mul(stream_, {.a = t_, .b = s_, .out = t_});
  ops::scale(stream_, {.x = t_, .out = y_, .factor = 2.0f});
  ops::softcap(stream_, {.x = y_, .out = y_, .cap = 5.0f});
  ops::softcap(stream_, {.x = z, .out = u, .cap = 5.0f});
  stream_.commit().wait();
  EXPECT_EQ(bytes_of(y_), found);
  EXPECT_EQ(bytes_of(u), found_u);
}

}  // namespace
}  // namespace mlxn
