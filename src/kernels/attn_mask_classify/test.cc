// SPDX-License-Identifier: Apache-2.0
#include "kernels/attn_mask_classify/reference.h"
#include "kernels/common/test_kit.h"
#include "mlxn/ops/attention_mask.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

class AttnMaskClassifyTest : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = test_device(GetParam());
  Stream stream_{device_};

  Buffer built(DType dtype, int64_t len, std::optional<int64_t> window_size, bool causal = true) {
    const Buffer mask = device_.alloc(dtype, {len, len});
    ops::attn_mask_build(stream_, {.out = mask, .causal = causal, .window_size = window_size});
    stream_.commit().wait();
    return mask;
  }
  Buffer filled(DType dtype, const Shape& shape, float value) {
    const std::vector<float> values(static_cast<size_t>(testing::count_of(shape)), value);
    return testing::make_buffer(device_, dtype, shape, values);
  }
  Buffer as_bool(const Buffer& mask) {
    const Buffer result = device_.alloc(u8, mask.shape());
    const auto cells = testing::to_floats(mask);
    for (size_t i = 0; i < cells.size(); ++i)
      result.span<uint8_t>()[i] = cells[i] == 0.0f ? 255 : 0;
    return result;
  }
  // The classes; every tile is compared with the oracle.
  std::vector<uint8_t> expect_oracle(const Buffer& mask, int64_t q_tile, int64_t k_tile,
                                     const std::string& what) {
    const size_t rank = mask.rank();
    kernels::AttnMaskClassifyParams p{.mask = mask.data(),
                                      .classes = nullptr,
                                      .planes = rank == 4 ? mask.dim(0) * mask.dim(1) : 1,
                                      .q_len = mask.dim(rank - 2),
                                      .k_len = mask.dim(rank - 1),
                                      .q_tile = q_tile,
                                      .k_tile = k_tile,
                                      .dtype = mask.dtype()};
    Shape shape = mask.shape();
    shape[rank - 2] = p.q_tiles();
    shape[rank - 1] = p.k_tiles();
    const GuardedBuffer classes(device_, u8, shape);
    ops::attn_mask_classify(
        stream_,
        {.mask = mask, .tiles = {.classes = classes.view(), .q_tile = q_tile, .k_tile = k_tile}});
    stream_.commit().wait();
    classes.check();
    const auto found = classes.view().span<uint8_t>();
    size_t at = 0;
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      for (int64_t qt = 0; qt < p.q_tiles(); ++qt) {
        for (int64_t kt = 0; kt < p.k_tiles(); ++kt, ++at) {
          const int expected = kernels::attn_mask_class_reference(p, plane, qt, kt);
          EXPECT_EQ(int{found[at]}, expected) << what << " " << plane << " " << qt << " " << kt;
          if (found[at] != expected) return {};
        }
      }
    }
    return {found.begin(), found.end()};
  }
};

INSTANTIATE_TEST_SUITE_P(
    Entries, AttnMaskClassifyTest,
    ::testing::ValuesIn(testing::runnable(kernels::attn_mask_classify_entries())));

TEST_P(AttnMaskClassifyTest, EveryTileShapeAndMask) {  // M2
  const std::vector<std::pair<int64_t, int64_t>> tiles = {{32, 16},   {8, 64}, {64, 64},
                                                          {128, 128}, {1, 1},  {33, 7}};
  Random random(2);
  uint32_t turn = 0;
  for (int64_t len : testing::unless_short<int64_t>({64, 65, 100, 512}, {64, 65, 100})) {
    std::vector<std::pair<std::string, Buffer>> masks;
    for (DType dtype : {f32, f16, bf16}) {
      const std::string type(name(dtype));
      masks.emplace_back(type + " causal", built(dtype, len, {}));
      for (int64_t window : {1, 31, 64, 100}) {
        masks.emplace_back(type + " window " + std::to_string(window), built(dtype, len, window));
      }
      masks.emplace_back(type + " zeros", filled(dtype, {len, len}, 0.0f));
      masks.emplace_back(type + " -inf", filled(dtype, {len, len}, -INFINITY));
      masks.emplace_back(type + " sentinel",
                         filled(dtype, {len, len}, dtype == f16 ? -65504.0f : -1e30f));
      masks.emplace_back(type + " bias", filled(dtype, {len, len}, dtype == f16 ? -6e4f : -9e29f));
      // One zero in the last column of a tile, and one -infinity.
      for (float value : {0.0f, -INFINITY}) {
        const Buffer mask = filled(dtype, {len, len}, value == 0.0f ? -INFINITY : 0.0f);
        kernels::store_f32(dtype, &value, 1, mask.data(), 5 * len + 63);
        masks.emplace_back(type + " one cell", mask);
      }
      const Buffer mask = filled(dtype, {len, len}, 0.0f);
      for (int64_t i = 0; i < len * len; ++i) {
        const float cell = random.integer(0, 1) ? -INFINITY : -0.0f;
        kernels::store_f32(dtype, &cell, 1, mask.data(), i);
      }
      masks.emplace_back(type + " random", mask);
    }
    for (const auto& [what, mask] : masks) {
      for (const auto& [q_tile, k_tile] : tiles) {
        // Every mask meets every tile shape over the lengths; the emulator takes a part.
        if (testing::is_short() && ++turn % 7 != 0) continue;
        expect_oracle(mask, q_tile, k_tile, what);
        expect_oracle(as_bool(mask), q_tile, k_tile, "bool of " + what);
      }
    }
  }
}

TEST_P(AttnMaskClassifyTest, CausalExample) {  // M3
  const auto classes = expect_oracle(built(bf16, 64, {}), 32, 16, "causal 64");
  EXPECT_EQ(classes, (std::vector<uint8_t>{1, 1, 0, 0, 2, 2, 1, 1}));
}

// Of 8 x 16 tiles, query tile r > 0 has tiles 2r - 2 and 2r - 1 free and, from r = 2 on, four that
// its window or its diagonal cuts; tiles 0 and 1 have two on the diagonal. The end of the mask cuts
// the last key tile, which is on the diagonal of the last query tile.
TEST_P(AttnMaskClassifyTest, CountsOfAShortWindow) {
  const auto classes = expect_oracle(built(bf16, 250, 64), 32, 16, "window 64");
  EXPECT_EQ(std::count(classes.begin(), classes.end(), 0), 8 * 16 - 14 - 28 - 7);
  EXPECT_EQ(std::count(classes.begin(), classes.end(), 1), 2 + 2 + 6 * 4 + 7);
  EXPECT_EQ(std::count(classes.begin(), classes.end(), 2), 7 * 2);
}

TEST_P(AttnMaskClassifyTest, CountsOfALongWindow) {  // M4
  if (testing::is_short()) GTEST_SKIP() << "six million cells";
  const auto classes = expect_oracle(built(bf16, 2455, 1024), 32, 16, "window 1024");
  EXPECT_EQ(std::count(classes.begin(), classes.end(), 0), 7756);
  EXPECT_EQ(std::count(classes.begin(), classes.end(), 1), 320);
  EXPECT_EQ(std::count(classes.begin(), classes.end(), 2), 3782);
}

TEST_P(AttnMaskClassifyTest, PlanesOfTheirOwn) {
  Random random(5);
  const Buffer mask = device_.alloc(f16, {2, 3, 40, 130});
  for (int64_t plane = 0; plane < 6; ++plane) {
    for (int64_t i = 0; i < 40 * 130; ++i) {
      const bool blocked = plane % 3 == 0   ? i % 130 < 70
                           : plane % 3 == 1 ? i / 130 > 31
                                            : random.integer(0, 200) == 0;
      const float cell = blocked ? -INFINITY : 0.0f;
      kernels::store_f32(f16, &cell, 1, mask.data(), plane * 40 * 130 + i);
    }
  }
  const auto classes = expect_oracle(mask, ops::kAttnMaskQTile, ops::kAttnMaskKTile, "planes");
  for (uint8_t value : {0, 1, 2}) {
    EXPECT_NE(std::count(classes.begin(), classes.end(), value), 0) << int{value};
  }
}

TEST_P(AttnMaskClassifyTest, DirectCapturedAndReplayedAgree) {
  const Buffer mask = built(f16, 130, 40), classes = device_.alloc(u8, {5, 3});
  testing::expect_repeatable(
      device_,
      [&](Stream& stream) {
        ops::attn_mask_classify(
            stream, {.mask = mask, .tiles = {.classes = classes, .q_tile = 32, .k_tile = 64}});
      },
      {classes});
}

TEST(AttnMaskClassifyErrors, EachRuleNamesItsParameter) {  // M6
  const Device device = test_device();
  Stream stream(device);
  using Args = ops::AttnMaskClassifyArgs;
  const Args good{.mask = device.alloc(bf16, {40, 100}),
                  .tiles = {.classes = device.alloc(u8, {2, 2}), .q_tile = 32, .k_tile = 64}};
  const auto expect = [&](const std::vector<std::string>& fragments, const auto& change) {
    Args args = good;
    change(args);
    auto all = fragments;
    all.push_back("attn_mask_classify");
    expect_error(ErrorKind::kInvalidArgument, all, [&] { ops::attn_mask_classify(stream, args); });
  };
  const auto claim = [&](const Buffer& b, const Shape& shape) {
    return Buffer(b.allocation(), 0, b.byte_len(), b.dtype(), shape);
  };
  expect({"mask", "empty"}, [](Args& a) { a.mask = Buffer(); });
  expect({"mask", "i32"}, [&](Args& a) { a.mask = device.alloc(DType::kI32, {40, 100}); });
  expect({"mask", "2 or 4 extents"}, [](Args& a) { a.mask = a.mask.reshape({1, 40, 100}); });
  expect({"mask", "bytes"}, [&](Args& a) { a.mask = claim(a.mask, {41, 100}); });
  expect({"mask", "extents"}, [&](Args& a) { a.mask = claim(a.mask, {0, 100}); });
  expect({"q_tile", "0"}, [](Args& a) { a.tiles.q_tile = 0; });
  expect({"k_tile", "-1"}, [](Args& a) { a.tiles.k_tile = -1; });
  expect({"classes", "empty"}, [](Args& a) { a.tiles.classes = Buffer(); });
  expect({"classes", "[2, 2]", "[5, 2]"}, [](Args& a) { a.tiles.q_tile = 8; });
  expect({"classes", "f32"}, [&](Args& a) { a.tiles.classes = device.alloc(f32, {2, 2}); });
  expect({"classes", "overlap"}, [&](Args& a) { a.tiles.classes = a.mask.view_as(u8, {2, 2}); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_mask_classify(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
