// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>

#include <limits>

#include "kernels/dequantize/test_weights.h"
#include "kernels/embed/reference.h"
#include "mlxn/ops/embed.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;
using testing::WeightKind;

class EmbedTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, EmbedTest,
                         ::testing::ValuesIn(testing::runnable(kernels::embed_entries())));

// Exact for scale 1; else the one rounding of the product with the scale. Then the store's.
void expect_oracle(const Device& device, const Weight& table, const std::vector<int32_t>& ids,
                   float scale, DType dtype, const std::string& what) {
  Stream stream(device);
  const auto count = static_cast<int64_t>(ids.size());
  const Buffer id_buffer = testing::offset_buffer(device, i32, {count});
  std::copy(ids.begin(), ids.end(), id_buffer.span<int32_t>().begin());
  const GuardedBuffer out(device, dtype, {count, table.cols()});
  ops::embed(stream, {.table = table, .ids = id_buffer, .out = out.view(), .scale = scale});
  stream.commit().wait();
  const auto expected = kernels::embed_reference(
      {quant::view_of(table), ids.data(), nullptr, count, DType::kF32, scale});
  testing::expect_close(
      testing::to_floats(out.view()), expected,
      [&](size_t i) {
        const double product = scale == 1.0f ? 0.0 : 0x1p-24 * std::abs(expected[i]);
        return product + testing::store_tolerance(dtype, expected[i]) + 1e-45;
      },
      what + " to " + std::string(name(dtype)) + " scale " + std::to_string(scale));
  out.check();
}

TEST_P(EmbedTest, EveryFormatMatchesOracle) {
  const Device device = test_device(GetParam());
  Random random(1);
  const std::vector<int32_t> ids = {3,
                                    0,
                                    6,
                                    6,
                                    -1,
                                    7,
                                    1,
                                    std::numeric_limits<int32_t>::max(),
                                    std::numeric_limits<int32_t>::min(),
                                    5};
  for (const WeightKind& kind : testing::weight_kinds()) {
    const Weight table = testing::random_weight(device, kind, {7, 2 * kind.unit()}, random);
    for (const DType dtype : {f32, f16, bf16}) {
      for (const float scale : {1.0f, 22.627417f, -0.5f}) {
        expect_oracle(device, table, ids, scale, dtype, kind.text());
      }
    }
  }
}

TEST_P(EmbedTest, ShapesOfDenseTables) {
  const Device device = test_device(GetParam());
  Random random(2);
  for (const int64_t dim : {1, 2, 31, 33, 64, 127, 257, 4096, 8193}) {
    for (const int64_t count : {1, 2, 7}) {
      std::vector<int32_t> ids;
      for (int64_t t = 0; t < count; ++t) ids.push_back(static_cast<int32_t>(random.integer(0, 4)));
      for (const Format format : {Format::kF32, Format::kF16, Format::kBF16}) {
        expect_oracle(device, testing::random_weight(device, {format}, {5, dim}, random), ids, 3.0f,
                      f32, std::string(name(format)) + " " + std::to_string(dim));
      }
    }
  }
}

TEST_P(EmbedTest, IdsOutsideTheTableGiveZerosAndReadNothing) {
  // A table of NaN around the rows in the view: a read outside shows.
  const Device device = test_device(GetParam());
  const std::vector<float> poison(12 * 32, NAN);
  const Buffer whole = testing::make_buffer(device, f32, {12, 32}, poison);
  Weight table;
  table.shape = {4, 32};
  table.data = whole.rows(4, 4);
  const Buffer out = testing::make_buffer(device, f32, {4, 32}, std::vector<float>(4 * 32, NAN));
  Stream stream(device);
  ops::embed(stream,
             {.table = table, .ids = testing::make_i32(device, {-1, 4, -4, 7}), .out = out});
  stream.commit().wait();
  for (const float value : out.span<float>()) EXPECT_EQ(value, 0.0f);
}

TEST_P(EmbedTest, SpecialValuesPass) {
  const Device device = test_device(GetParam());
  Random random(3);
  for (const WeightKind& kind : testing::weight_kinds()) {
    const Weight table = testing::random_bytes_weight(device, kind, {9, 2 * kind.unit()}, random);
    std::vector<float> expected(static_cast<size_t>(table.cols()) * 9);
    for (int64_t row = 0; row < 9; ++row) {
      quant::decode_weight_row(table, row, expected.data() + row * table.cols());
    }
    const Buffer out = device.alloc(f32, table.shape);
    Stream stream(device);
    ops::embed(stream, {.table = table,
                        .ids = testing::make_i32(device, {0, 1, 2, 3, 4, 5, 6, 7, 8}),
                        .out = out});
    stream.commit().wait();
    testing::expect_same_floats(testing::to_floats(out), expected, kind.text());
  }
}

TEST_P(EmbedTest, ThreadsAndRowsDoNotChangeBits) {
  const int64_t count = 2003, dim = 64;
  std::vector<std::byte> expected;
  for (const int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Random random(4);
    const Weight table =
        testing::random_weight(device, {Format::kAffine, 4, 64, bf16}, {50, dim}, random);
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < count; ++t) ids.push_back(static_cast<int32_t>(random.integer(0, 49)));
    const Buffer id_buffer = testing::make_i32(device, ids);
    const Buffer out = device.alloc(f32, {count, dim}), one = device.alloc(f32, {1, dim});
    Stream stream(device);
    ops::embed(stream, {.table = table, .ids = id_buffer, .out = out, .scale = 1.7f});
    ops::embed(stream,
               {.table = table, .ids = id_buffer.rows(count - 1, 1), .out = one, .scale = 1.7f});
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(out);
    EXPECT_EQ(testing::bytes_of(out), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(out.rows(count - 1, 1)), testing::bytes_of(one));
  }
}

TEST_P(EmbedTest, AReplayReadsTheIdsOfItsTime) {
  const Device device = test_device(GetParam());
  Random random(5);
  const Weight table = testing::random_weight(device, {Format::kQ8_0}, {6, 64}, random);
  const Buffer ids = testing::make_i32(device, {0, 0});
  const Buffer out = device.alloc(f32, {2, 64});
  Stream stream(device);
  stream.begin_capture();
  ops::embed(stream, {.table = table, .ids = ids, .out = out});
  const Graph graph = stream.end_capture();
  for (const int32_t id : {5, 2}) {
    ids.span<int32_t>()[1] = id;
    stream.replay(graph);
    stream.commit().wait();
    std::vector<float> expected(64);
    quant::decode_weight_row(table, id, expected.data());
    testing::expect_same_floats(testing::to_floats(out.rows(1, 1)), expected, "replay");
  }
}

TEST_P(EmbedTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(7);
  const Weight table =
      testing::random_weight(device, {Format::kAffine, 4, 64, f16}, {30, 256}, random);
  const Buffer ids = testing::make_i32(device, {29, 0, -1, 7, 7, 30, 12});
  const Buffer out = device.alloc(bf16, {7, 256});
  testing::expect_repeatable(device,
                             [&](Stream& stream) {
                               ops::embed(stream,
                                          {.table = table, .ids = ids, .out = out, .scale = 1.7f});
                             },
                             {out});
}

TEST_P(EmbedTest, UnsignedIdsGiveTheSameRows) {
  const Device device = test_device(GetParam());
  Random random(8);
  const Weight table = testing::random_weight(device, {Format::kQ8_0}, {6, 64}, random);
  const std::vector<uint32_t> ids = {5, 0, 6, 1u << 31, 0xffffffffu, 3};
  const Buffer out = device.alloc(f32, {6, 64}), expected = device.alloc(f32, {6, 64});
  Stream stream(device);
  ops::embed(stream, {.table = table, .ids = device.upload(ids.data(), u32, {6}), .out = out});
  ops::embed(
      stream,
      {.table = table, .ids = testing::make_i32(device, {5, 0, -1, -1, -1, 3}), .out = expected});
  stream.commit().wait();
  EXPECT_EQ(testing::bytes_of(out), testing::bytes_of(expected));
}

TEST_P(EmbedTest, TableBeyondFourGigabytes) {
  // Address space only: no page but the last row's is ever touched.
  const int64_t rows = 1 << 20, dim = 2112;
  const size_t bytes = static_cast<size_t>(rows * dim) * 2;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "no address space for " << bytes << " bytes";
  const std::shared_ptr<void> owner(memory, [bytes](void* p) { munmap(p, bytes); });
  BF16* last = static_cast<BF16*>(memory) + (rows - 1) * dim;
  for (int64_t i = 0; i < dim; ++i) last[i] = to_bf16(static_cast<float>(i % 100 + 1));

  const Device device = test_device(GetParam());
  Weight table;
  table.format = Format::kBF16;
  table.shape = {rows, dim};
  table.data = device.wrap(memory, bytes, bf16, {rows, dim}, owner);
  const Buffer out = device.alloc(f32, {1, dim});
  Stream stream(device);
  ops::embed(stream, {.table = table,
                      .ids = testing::make_i32(device, {static_cast<int32_t>(rows - 1)}),
                      .out = out});
  stream.commit().wait();
  for (int64_t i = 0; i < dim; ++i) {
    ASSERT_EQ(out.span<float>()[static_cast<size_t>(i)], static_cast<float>(i % 100 + 1));
  }
}

TEST(EmbedErrors, EachRuleNamesItsParameter) {
  const Device device = test_device(), other = test_device();
  Stream stream(device);
  Random random(6);
  const WeightKind kind{Format::kAffine, 4, 32, f16};
  const Weight table = testing::random_weight(device, kind, {4, 64}, random);
  const Buffer ids = device.alloc(i32, {3}), out = device.alloc(f32, {3, 64});
  const auto expect = [&](const std::vector<std::string>& fragments, const ops::EmbedArgs& args) {
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::embed(stream, args); });
  };
  expect({"embed", "table", "shape"}, {.table = {}, .ids = ids, .out = out});
  Weight bad_bits = table;
  bad_bits.bits = 9;
  expect({"table", "bits", "9"}, {.table = bad_bits, .ids = ids, .out = out});
  Weight bad_group = table;
  bad_group.group_size = 0;
  expect({"table", "group_size", "0"}, {.table = bad_group, .ids = ids, .out = out});
  Weight bad_length = table;
  bad_length.shape = {4, 48};
  expect({"table", "row length", "48"}, {.table = bad_length, .ids = ids, .out = out});
  Weight too_many_rows = table;
  too_many_rows.shape = {5, 64};
  expect({"table", "data"}, {.table = too_many_rows, .ids = ids, .out = out});
  expect(
      {"table", "[2, 2, 64]"},
      {.table = testing::random_weight(device, kind, {2, 2, 64}, random), .ids = ids, .out = out});
  expect({"table", "device"},
         {.table = testing::random_weight(other, kind, {4, 64}, random), .ids = ids, .out = out});
  expect({"ids"}, {.table = table, .ids = {}, .out = out});
  expect({"ids", "f32"}, {.table = table, .ids = device.alloc(f32, {3}), .out = out});
  expect({"ids", "device"}, {.table = table, .ids = other.alloc(i32, {3}), .out = out});
  expect({"out"}, {.table = table, .ids = ids, .out = {}});
  expect({"out", "u8"}, {.table = table, .ids = ids, .out = device.alloc(u8, {3, 64})});
  expect({"out", "[2, 64]", "[3, 64]"},
         {.table = table, .ids = ids, .out = device.alloc(f32, {2, 64})});
  expect({"out", "[3, 32]"}, {.table = table, .ids = ids, .out = device.alloc(f32, {3, 32})});
  expect({"scale"}, {.table = table, .ids = ids, .out = out, .scale = NAN});
  expect({"scale"}, {.table = table, .ids = ids, .out = out, .scale = INFINITY});
  const Buffer shared = device.alloc(f32, {8, 64});
  Weight dense;
  dense.shape = {4, 64};
  dense.data = shared.rows(0, 4);
  expect({"out", "overlap", "table"}, {.table = dense, .ids = ids, .out = shared.rows(3, 3)});
  expect({"out", "overlap", "ids"},
         {.table = table, .ids = out.rows(2, 1).view_as(i32, {3}), .out = out});

  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::embed(stream, {.table = table, .ids = ids, .out = out});
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
}

}  // namespace
}  // namespace mlxn
