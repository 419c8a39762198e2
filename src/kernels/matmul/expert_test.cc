// SPDX-License-Identifier: Apache-2.0
#include "kernels/matmul/reference.h"
#include "kernels/matmul/test_cases.h"
#include "mlxn/ops/matmul.h"

namespace mlxn {
namespace {

using testing::bytes_of;
using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::random_weight;
using testing::test_device;
using testing::WeightKind;

// Expert e of a stack as a weight of its own.
Weight expert_of(const Weight& stack, int64_t e) {
  Weight w = stack;
  w.shape = {stack.rows(), stack.cols()};
  const auto part = [&](const Buffer& buffer) {
    if (!buffer) return buffer;
    Shape shape = buffer.shape();
    const Buffer one = buffer.rows(e, 1);
    shape.erase(shape.begin());
    return one.reshape(shape);
  };
  w.data = part(stack.data);
  w.scales = part(stack.scales);
  w.biases = part(stack.biases);
  return w;
}

Buffer make_ids(const Device& device, int64_t tokens, int64_t top_k,
                const std::vector<uint32_t>& ids) {
  return device.upload(ids.data(), u32, {tokens, top_k});
}

std::vector<uint32_t> random_ids(int64_t count, int64_t experts, Random& random) {
  std::vector<uint32_t> ids(static_cast<size_t>(count));
  for (uint32_t& id : ids) id = static_cast<uint32_t>(random.integer(0, experts - 1));
  return ids;
}

class ExpertMatmulTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::vector<WeightKind> kinds() const {
    if (GetParam() == "avx512_vnni" || GetParam() == "mma") return testing::coded_kinds();
    auto all = testing::coded_kinds();
    for (Format format : {Format::kF32, Format::kF16, Format::kBF16}) all.push_back({format});
    return all;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, ExpertMatmulTest,
                         ::testing::ValuesIn(testing::runnable(kernels::expert_matmul_entries())));

// Each row must be what matmul makes of it, to the bit; matmul has its own oracle tests.
TEST_P(ExpertMatmulTest, EqualsMatmulOnTheExpert) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(11);
  int turn = 0;
  for (const WeightKind& kind : kinds()) {
    for (int64_t tokens : {1, 8, 9, 32, 33, 128}) {
      const std::vector<int64_t> expert_counts = {2, 3, 5, 8, 31, 60, 64};
      const std::vector<int64_t> top_ks = {1, 2, 6, 8};
      ++turn;
      const int64_t experts = expert_counts[static_cast<size_t>(turn) % 7];
      const int64_t top_k = top_ks[static_cast<size_t>(turn) % 4];
      const bool per_slot = turn % 3 == 0;
      const int64_t n = 21, k = kind.block() <= 32 ? 96 : kind.block();
      const Weight stack = random_weight(device, kind, {experts, n, k}, random);
      const DType dtype = turn % 2 == 0 ? f32 : bf16;
      const Buffer x = random_buffer(device, dtype,
                                     per_slot ? Shape{tokens, top_k, k} : Shape{tokens, k}, random);
      auto ids = random_ids(tokens * top_k, experts, random);
      ids.back() = static_cast<uint32_t>(experts);
      if (tokens > 8) ids[3] = 0xffffffffu;
      const GuardedBuffer out(device, dtype, {tokens, top_k, n});
      ops::expert_matmul(stream, {.x = x,
                                  .weight = stack,
                                  .ids = make_ids(device, tokens, top_k, ids),
                                  .out = out.view(),
                                  .per_slot_input = per_slot});
      const Buffer x_rows = x.reshape({per_slot ? tokens * top_k : tokens, k});
      const Buffer out_rows = out.view().reshape({tokens * top_k, n});
      const Buffer expected = device.alloc(dtype, {tokens * top_k, n});
      for (int64_t row = 0; row < tokens * top_k; ++row) {
        const int64_t id = ids[static_cast<size_t>(row)];
        if (id >= experts) continue;  // stays zero
        ops::matmul(stream, {.x = x_rows.rows(per_slot ? row : row / top_k, 1),
                             .weight = expert_of(stack, id),
                             .out = expected.rows(row, 1)});
      }
      stream.commit().wait();
      EXPECT_EQ(bytes_of(out_rows), bytes_of(expected))
          << kind.name() << " tokens " << tokens << " experts " << experts << " top_k " << top_k;
      out.check();
    }
  }
}

struct StackCase {
  WeightKind kind;
  int64_t tokens, experts, top_k, n, k;
};

// ops.md 0.4: MM(K) and, where activations become integers or two bf16, the two-digit term. Affine
// scales and biases are dense, so their rounding counts with |w|.
void expect_oracle(Stream& stream, const StackCase& c, Random& random) {
  const Device& device = stream.device();
  const Weight stack = random_weight(device, c.kind, {c.experts, c.n, c.k}, random);
  const Buffer x = random_buffer(device, f32, {c.tokens, c.k}, random);
  auto values = random_ids(c.tokens * c.top_k, c.experts, random);
  if (c.top_k == c.experts) {  // each token asks every expert
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<uint32_t>(i % static_cast<size_t>(c.experts));
    }
  }
  values.back() = static_cast<uint32_t>(c.experts);  // no expert
  const Buffer ids = make_ids(device, c.tokens, c.top_k, values);
  const GuardedBuffer out(device, f32, {c.tokens, c.top_k, c.n});
  ops::expert_matmul(stream, {.x = x, .weight = stack, .ids = ids, .out = out.view()});
  stream.commit().wait();
  const auto r = kernels::matmul_reference({.weight = quant::view_of(stack),
                                            .x = x.data(),
                                            .residual = nullptr,
                                            .out = nullptr,
                                            .ids = ids.span<uint32_t>().data(),
                                            .x_rows = c.tokens,
                                            .out_rows = c.tokens * c.top_k,
                                            .rows_per_x = c.top_k,
                                            .x_dtype = f32,
                                            .out_dtype = f32});
  const bool digits_count = c.kind.block() > 1 && device.options().kernel != "gpu";
  const double k = static_cast<double>(c.k), digits = digits_count ? 0x1p-15 : 0.0;
  testing::expect_close(
      testing::to_floats(out.view()), r.out,
      [&](size_t i) {
        return (8.0 + k / 32.0 + std::log2(k)) * 0x1p-24 * r.magnitude[i] + 1e-6 +
               digits * r.block_term[i];
      },
      c.kind.name() + " tokens " + std::to_string(c.tokens) + " experts " +
          std::to_string(c.experts) + " top_k " + std::to_string(c.top_k));
  out.check();
}

TEST_P(ExpertMatmulTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(12);
  int turn = 0;
  for (const WeightKind& kind : kinds()) {
    const int64_t k = std::max<int64_t>(32, kind.block());
    const std::vector<StackCase> cases = {{kind, 5, 4, 2, 13, 2 * k},
                                          {kind, 32, 64, 8, 3, k},
                                          {kind, 32, 100, 6, 1, k},
                                          {kind, 32, 128, 4, 2, 3 * k},
                                          {kind, 32, 256, 1, 2, k}};
    for (const StackCase& c : cases) expect_oracle(stream, c, random);
    // Every expert of a token.
    const int64_t all[] = {2, 8, 64, 100};
    const int64_t experts = all[++turn % 4];
    expect_oracle(stream, {kind, experts > 8 ? 4 : 32, experts, experts, 2, k}, random);
  }
}

TEST_P(ExpertMatmulTest, ThreadsDoNotChangeBitsAndGraphsFollowIds) {
  Random random(13);
  const WeightKind kind{Format::kAffine, 4, 64, bf16};
  const int64_t tokens = 100, top_k = 2, experts = 7, n = 150, k = 256;
  const auto w_values = random.normals(experts * n * k), x_values = random.normals(tokens * k);
  const auto first_ids = random_ids(tokens * top_k, experts, random);
  const auto second_ids = random_ids(tokens * top_k, experts + 2, random);
  std::vector<std::byte> expected_first, expected_second;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const Weight stack = testing::encode_weight(device, kind, {experts, n, k}, w_values);
    const Buffer x = testing::make_buffer(device, f32, {tokens, k}, x_values);
    const Buffer ids = make_ids(device, tokens, top_k, first_ids);
    const Buffer out = device.alloc(f32, {tokens, top_k, n});
    stream.begin_capture();
    ops::expert_matmul(stream, {.x = x, .weight = stack, .ids = ids, .out = out});
    const Graph graph = stream.end_capture();
    stream.replay(graph);
    stream.commit().wait();
    if (expected_first.empty()) expected_first = bytes_of(out);
    EXPECT_EQ(bytes_of(out), expected_first) << threads;
    std::memcpy(ids.data(), second_ids.data(), ids.byte_len());
    stream.replay(graph);
    stream.commit().wait();
    if (expected_second.empty()) expected_second = bytes_of(out);
    EXPECT_EQ(bytes_of(out), expected_second) << threads;
    EXPECT_NE(expected_first, expected_second);
  }
}

TEST_P(ExpertMatmulTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(17);
  const ops::ExpertMatmulArgs args{
      .x = random_buffer(device, f32, {30, 256}, random),
      .weight = random_weight(device, {Format::kAffine, 4, 64, bf16}, {5, 20, 256}, random),
      .ids = make_ids(device, 30, 2, random_ids(60, 5, random)),
      .out = device.alloc(f32, {30, 2, 20})};
  testing::expect_repeatable(device, [&](Stream& stream) { ops::expert_matmul(stream, args); },
                             {args.out});
}

TEST(MatmulErrors, EachRuleNamesItsParameter) {
  const Device device = test_device(), other = test_device();
  Stream stream(device);
  Random random(14);
  const Weight w = random_weight(device, {Format::kQ4_0}, {6, 64}, random);
  const Buffer x = device.alloc(f32, {4, 64}), out = device.alloc(f32, {4, 6});
  const auto expect = [&](const std::vector<std::string>& fragments, ops::MatmulArgs args) {
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::matmul(stream, args); });
  };
  expect({"matmul", "x", "empty"}, {.x = {}, .weight = w, .out = out});
  expect({"matmul", "weight"}, {.x = x, .weight = {}, .out = out});
  expect({"out", "empty"}, {.x = x, .weight = w, .out = {}});
  expect({"x", "i32"}, {.x = device.alloc(i32, {4, 64}), .weight = w, .out = out});
  expect({"out", "bf16"}, {.x = x, .weight = w, .out = device.alloc(bf16, {4, 6})});
  expect({"x", "[4, 32]", "64"}, {.x = device.alloc(f32, {4, 32}), .weight = w, .out = out});
  expect({"out", "[3, 6]", "4 rows of 6"}, {.x = x, .weight = w, .out = device.alloc(f32, {3, 6})});
  expect({"out", "[4, 7]"}, {.x = x, .weight = w, .out = device.alloc(f32, {4, 7})});
  expect({"x", "device"}, {.x = other.alloc(f32, {4, 64}), .weight = w, .out = out});
  expect({"residual"}, {.x = x, .weight = w, .out = out, .residual = device.alloc(f32, {4, 5})});
  const Buffer wide = device.alloc(f32, {40, 64});
  expect({"out", "overlap", "x"},
         {.x = wide.rows(0, 4), .weight = w, .out = wide.rows(1, 1).slice(0, 24).reshape({4, 6})});
  Weight bad = w;
  bad.shape = {6, 48};
  expect({"row length", "48"}, {.x = device.alloc(f32, {4, 48}), .weight = bad, .out = out});
  bad = w;
  bad.shape = {7, 64};
  expect({"data"}, {.x = x, .weight = bad, .out = device.alloc(f32, {4, 7})});
  bad = random_weight(device, {Format::kQ4_0}, {2, 6, 64}, random);
  expect({"weight", "[2, 6, 64]"}, {.x = x, .weight = bad, .out = out});
  bad = random_weight(device, {Format::kAffine, 4, 64, f16}, {6, 64}, random);
  bad.bits = 7;
  expect({"bits", "7"}, {.x = x, .weight = bad, .out = out});
  bad.bits = 4;
  bad.scales = {};
  expect({"scales"}, {.x = x, .weight = bad, .out = out});
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::matmul(stream, {.x = x, .weight = w, .out = out});
  stream.commit().wait();
  // The CPU stages x first; CUDA packs the weight.
  const bool twice = device.kind() == DeviceKind::kCpu || device.kind() == DeviceKind::kCuda;
  EXPECT_EQ(stream.counters().dispatches, twice ? 2u : 1u);
}

TEST(ExpertMatmulErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  Random random(15);
  const Weight w = random_weight(device, {Format::kQ4_0}, {3, 6, 64}, random);
  const Buffer x = device.alloc(f32, {4, 64}), out = device.alloc(f32, {4, 2, 6});
  const Buffer ids = device.alloc(u32, {4, 2});
  const auto expect = [&](const std::vector<std::string>& fragments, ops::ExpertMatmulArgs args) {
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::expert_matmul(stream, args); });
  };
  expect({"expert_matmul", "x"}, {.x = {}, .weight = w, .ids = ids, .out = out});
  expect({"ids", "empty"}, {.x = x, .weight = w, .ids = {}, .out = out});
  expect({"ids", "i32"}, {.x = x, .weight = w, .ids = device.alloc(i32, {4, 2}), .out = out});
  expect({"ids", "[8]"}, {.x = x, .weight = w, .ids = device.alloc(u32, {8}), .out = out});
  expect({"x", "[4, 64]", "[4, 2, 64]"},
         {.x = x, .weight = w, .ids = ids, .out = out, .per_slot_input = true});
  expect({"out", "[4, 6]"}, {.x = x, .weight = w, .ids = ids, .out = device.alloc(f32, {4, 6})});
  const Weight flat = random_weight(device, {Format::kQ4_0}, {6, 64}, random);
  expect({"weight", "[6, 64]"}, {.x = x, .weight = flat, .ids = ids, .out = out});
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::expert_matmul(stream, {.x = x, .weight = w, .ids = ids, .out = out});
  stream.commit().wait();
}

TEST(Prepare, ReturnsTheWeightAndCountsNothing) {
  const Device device = test_device(), other = test_device();
  Random random(16);
  const Weight w = random_weight(device, {Format::kQ4_K}, {5, 256}, random);
  const Weight prepared = prepare(device, w);
  EXPECT_EQ(prepared.data.data(), w.data.data());
  EXPECT_EQ(prepared.packed.byte_len(), prepared_bytes(device, w));
  EXPECT_EQ(prepared.packed.valid(),
            device.kind() == DeviceKind::kCpu || device.kind() == DeviceKind::kCuda);
  expect_error(ErrorKind::kInvalidArgument, {"prepare", "device"}, [&] { prepare(other, w); });
}

}  // namespace
}  // namespace mlxn
