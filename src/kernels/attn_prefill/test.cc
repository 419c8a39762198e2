// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "kernels/common/attn_oracle_kit.h"

namespace mlxn {
namespace {

using ops::SeqLayout;
using testing::expect_error;
using testing::Random;
using testing::test_device;

struct Case {
  int64_t batch = 1, heads = 1, kv_heads = 1, q_len = 1, kv_len = 1, dim = 64, v_dim = 0;
  int64_t capacity = 0;  // 0: kv_len
  DType q_dtype = f32;
  std::optional<DType> kv_dtype = {};  // none: the entry's own
  SeqLayout layout = SeqLayout::kHeadMajor;
  float softmax_scale = 0.1f, logits_soft_cap = 0.0f;
  bool causal = true;
  int64_t window_size = 0;
  int64_t q_offset = -1;  // -1: the default
  uint32_t seed = 1;

  std::string name() const {
    return std::string(mlxn::name(q_dtype)) + "/" +
           (kv_dtype ? std::string(mlxn::name(*kv_dtype)) : "own") + " H " + std::to_string(heads) +
           "/" + std::to_string(kv_heads) + " q_len " + std::to_string(q_len) + " kv_len " +
           std::to_string(kv_len) + " D " + std::to_string(dim) + " offset " +
           std::to_string(q_offset) + " window " + std::to_string(window_size) +
           (causal ? " causal" : "");
  }
};

// Values in the order [batch, heads, len, dim] under either layout.
Buffer lay_out(const Device& device, DType dtype, SeqLayout layout, const Shape& extents,
               const std::vector<float>& values) {
  const int64_t heads = extents[1], len = extents[2], dim = extents[3];
  const Buffer buffer = device.alloc(
      dtype, layout == SeqLayout::kHeadMajor ? extents : Shape{extents[0], len, heads, dim});
  const auto s = testing::laid(buffer, layout).strides;
  for (int64_t row = 0; row < extents[0] * heads * len; ++row) {
    const int64_t b = row / (heads * len), h = row / len % heads, i = row % len;
    kernels::store_f32(dtype, values.data() + row * dim, dim, buffer.data(),
                       b * s.batch + h * s.head + i * s.row);
  }
  return buffer;
}

// Inputs of a case for an entry; head-major slots beyond kv_len are NaN.
ops::AttnPrefillArgs make_args(const Device& device, const Case& c, const std::string& kernel) {
  Random random(c.seed);
  const DType kv_dtype = c.kv_dtype.value_or(testing::entry_dtype(kernel));
  const int64_t v_dim = c.v_dim ? c.v_dim : c.dim, capacity = std::max(c.capacity, c.kv_len);
  const Shape q = {c.batch, c.heads, c.q_len, c.dim};
  const Shape k = {c.batch, c.kv_heads, capacity, c.dim},
              v = {c.batch, c.kv_heads, capacity, v_dim};
  ops::AttnPrefillArgs args;
  args.q = lay_out(device, c.q_dtype, c.layout, q, random.normals(testing::count_of(q)));
  args.k = lay_out(device, kv_dtype, c.layout, k, random.normals(testing::count_of(k)));
  args.v = lay_out(device, kv_dtype, c.layout, v, random.normals(testing::count_of(v)));
  if (c.layout == SeqLayout::kHeadMajor) {
    const auto held = [&](int64_t, int64_t slot) { return slot < c.kv_len; };
    testing::poison_slots(args.k, held);
    testing::poison_slots(args.v, held);
  }
  args.q_layout = args.kv_layout = c.layout;
  args.kv_len = c.kv_len;
  if (c.q_offset >= 0) args.q_offset = c.q_offset;
  args.softmax_scale = c.softmax_scale;
  args.logits_soft_cap = c.logits_soft_cap;
  args.causal = c.causal;
  args.window_size = c.window_size;
  return args;
}

// The output has the layout of q.
Buffer run(Stream& stream, const ops::AttnPrefillArgs& args) {
  return testing::run_prefill(stream, args).out;
}

// Rows [begin, end) of each head of [1, H, L, D], one after the other.
std::vector<std::byte> rows_of(const Buffer& out, int64_t begin, int64_t end) {
  std::vector<std::byte> bytes;
  const size_t row = static_cast<size_t>(out.dim(3)) * size_of(out.dtype());
  for (int64_t h = 0; h < out.dim(1); ++h) {
    const std::byte* head = out.data() + static_cast<size_t>(h * out.dim(2)) * row;
    bytes.insert(bytes.end(), head + static_cast<size_t>(begin) * row,
                 head + static_cast<size_t>(end) * row);
  }
  return bytes;
}

class AttnPrefillTest : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = testing::entry_device(GetParam());
  Stream stream_{device_};

  static ops::AttnPrefillArgs make_args(const Device& device, const Case& c) {
    return mlxn::make_args(device, c, GetParam());
  }
  Buffer expect_oracle(const Case& c) {
    const auto args = testing::run_prefill(stream_, make_args(device_, c));
    const Buffer out = testing::in_oracle_order(device_, args)
                           .reshape({c.batch, c.heads, c.q_len, args.out.dim(3)});
    testing::expect_attention(out, testing::oracle_of(args), c.name());
    return out;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, AttnPrefillTest,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_prefill_entries())));

TEST_P(AttnPrefillTest, SquareCases) {  // P1, P3
  for (bool causal : {false, true}) {
    for (int64_t len : testing::unless_short<int64_t>({32, 128, 512}, {32, 128})) {
      expect_oracle({.heads = 2,
                     .kv_heads = 2,
                     .q_len = len,
                     .kv_len = len,
                     .dim = 256,
                     .q_dtype = bf16,
                     .kv_dtype = bf16,
                     .causal = causal});
      if (len == 512) continue;
      expect_oracle({.heads = 2,
                     .kv_heads = 2,
                     .q_len = len,
                     .kv_len = len,
                     .dim = 512,
                     .q_dtype = bf16,
                     .kv_dtype = bf16,
                     .causal = causal});
    }
  }
}

TEST_P(AttnPrefillTest, LayoutsAgree) {  // P2
  for (int64_t len : testing::unless_short<int64_t>({32, 128, 512}, {32, 128})) {
    Case c{.heads = 12, .kv_heads = 12, .q_len = len, .kv_len = len, .kv_dtype = f16};
    const Buffer expected = expect_oracle(c);
    c.layout = SeqLayout::kSeqMajor;
    const auto ran = testing::run_prefill(stream_, make_args(device_, c));
    EXPECT_EQ(testing::bytes_of(testing::in_oracle_order(device_, ran)),
              testing::bytes_of(expected));
  }
}

TEST_P(AttnPrefillTest, LargeScale) {  // P4
  for (DType dtype : {f32, bf16}) {
    Case c{.heads = 2, .kv_heads = 2, .q_len = 64, .kv_len = 72, .dim = 512};
    c.softmax_scale = 4.0f / std::sqrt(512.0f);
    c.q_dtype = dtype;
    c.kv_dtype = dtype;
    expect_oracle(c);
    c.q_len = 128;
    c.kv_len = 192;
    expect_oracle(c);
  }
}

TEST_P(AttnPrefillTest, GroupedHeads) {  // P7
  expect_oracle({.heads = 8, .kv_heads = 2, .q_len = 128, .kv_len = 128, .dim = 256});
  expect_oracle({.heads = 6, .kv_heads = 2, .q_len = 90, .kv_len = 90, .dim = 32});
  expect_oracle({.heads = 200, .kv_heads = 1, .q_len = 3, .kv_len = 70, .dim = 16});
}

TEST_P(AttnPrefillTest, RaggedLengths) {  // P8
  const std::vector<std::pair<int64_t, int64_t>> sizes = {{50, 64}, {32, 50}, {50, 50}, {1, 1},
                                                          {2, 2},   {15, 15}, {17, 33}};
  for (bool causal : {false, true}) {
    for (const auto& [q_len, kv_len] : sizes) {
      expect_oracle({.heads = 2,
                     .kv_heads = 2,
                     .q_len = q_len,
                     .kv_len = kv_len,
                     .dim = 256,
                     .kv_dtype = f16,
                     .causal = causal});
    }
  }
}

TEST_P(AttnPrefillTest, ResumeEqualsWhole) {  // P11, P12
  Case whole{.heads = 16, .kv_heads = 2, .q_len = 64, .kv_len = 64, .dim = 256, .capacity = 128};
  auto args = make_args(device_, whole);
  Buffer expected = run(stream_, args);
  const auto resume = [&](int64_t q_len) {
    auto part = args;
    part.q = device_.alloc(f32, {1, 16, q_len, 256});
    const auto rows = rows_of(args.q, args.q.dim(2) - q_len, args.q.dim(2));
    std::memcpy(part.q.data(), rows.data(), rows.size());
    part.q_offset = args.q.dim(2) - q_len;
    EXPECT_EQ(testing::bytes_of(run(stream_, part)),
              rows_of(expected, args.q.dim(2) - q_len, args.q.dim(2)))
        << q_len;
  };
  for (int64_t q_len : {1, 7, 32, 63}) resume(q_len);
  if (testing::is_short()) return;
  whole.q_len = whole.kv_len = 1024;
  whole.capacity = 1280;
  args = make_args(device_, whole);
  expected = run(stream_, args);
  const auto last = rows_of(expected, 1000, 1024);
  const Buffer last_rows = device_.upload(last.data(), f32, {16, 24, 256});
  testing::expect_attention(last_rows, testing::oracle_of(args, 1000), whole.name());
  for (int64_t q_len : {1, 2, 8, 15}) resume(q_len);
}

// Chunks at multiples of 64, appended to a linear cache and to a ring, give the bits of the whole.
TEST_P(AttnPrefillTest, ChunksEqualWhole) {
  const int64_t len = testing::is_short() ? 384 : 640, heads = 4, dim = 64, window = 100;
  for (int64_t capacity : {len, int64_t{256}, int64_t{229}}) {
    Case c{.heads = heads, .kv_heads = 2, .q_len = len, .kv_len = len, .window_size = window};
    const auto args = make_args(device_, c);
    const DType kv_dtype = args.k.dtype();
    const int64_t row = dim * static_cast<int64_t>(size_of(kv_dtype));
    const Buffer expected = run(stream_, args);
    for (int64_t at = 0; at < len; at += 128) {
      auto part = args;
      for (auto [target, source] : {std::pair(&part.k, &args.k), std::pair(&part.v, &args.v)}) {
        *target = device_.alloc(kv_dtype, {1, 2, capacity, dim});
        testing::poison_slots(*target, [](int64_t, int64_t) { return false; });
        for (int64_t h = 0; h < 2; ++h) {
          for (int64_t a = std::max<int64_t>(0, at + 128 - capacity); a < at + 128; ++a) {
            std::memcpy(target->data() + (h * capacity + a % capacity) * row,
                        source->data() + (h * len + a) * row, row);
          }
        }
      }
      part.q = device_.alloc(f32, {1, heads, 128, dim});
      const auto rows = rows_of(args.q, at, at + 128);
      std::memcpy(part.q.data(), rows.data(), rows.size());
      part.kv_len = at + 128;
      part.ring = true;
      EXPECT_EQ(testing::bytes_of(run(stream_, part)), rows_of(expected, at, at + 128))
          << "capacity " << capacity << " chunk at " << at;
      if (capacity < at + 128) {
        part.ring = false;
        part.kv_len = capacity;
        part.ring_start = (at + 128) % capacity;
        part.q_offset = {};
        testing::expect_close(
            testing::to_floats(run(stream_, part)),
            [&] {
              const auto bytes = rows_of(expected, at, at + 128);
              const auto* f = reinterpret_cast<const float*>(bytes.data());
              return std::vector<double>(f, f + bytes.size() / 4);
            }(),
            [](size_t) { return 1e-5; }, "ring_start");
      }
    }
  }
}

TEST_P(AttnPrefillTest, OffsetsAndFutureKeys) {  // P13
  for (int64_t dim : testing::unless_short<int64_t>({64, 80, 96, 128, 192, 256, 512}, {64, 512})) {
    for (DType kv_dtype : {f32, f16, bf16}) {
      Case c{.heads = 2, .q_len = 40, .kv_len = 48, .dim = dim, .kv_dtype = kv_dtype};
      c.q_offset = 8;
      const Buffer out = expect_oracle(c);
      for (float bad : {NAN, INFINITY}) {
        auto args = make_args(device_, c);
        // Key 9 is the first that is changed; query 0 is at position 8.
        for (int64_t key : {9, 15, 16, 31, 47}) {
          args.k = testing::with_elements(device_, args.k, key * dim, dim, bad);
          args.v = testing::with_elements(device_, args.v, key * dim, dim, bad);
        }
        EXPECT_EQ(rows_of(run(stream_, args), 0, 1), rows_of(out, 0, 1)) << c.name() << " " << bad;
      }
    }
  }
  // Every offset and query count. A row sees the same keys whatever follows it, so each shorter
  // run must give the bits of the longest one; the cache beyond kv_len is NaN.
  for (int64_t offset = 0; offset <= 64; offset += testing::is_short() ? 21 : 1) {
    Case c{.q_len = 96, .kv_len = offset + 96, .q_offset = offset};
    const auto whole = make_args(device_, c);
    const Buffer expected = run(stream_, whole);
    testing::expect_attention(expected, testing::oracle_of(whole), c.name());
    auto part = whole;
    for (int64_t q_len = 95; q_len >= 1; q_len -= testing::is_short() ? 6 : 1) {
      part.q = whole.q.slice(0, q_len * 64).reshape({1, 1, q_len, 64});
      part.kv_len = offset + q_len;
      const auto held = [&](int64_t, int64_t slot) { return slot < offset + q_len; };
      testing::poison_slots(part.k, held);
      testing::poison_slots(part.v, held);
      ASSERT_EQ(testing::bytes_of(run(stream_, part)), rows_of(expected, 0, q_len))
          << "offset " << offset << " q_len " << q_len;
    }
  }
}

TEST_P(AttnPrefillTest, MoreQueriesThanKeys) {  // P14
  for (int64_t dim : {256, 512}) {
    Case c{.heads = 2, .kv_heads = 2, .q_len = 128, .kv_len = 64, .dim = dim, .q_offset = 0};
    expect_oracle(c);
    // By default the queries are the last positions, so that half of them lie before position 0.
    c.q_offset = -1;
    const Buffer out = expect_oracle(c);
    for (std::byte byte : rows_of(out, 0, 64)) ASSERT_EQ(byte, std::byte{0});
  }
}

TEST_P(AttnPrefillTest, DefaultOffset) {  // P15
  for (int64_t dim : {64, 80, 96, 128, 192, 256, 512}) {
    Case c{.heads = 2, .kv_heads = 2, .q_len = 37, .kv_len = 100, .dim = dim};
    if (dim % 3 == 0) c.kv_dtype = bf16;
    const auto expected = testing::bytes_of(expect_oracle(c));
    c.q_offset = 63;
    c.window_size = std::numeric_limits<int64_t>::max();
    EXPECT_EQ(testing::bytes_of(run(stream_, make_args(device_, c))), expected);
    c.window_size = 0;
    c.q_len = 100;
    c.q_offset = -1;
    expect_oracle(c);
  }
}

TEST_P(AttnPrefillTest, DtypesCapAndWindow) {  // P16
  for (DType q_dtype : {f32, f16, bf16}) {
    for (DType kv_dtype : {f32, f16, bf16}) {
      for (bool causal : {false, true}) {
        expect_oracle({.batch = 2,
                       .heads = 4,
                       .kv_heads = 2,
                       .q_len = 77,
                       .kv_len = 130,
                       .dim = 128,
                       .q_dtype = q_dtype,
                       .kv_dtype = kv_dtype,
                       .logits_soft_cap = 30.0f,
                       .causal = causal,
                       .window_size = 50});
      }
    }
  }
}

TEST_P(AttnPrefillTest, EveryMultipleOfEight) {
  for (int64_t dim = 8; dim <= 512; dim += 8) {
    expect_oracle({.heads = 3,
                   .q_len = 9,
                   .kv_len = 67,
                   .dim = dim,
                   .v_dim = 520 - dim,
                   .kv_dtype = dim % 3 == 0   ? f32
                               : dim % 3 == 1 ? f16
                                              : bf16,
                   .seed = static_cast<uint32_t>(dim)});
  }
}

TEST(AttnPrefillLong, Window) {  // P17, on the best entry: 20 GFLOP
  if (testing::is_short()) GTEST_SKIP() << "far too long";
  const Device device = test_device();
  Stream stream(device);
  const Case c{.q_len = 65536, .kv_len = 65536, .kv_dtype = f16, .window_size = 1024};
  const auto args = make_args(device, c, "");
  const Buffer out = run(stream, args);
  const Buffer last = out.slice((65536 - 3) * 64 * 4, 3 * 64);
  testing::expect_attention(last, testing::oracle_of(args, 65536 - 3), c.name());
}

TEST_P(AttnPrefillTest, RepeatsAndThreadsGiveTheSameBits) {  // P19
  const Case c{.batch = 2, .heads = 4, .kv_heads = 2, .q_len = 100, .kv_len = 200, .dim = 128};
  std::vector<std::byte> expected;
  for (int threads : testing::unless_short<int>({1, 2, 3, 8}, {1, 2})) {
    const Device device = testing::entry_device(GetParam(), threads);
    Stream stream(device);
    auto args = make_args(device, c);
    args.out = device.alloc(f32, {2, 4, 100, 128});
    auto other = make_args(device, {.heads = 2, .q_len = 70, .kv_len = 70});
    other.out = device.alloc(f32, {1, 2, 70, 64});
    auto again = args;
    again.out = device.alloc(f32, {2, 4, 100, 128});
    ops::attn_prefill(stream, args);
    ops::attn_prefill(stream, other);
    ops::attn_prefill(stream, again);
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(args.out);
    EXPECT_EQ(testing::bytes_of(args.out), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(again.out), expected) << threads << " threads";
    // A sequence of the batch alone.
    auto one = args;
    one.q = args.q.rows(1, 1);
    one.k = args.k.rows(1, 1);
    one.v = args.v.rows(1, 1);
    const auto alone = testing::bytes_of(run(stream, one));
    EXPECT_EQ(std::memcmp(alone.data(), expected.data() + alone.size(), alone.size()), 0);
  }
}

// One to fifteen rows and as many keys, between long calls of one queue that use scratch and give
// it back.
TEST_P(AttnPrefillTest, FewRowsInABusyQueue) {
  const DType kv_dtype = testing::entry_dtype(GetParam());
  for (DType q_dtype : {f32, kv_dtype}) {
    for (int64_t dim : testing::unless_short<int64_t>({64, 128, 256, 512}, {256})) {
      auto busy = make_args(device_, {.heads = 2, .q_len = 70, .kv_len = 150, .dim = dim});
      busy.out = device_.alloc(f32, {1, 2, 70, dim});
      std::vector<ops::AttnPrefillArgs> calls;
      for (int64_t rows : testing::unless_short<int64_t>({1, 2, 3, 7, 8, 9, 15}, {1, 15})) {
        const Case c{.heads = 4,
                     .kv_heads = 2,
                     .q_len = rows,
                     .kv_len = rows,
                     .dim = dim,
                     .q_dtype = q_dtype};
        calls.push_back(make_args(device_, c));
        calls.back().out = device_.alloc(q_dtype, {1, 4, rows, dim});
      }
      for (int round = 0; round < 3; ++round) {
        for (const auto& args : calls) {
          std::memset(args.out.data(), 0xff, args.out.byte_len());
          ops::attn_prefill(stream_, busy);
          ops::attn_prefill(stream_, args);
        }
        stream_.commit().wait();
        for (const auto& args : calls) {
          testing::expect_attention(
              args.out, testing::oracle_of(args),
              std::to_string(args.q.dim(2)) + " rows, D " + std::to_string(dim));
        }
      }
    }
  }
}

TEST_P(AttnPrefillTest, BlockedKeysHaveNoInfluence) {  // P21
  struct Mask {
    bool causal;
    int64_t window_size, q_len, blocked;
  };
  // The blocked key is in the future of all queries, or has left the window of all.
  for (const Mask& m : {Mask{true, 0, 40, 63}, Mask{false, 20, 30, 5}, Mask{true, 20, 30, 5}}) {
    const int64_t offset = m.blocked == 63 ? 0 : 34;
    for (DType kv_dtype : {f32, f16, bf16}) {
      Case c{.heads = 2, .kv_heads = 2, .q_len = m.q_len, .kv_len = 64, .dim = 128};
      c.causal = m.causal;
      c.window_size = m.window_size;
      c.q_offset = offset;
      c.kv_dtype = kv_dtype;
      const auto args = make_args(device_, c);
      const Buffer clean = run(stream_, args);
      testing::expect_attention(clean, testing::oracle_of(args), c.name());
      for (float bad : {NAN, INFINITY}) {
        auto changed = args;
        for (int64_t h = 0; h < 2; ++h) {
          const int64_t at = (h * 64 + m.blocked) * 128;
          changed.k = testing::with_elements(device_, changed.k, at, 128, bad);
          changed.v = testing::with_elements(device_, changed.v, at, 128, bad);
        }
        EXPECT_EQ(testing::bytes_of(run(stream_, changed)), testing::bytes_of(clean)) << c.name();
      }
    }
  }
}

// What is not finite reaches the rows that use it and no other, neither of its tile nor of its
// head.
TEST_P(AttnPrefillTest, NanStaysInItsRow) {
  constexpr int64_t kHeads = 2, kRows = 21, kKeys = 70, kOffset = 30;
  struct Rule {
    std::string name;
    int64_t some, none;  // a key that some rows see, a key that no row sees
    bool causal = true;
    int64_t window_size = 0, window_ahead = 0, chunk_size = 0, prefix_len = 0;
    std::optional<DType> mask = {};

    bool sees(int64_t i, int64_t key) const {
      const int64_t p = kOffset + i, ahead = key - p;
      if (mask) return (i + key) % 3 != 0 && key != none;
      return (!causal || ahead <= 0 || key < prefix_len) &&
             (window_size == 0 || -ahead < window_size) &&
             (window_ahead == 0 || ahead < window_ahead) &&
             (chunk_size == 0 || key / chunk_size == p / chunk_size);
    }
  };
  const Rule rules[] = {
      {.name = "causal", .some = kOffset + 9, .none = kOffset + kRows},
      {.name = "window", .some = kOffset - 5, .none = kOffset - 17, .window_size = 17},
      {.name = "symmetric window",
       .some = kOffset + 9,
       .none = kOffset + kRows + 4,
       .causal = false,
       .window_size = 17,
       .window_ahead = 5},
      {.name = "chunks", .some = 44, .none = 23, .chunk_size = 24},
      {.name = "prefix", .some = 44, .none = kOffset + kRows, .prefix_len = 44},
      {.name = "u8 mask", .some = 40, .none = 33, .causal = false, .mask = u8},
      {.name = "f16 mask", .some = 40, .none = 33, .causal = false, .mask = f16}};
  typedef std::pair<DType, DType> Types;  // of q, of k and v
  const auto types = testing::unless_short<Types>(
      {{f32, f32}, {f32, f16}, {f16, f16}, {f32, bf16}, {bf16, bf16}}, {{f32, f16}, {bf16, bf16}});
  for (int64_t dim : testing::unless_short<int64_t>({64, 80, 96, 128, 192, 256, 512}, {80, 256})) {
    for (const auto& [q_dtype, kv_dtype] : types) {
      for (const Rule& rule : rules) {
        Case c{.heads = kHeads, .kv_heads = 2, .q_len = kRows, .kv_len = kKeys, .dim = dim};
        c.q_dtype = q_dtype;
        c.kv_dtype = kv_dtype;
        c.causal = rule.causal;
        c.window_size = rule.window_size;
        c.q_offset = kOffset;
        auto args = make_args(device_, c);
        args.window_ahead = rule.window_ahead;
        args.chunk_size = rule.chunk_size;
        if (rule.prefix_len > 0) args.prefix_len = rule.prefix_len;
        if (rule.mask) {
          args.mask = device_.alloc(*rule.mask, {kRows, kKeys});
          for (int64_t at = 0; at < kRows * kKeys; ++at) {
            const bool seen = rule.sees(at / kKeys, at % kKeys);
            if (*rule.mask == u8) {
              args.mask.span<uint8_t>()[static_cast<size_t>(at)] = seen ? 1 : 0;
            } else {
              const float added = seen ? 0.25f : -INFINITY;
              kernels::store_f32(*rule.mask, &added, 1, args.mask.data(), at);
            }
          }
        }
        const Buffer clean = run(stream_, args);
        testing::expect_attention(clean, testing::oracle_of(args), rule.name + " " + c.name());
        // Of head 1: elements first .. first + count - 1 of row `row` of an operand.
        const auto spoil = [&](Buffer ops::AttnPrefillArgs::*operand, int64_t row, int64_t first,
                               int64_t count, float bad, const auto& spoiled) {
          auto changed = args;
          const Buffer& b = args.*operand;
          changed.*operand =
              testing::with_elements(device_, b, (b.dim(2) + row) * dim + first, count, bad);
          testing::expect_spoiled(
              run(stream_, changed), clean,
              [&](int64_t r, int64_t e) { return r >= kRows && spoiled(r - kRows, e); },
              rule.name + " " + c.name() + " row " + std::to_string(row));
        };
        const auto user = [&](int64_t i, int64_t) { return rule.sees(i, rule.some); };
        const auto nobody = [](int64_t, int64_t) { return false; };
        spoil(&ops::AttnPrefillArgs::q, 7, 0, dim, NAN, [](int64_t i, int64_t) { return i == 7; });
        for (float bad : {NAN, INFINITY}) {
          for (auto operand : {&ops::AttnPrefillArgs::k, &ops::AttnPrefillArgs::v}) {
            spoil(operand, rule.none, 0, dim, bad, nobody);
            spoil(operand, rule.some, 0, dim, bad, user);
          }
          spoil(&ops::AttnPrefillArgs::v, rule.some, dim - 3, 1, bad,
                [&](int64_t i, int64_t e) { return e == dim - 3 && user(i, e); });
        }
      }
    }
  }
}

TEST_P(AttnPrefillTest, DeviceValuesAreReadAtRunTime) {
  const Case c{.batch = 2, .heads = 2, .q_len = 16, .kv_len = 200};
  auto args = make_args(device_, c);
  const Buffer kv_len = testing::make_i32(device_, {16, 16});
  const Buffer offset = testing::make_i32(device_, {0, 0});
  args.kv_len = kv_len;
  args.q_offset = offset;
  args.out = device_.alloc(f32, {2, 2, 16, 64});
  stream_.begin_capture();
  ops::attn_prefill(stream_, args);
  const Graph graph = stream_.end_capture();
  const auto replay = [&](const std::vector<int32_t>& lens, const std::vector<int32_t>& offsets) {
    std::copy(lens.begin(), lens.end(), kv_len.span<int32_t>().begin());
    std::copy(offsets.begin(), offsets.end(), offset.span<int32_t>().begin());
    stream_.replay(graph);
    stream_.commit().wait();
  };
  for (int32_t first : {0, 16, 100, 184}) {
    replay({first + 16, 200}, {first, 184});
    auto known = args;
    known.kv_len = Lengths({first + 16, 200});
    known.q_offset = Lengths({first, 184});
    EXPECT_EQ(testing::bytes_of(args.out), testing::bytes_of(run(stream_, known))) << first;
  }
  // Values that do not fit are clamped to the cache; nothing outside it is read.
  replay({-3, 1 << 30}, {5, 1 << 29});
  for (int i = 0; i < 2 * 16 * 64; ++i) EXPECT_EQ(args.out.span<float>()[i], 0.0f);
}

TEST_P(AttnPrefillTest, DirectCapturedAndReplayedAgree) {
  auto args =
      make_args(device_, {.batch = 2, .heads = 4, .kv_heads = 2, .q_len = 50, .kv_len = 90});
  args.out = device_.alloc(f32, {2, 4, 50, 64});
  testing::expect_repeatable(device_, [&](Stream& stream) { ops::attn_prefill(stream, args); },
                             {args.out});
}

TEST(AttnPrefillErrors, EachRuleNamesItsParameter) {  // P20 as far as it applies
  const Device device = test_device();
  Stream stream(device);
  const Case c{.heads = 4, .kv_heads = 2, .q_len = 8, .kv_len = 64};
  auto good = make_args(device, c, "");
  good.out = device.alloc(f32, {1, 4, 8, 64});
  using Args = ops::AttnPrefillArgs;
  const auto expect = [&](const std::vector<std::string>& fragments, const auto& change) {
    auto args = good;
    change(args);
    auto all = fragments;
    all.push_back("attn_prefill");
    expect_error(ErrorKind::kInvalidArgument, all, [&] { ops::attn_prefill(stream, args); });
  };
  expect({"k", "[1, 2, 64, 72]"}, [&](Args& a) { a.k = device.alloc(f32, {1, 2, 64, 72}); });
  expect({"v", "f16"}, [&](Args& a) { a.v = device.alloc(f16, {1, 2, 64, 64}); });
  expect({"out", "bf16"}, [&](Args& a) { a.out = device.alloc(bf16, {1, 4, 8, 64}); });
  expect({"q", "4 extents"}, [&](Args& a) { a.q = a.q.reshape({4, 8, 64}); });
  expect({"q_offset", "60", "64"}, [](Args& a) { a.q_offset = 60; });
  expect({"q_offset", "-1"}, [](Args& a) { a.q_offset = -1; });
  expect({"kv_len", "65", "64"}, [](Args& a) { a.kv_len = 65; });
  expect({"kv_len", "0"}, [](Args& a) { a.kv_len = 0; });
  expect({"window_size", "-1"}, [](Args& a) { a.window_size = -1; });
  for (int64_t window : {int64_t{1} << 40, std::numeric_limits<int64_t>::max()}) {
    // The first query is at position -10.
    expect({"k: capacity", "64 slots of a ring", "80"}, [&](Args& a) {
      a.q = device.alloc(f32, {1, 4, 90, 64});
      a.out = device.alloc(f32, {1, 4, 90, 64});
      a.ring = true;
      a.kv_len = 80;
      a.window_size = window;
    });
  }
  expect({"softmax_scale"}, [](Args& a) { a.softmax_scale = NAN; });
  expect({"logits_soft_cap"}, [](Args& a) { a.logits_soft_cap = -1.0f; });
  expect({"ring_start", "64"}, [](Args& a) { a.ring_start = 64; });
  expect({"ring_start", "ring"}, [](Args& a) { a.ring_start = 1, a.ring = true; });
  expect({"q_layout", "7"}, [](Args& a) { a.q_layout = static_cast<SeqLayout>(7); });
  // A ring that has lost keys which the first query sees.
  expect({"capacity", "64", "100"}, [](Args& a) { a.ring = true, a.kv_len = 100; });
  expect({"capacity", "64", "65"}, [](Args& a) {
    a.ring = true;
    a.kv_len = 100;
    a.window_size = 58;
  });
  expect({"q", "5 heads"}, [&](Args& a) {
    a.q = device.alloc(f32, {1, 5, 8, 64});
    a.out = device.alloc(f32, {1, 5, 8, 64});
  });
  const auto claim = [&](const Buffer& b, const Shape& shape) {
    return Buffer(b.allocation(), 0, b.byte_len(), b.dtype(), shape);
  };
  expect({"k", "bytes"}, [&](Args& a) { a.k = claim(a.k, {1, 2, 65, 64}); });
  expect({"q", "shape"}, [&](Args& a) { a.q = claim(a.q, {1, int64_t{1} << 40, 1 << 20, 64}); });
  expect({"out", "overlap"}, [](Args& a) { a.out = a.q; });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  good.ring = true;
  good.kv_len = 100;
  good.window_size = 57;
  ops::attn_prefill(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
