// SPDX-License-Identifier: Apache-2.0
// Sinks, ALiBi, lse, chunks and block tables of attn_decode, and values as wide as they like.
#include "kernels/common/attn_oracle_kit.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

struct Case {
  int64_t batch = 1, heads = 8, kv_heads = 2, dim = 128, v_dim = 128, capacity = 1000;
  std::vector<int64_t> kv_len = {1000};
  std::optional<DType> kv_dtype = {};  // none: the entry's own
};

ops::AttnDecodeArgs make_args(const Device& device, const Case& c, const std::string& kernel) {
  Random random(1);
  const DType kv_dtype = c.kv_dtype.value_or(testing::entry_dtype(kernel));
  ops::AttnDecodeArgs args;
  args.softmax_scale = 0.1f;
  args.q = random_buffer(device, f32, {c.batch, c.heads, c.dim}, random);
  args.k = random_buffer(device, kv_dtype, {c.batch, c.kv_heads, c.capacity, c.dim}, random);
  args.v = random_buffer(device, kv_dtype, {c.batch, c.kv_heads, c.capacity, c.v_dim}, random);
  args.kv_len = Lengths(c.kv_len);
  const auto held = [&](int64_t b, int64_t slot) {
    return slot < c.kv_len[c.kv_len.size() == 1 ? 0 : static_cast<size_t>(b)];
  };
  testing::poison_slots(args.k, held);
  testing::poison_slots(args.v, held);
  return args;
}

Buffer slopes_of(const Device& device, int64_t heads) {
  const auto slopes = ops::alibi_slopes(heads);
  return device.upload(slopes.data(), f32, {heads});
}

class AttnDecodeOptions : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = testing::entry_device(GetParam());
  Stream stream_{device_};

  static ops::AttnDecodeArgs make_args(const Device& device, const Case& c) {
    return mlxn::make_args(device, c, GetParam());
  }
  struct Result {
    Buffer out, lse;
    std::vector<std::byte> bytes() const {
      auto all = testing::bytes_of(out);
      const auto more = testing::bytes_of(lse);
      all.insert(all.end(), more.begin(), more.end());
      return all;
    }
  };
  Result run(ops::AttnDecodeArgs args) {
    const int64_t batch = args.q.dim(0), heads = args.q.dim(1);
    const GuardedBuffer out(device_, args.q.dtype(), {batch, heads, args.v.dim(3)});
    const GuardedBuffer lse(device_, f32, {batch, heads});
    args.out = out.view();
    args.lse = lse.view();
    ops::attn_decode(stream_, args);
    stream_.commit().wait();
    out.check();
    lse.check();
    return {out.view(), lse.view()};
  }
  Result expect_oracle(const ops::AttnDecodeArgs& args, const std::string& what) {
    const Result result = run(args);
    const auto reference = testing::oracle_of(args);
    testing::expect_attention(result.out, reference, what);
    testing::expect_lse(testing::to_floats(result.lse), reference, what);
    return result;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, AttnDecodeOptions,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_decode_entries())));

TEST_P(AttnDecodeOptions, Sinks) {  // D14
  for (int64_t kv_len : {1, 1000}) {
    auto args = make_args(device_, {.kv_len = {kv_len}});
    const auto plain = run(args).bytes();
    Random random(3);
    args.sinks = random_buffer(device_, f32, {8}, random);
    args.sinks.span<float>()[2] = 300.0f;  // takes nearly everything
    args.sinks.span<float>()[3] = -300.0f;
    EXPECT_NE(expect_oracle(args, "sinks").bytes(), plain);
    for (int n_split : {1, 3}) {
      args.n_split = n_split;
      expect_oracle(args, "sinks, n_split " + std::to_string(n_split));
    }
    // A sink of -infinity is none.
    std::fill_n(args.sinks.span<float>().begin(), 8, -INFINITY);
    args.n_split = 0;
    EXPECT_EQ(run(args).bytes(), plain);
  }
}

TEST_P(AttnDecodeOptions, OnlyTheSinkIsVisible) {
  auto args = make_args(device_, {.heads = 2, .kv_heads = 1, .capacity = 4, .kv_len = {1}});
  args.ring_start = 2;
  Random random(4);
  args.sinks = random_buffer(device_, f32, {2}, random);
  const Result result = run(args);
  for (float value : testing::to_floats(result.out)) EXPECT_EQ(value, 0.0f);
  for (size_t h : {0, 1}) EXPECT_EQ(result.lse.span<float>()[h], args.sinks.span<float>()[h]);
  args.sinks = Buffer();
  for (float value : testing::to_floats(run(args).lse)) EXPECT_EQ(value, -INFINITY);
}

TEST_P(AttnDecodeOptions, Alibi) {  // D14
  for (int64_t heads : {8, 6}) {
    auto args = make_args(device_, {.heads = heads});
    const auto plain = run(args).bytes();
    args.alibi_slopes = slopes_of(device_, heads);
    EXPECT_NE(expect_oracle(args, "alibi").bytes(), plain);
    args.logits_soft_cap = 2.0f;
    args.mask = ops::MaskKind::kWindow;
    args.window_size = 70;
    expect_oracle(args, "alibi, window, cap");
    // Positions are those of the sequence, wherever they lie.
    args.mask = ops::MaskKind::kCausal;
    args.window_size = 0;
    args.ring_start = 123;
    expect_oracle(args, "alibi, ring_start");
    args.ring_start = {};
    args.ring = true;
    args.kv_len = 5003;
    expect_oracle(args, "alibi, ring");
  }
}

TEST(AlibiSlopes, FollowTheFormula) {
  EXPECT_EQ(ops::alibi_slopes(1), std::vector<float>{0x1p-8f});
  EXPECT_EQ(ops::alibi_slopes(4), (std::vector<float>{0x1p-2f, 0x1p-4f, 0x1p-6f, 0x1p-8f}));
  EXPECT_EQ(ops::alibi_slopes(6),
            (std::vector<float>{0x1p-2f, 0x1p-4f, 0x1p-6f, 0x1p-8f, 0x1p-1f, 0x1p-3f}));
  expect_error(ErrorKind::kInvalidArgument, {"num_heads", "0"}, [] { ops::alibi_slopes(0); });
  expect_error(ErrorKind::kInvalidArgument, {"num_heads", "8589934592"},
               [] { ops::alibi_slopes(int64_t{1} << 33); });
}

TEST_P(AttnDecodeOptions, Chunks) {
  auto args = make_args(device_, {});
  args.mask = ops::MaskKind::kChunk;
  for (int64_t chunk : {1, 64, 77, 333, 5000}) {
    args.window_size = chunk;
    for (int64_t kv_len : {1, 64, 65, 333, 334, 1000}) {
      args.kv_len = kv_len;
      expect_oracle(args, "chunk " + std::to_string(chunk) + " kv_len " + std::to_string(kv_len));
    }
  }
  args.ring = true;
  args.kv_len = 4321;
  args.window_size = 500;
  expect_oracle(args, "chunk, ring");
}

TEST_P(AttnDecodeOptions, PagesEqualTheContiguousCache) {  // D14
  Random random(6);
  for (DType kv_dtype : {f32, f16, bf16}) {
    for (int64_t page_size : {16, 64, 256}) {
      auto args = make_args(device_, {.batch = 2,
                                      .v_dim = page_size == 64 ? 128 : 64,
                                      .capacity = 999,
                                      .kv_len = {999, 401},
                                      .kv_dtype = kv_dtype});
      args.alibi_slopes = slopes_of(device_, 8);
      const Result expected = expect_oracle(args, "contiguous");
      const auto paged = testing::make_pages(device_, args.k, args.v, page_size, random);
      args.k = paged.k;
      args.v = paged.v;
      args.block_table = paged.block_table;
      EXPECT_EQ(expect_oracle(args, "paged").bytes(), expected.bytes()) << page_size;
    }
  }
}

TEST_P(AttnDecodeOptions, PagedRings) {
  Random random(7);
  auto args = make_args(device_, {.capacity = 128, .kv_len = {128}});
  args.kv_len = 1000;
  args.ring = true;
  args.mask = ops::MaskKind::kWindow;
  args.window_size = 100;
  const Result expected = expect_oracle(args, "ring");
  auto paged = testing::make_pages(device_, args.k, args.v, 32, random);
  // The ring has as many slots as the table has room for.
  const Buffer table = device_.alloc(DType::kI32, {1, 4});
  std::memcpy(table.data(), paged.block_table.data(), 16);
  args.k = paged.k;
  args.v = paged.v;
  args.block_table = table;
  EXPECT_EQ(expect_oracle(args, "paged ring").bytes(), expected.bytes());
}

// Entries beyond the length are not read; entries outside the cache hold no keys.
TEST_P(AttnDecodeOptions, PagesOutsideTheCache) {
  Random random(8);
  auto args = make_args(device_, {.capacity = 100, .kv_len = {100}});
  const auto paged = testing::make_pages(device_, args.k, args.v, 16, random);
  args.k = paged.k;
  args.v = paged.v;
  args.block_table = paged.block_table;
  args.block_table.span<int32_t>()[1] = 1 << 30;
  args.block_table.span<int32_t>()[3] = -7;
  expect_oracle(args, "holes");
  args.kv_len = 40;
  expect_oracle(args, "short");
}

// Results over disjoint sets of keys, joined, are the result over all of them.
TEST_P(AttnDecodeOptions, PartsMerge) {
  const auto args = make_args(device_, {.batch = 2, .kv_len = {1000, 700}});
  Random random(9);
  const Buffer sinks = random_buffer(device_, f32, {8}, random);
  auto whole = args;
  whole.sinks = sinks;
  const auto reference = testing::oracle_of(whole);
  // Keys 0 .. 299 of both, and the rest, whose positions start at 300.
  const Buffer parts = device_.alloc(f32, {2, 2, 8, 128}), lse = device_.alloc(f32, {2, 2, 8});
  const Buffer out = device_.alloc(f32, {2, 8, 128}), out_lse = device_.alloc(f32, {2, 8});
  auto first = args;
  first.kv_len = 300;
  first.sinks = sinks;
  first.out = parts.rows(0, 1).reshape({2, 8, 128});
  first.lse = lse.rows(0, 1).reshape({2, 8});
  auto rest = args;
  rest.kv_len = {700, 400};
  rest.out = parts.rows(1, 1).reshape({2, 8, 128});
  rest.lse = lse.rows(1, 1).reshape({2, 8});
  for (auto [target, source] : {std::pair(&rest.k, &args.k), std::pair(&rest.v, &args.v)}) {
    *target = device_.alloc(source->dtype(), {2, 2, 700, 128});
    const size_t row = target->byte_len() / (4 * 700);
    for (size_t h = 0; h < 4; ++h) {
      std::memcpy(target->data() + h * 700 * row, source->data() + (h * 1000 + 300) * row,
                  700 * row);
    }
  }
  ops::attn_decode(stream_, first);
  ops::attn_decode(stream_, rest);
  ops::attn_merge(stream_, {.parts = parts, .lse = lse, .out = out, .out_lse = out_lse});
  stream_.commit().wait();
  testing::expect_attention(out, reference, "merged");
  testing::expect_lse(testing::to_floats(out_lse), reference, "merged");
}

TEST_P(AttnDecodeOptions, DirectCapturedAndReplayedAgree) {
  Random random(10);
  auto args = make_args(device_, {.batch = 2, .capacity = 600, .kv_len = {600, 33}});
  args.out = device_.alloc(f32, {2, 8, 128});
  args.lse = device_.alloc(f32, {2, 8});
  args.sinks = random_buffer(device_, f32, {8}, random);
  args.alibi_slopes = slopes_of(device_, 8);
  const auto paged = testing::make_pages(device_, args.k, args.v, 16, random);
  args.k = paged.k;
  args.v = paged.v;
  args.block_table = paged.block_table;
  testing::expect_repeatable(device_, [&](Stream& stream) { ops::attn_decode(stream, args); },
                             {args.out, args.lse});
}

TEST(AttnDecodeLong, Keys) {  // D15, on the best entry
  if (testing::is_short()) GTEST_SKIP() << "far too long";
  const Device device = test_device();
  Stream stream(device);
  auto args = make_args(
      device, {.heads = 1, .kv_heads = 1, .capacity = 131072, .kv_len = {131072}, .kv_dtype = f16},
      "");
  args.out = device.alloc(f32, {1, 1, 128});
  args.lse = device.alloc(f32, {1, 1});
  ops::attn_decode(stream, args);
  stream.commit().wait();
  const auto reference = testing::oracle_of(args);
  testing::expect_attention(args.out, reference, "131072 keys");
  testing::expect_lse(testing::to_floats(args.lse), reference, "131072 keys");
}

TEST(AttnDecodeOptionErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  auto good = make_args(device, {.capacity = 64, .kv_len = {64}}, "");
  good.out = device.alloc(f32, {1, 8, 128});
  good.lse = device.alloc(f32, {1, 8});
  good.sinks = device.alloc(f32, {8});
  good.alibi_slopes = device.alloc(f32, {8});
  using Args = ops::AttnDecodeArgs;
  const auto expect = [&](const std::vector<std::string>& fragments, const auto& change) {
    auto args = good;
    change(args);
    auto all = fragments;
    all.push_back("attn_decode");
    expect_error(ErrorKind::kInvalidArgument, all, [&] { ops::attn_decode(stream, args); });
  };
  expect({"sinks", "[7]", "[8]"}, [&](Args& a) { a.sinks = device.alloc(f32, {7}); });
  expect({"sinks", "f16"}, [&](Args& a) { a.sinks = device.alloc(f16, {8}); });
  expect({"alibi_slopes", "[2]"}, [&](Args& a) { a.alibi_slopes = device.alloc(f32, {2}); });
  expect({"lse", "[8]"}, [&](Args& a) { a.lse = device.alloc(f32, {8}); });
  expect({"lse", "bf16"}, [&](Args& a) { a.lse = device.alloc(bf16, {1, 8}); });
  expect({"lse", "overlap", "sinks"}, [](Args& a) { a.lse = a.sinks.reshape({1, 8}); });
  expect({"lse", "overlap", "out"}, [](Args& a) { a.lse = a.out.reshape({1, 8}); });
  expect({"window_size", "0"}, [](Args& a) { a.mask = ops::MaskKind::kChunk; });
  expect({"mask", "ring_start"}, [](Args& a) {
    a.mask = ops::MaskKind::kChunk;
    a.window_size = 8;
    a.ring_start = 3;
  });
  const Buffer table = device.alloc(DType::kI32, {1, 2});
  expect({"k", "pages of 8 slots", "power of two"}, [&](Args& a) {
    a.k = device.alloc(f32, {4, 2, 8, 128});
    a.v = device.alloc(f32, {4, 2, 8, 128});
    a.block_table = table;
  });
  const auto paged = [&](Args& a) {
    a.k = device.alloc(f32, {4, 2, 16, 128});
    a.v = device.alloc(f32, {4, 2, 16, 128});
    a.block_table = table;
    a.kv_len = 32;
  };
  expect({"kv_len", "33", "32"}, [&](Args& a) { paged(a), a.kv_len = 33; });
  expect({"block_table", "[2, 2]", "[1, 2]"}, [&](Args& a) {
    paged(a), a.block_table = device.alloc(DType::kI32, {2, 2});
  });
  expect({"block_table", "2 extents"},
         [&](Args& a) { paged(a), a.block_table = device.alloc(DType::kI32, {2}); });
  expect({"block_table", "f32"}, [&](Args& a) {
    paged(a), a.block_table = device.alloc(f32, {1, 2});
  });
  expect({"v", "[3, 2, 16, 128]"}, [&](Args& a) {
    paged(a), a.v = device.alloc(f32, {3, 2, 16, 128});
  });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_decode(stream, good);
  paged(good);
  ops::attn_decode(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
