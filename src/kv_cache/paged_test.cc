// SPDX-License-Identifier: Apache-2.0
// Paged caches: the bits of contiguous ones, for every type, and who has which page.
#include "kernels/common/test_kit.h"
#include "mlxn/kv_cache.h"

namespace mlxn {
namespace {

using testing::bytes_of;
using testing::expect_error;
using testing::Random;
using testing::random_buffer;
using testing::test_device;
using testing::unless_short;

constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 32, kBatch = 3;

KvCacheShape shape_of(const KvTypes& types, int64_t window, int64_t page_size) {
  return {.batch = kBatch,
          .num_kv_heads = kKvHeads,
          .head_dim = kDim,
          .dtype = types.k,
          .v_type = types.v,
          .max_context = 300,
          .window_size = window,
          .max_chunk = 64,
          .page_size = page_size};
}

// A layer's step as a stranger writes it: append, then attend.
struct Step {
  const Device& device;
  Stream& stream;
  Buffer k, v, q;

  Step(const Device& on, Stream& with, int64_t batch, int64_t n, Random& random)
      : device(on), stream(with) {
    k = random_buffer(device, f32, {batch, n, kKvHeads, kDim}, random);
    v = random_buffer(device, f32, {batch, n, kKvHeads, kDim}, random);
    q = random_buffer(device, f16,
                      n > 1 ? Shape{batch, kHeads, n, kDim} : Shape{batch, kHeads, kDim}, random);
  }

  std::vector<std::byte> run(const KvCache& cache, const std::vector<int64_t>& pos) const {
    std::vector<int64_t> kv_len;
    for (const int64_t first : pos) kv_len.push_back(first + k.dim(1));
    const Buffer out = device.alloc(f16, q.shape());
    cache.append(stream, k, v, pos);
    const KvAttention attention{.q = q, .out = out, .kv_len = kv_len, .softmax_scale = 0.2f};
    if (q.rank() == 4) {
      cache.prefill(stream, attention);
    } else {
      cache.decode(stream, attention);
    }
    stream.commit().wait();
    return bytes_of(out);
  }
};

class PagedCache : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Types, PagedCache,
                         ::testing::ValuesIn(unless_short<const char*>({"f32", "f16", "bf16", "tq2",
                                                                        "tq3", "tq4", "tq5", "tq6",
                                                                        "tq8", "tq8/tq4"},
                                                                       {"f16", "tq3", "tq8/tq4"})));

// Sequences of different lengths grow in turns, so that their pages lie between one another's.
TEST_P(PagedCache, EqualsTheContiguousOne) {
  const Device device = test_device();
  Stream stream(device);
  const KvTypes types = parse_kv_types(GetParam()).value();
  for (const int64_t window : {0, 70}) {
    for (const int64_t page_size : unless_short<int64_t>({16, 64, 256}, {16})) {
      Random random(5);
      const KvCache plain(device, shape_of(types, window, 0));
      const KvCache paged(device, shape_of(types, window, page_size));
      std::vector<int64_t> length = {0, 0, 0};
      for (const int b : {0, 1, 0, 2, 1, 0, 0}) {
        const int64_t n = 17 + 20 * b;
        const Step step(device, stream, 1, n, random);
        auto& tokens = length[static_cast<size_t>(b)];
        ASSERT_EQ(step.run(paged.sequence(b), {tokens}), step.run(plain.sequence(b), {tokens}));
        tokens += n;
      }
      for (int i = 0; i < (is_short() ? 6 : 40); ++i) {
        const Step step(device, stream, kBatch, 1, random);
        ASSERT_EQ(step.run(paged, length), step.run(plain, length)) << i;
        for (int64_t& tokens : length) ++tokens;
      }
      int64_t used = 0;
      for (const int64_t tokens : length) {
        used += (std::min(tokens, paged.capacity()) + page_size - 1) / page_size;
      }
      EXPECT_EQ(paged.free_pages(), paged.shape().num_pages - used);
    }
  }
}

TEST(PagedCachePages, AreTakenGivenBackAndRunOut) {
  const Device device = test_device();
  Stream stream(device);
  Random random(6);
  KvCacheShape shape = shape_of({f16, f16}, 0, 16);
  shape.num_pages = 3;
  const KvCache cache(device, shape);
  EXPECT_EQ(cache.bytes(), KvCache::cache_bytes(shape));
  EXPECT_EQ(cache.bytes(), 3 * kKvHeads * 16 * kDim * 2 * 2 + kBatch * 19 * 4);
  EXPECT_EQ(cache.free_pages(), 3);
  const Step long_one(device, stream, 1, 17, random), short_one(device, stream, 1, 2, random);
  const auto expected = long_one.run(cache.sequence(0), {0});
  EXPECT_EQ(cache.free_pages(), 1);
  short_one.run(cache.sequence(1), {0});
  EXPECT_EQ(cache.free_pages(), 0);
  const uint64_t recorded = stream.counters().dispatches;
  expect_error(ErrorKind::kContextFull, {"pages", "0 free", "1 for 2 tokens"},
               [&] { short_one.run(cache.sequence(2), {0}); });
  EXPECT_EQ(stream.counters().dispatches, recorded);
  // Room that a sequence has already costs nothing.
  cache.reserve(stream, 0, 32);
  expect_error(ErrorKind::kContextFull, {"sequence 0"}, [&] { cache.reserve(stream, 0, 33); });
  cache.release(stream, 1, 5);
  EXPECT_EQ(cache.free_pages(), 0);
  cache.release(stream, 1);
  EXPECT_EQ(cache.free_pages(), 1);
  short_one.run(cache.sequence(2), {0});
  cache.release(stream, 0);
  cache.release(stream, 2);
  stream.commit().wait();
  EXPECT_EQ(cache.free_pages(), 3);
  for (const int32_t entry : cache.block_table().span<int32_t>()) EXPECT_EQ(entry, -1);
  EXPECT_EQ(long_one.run(cache.sequence(2), {0}), expected);
}

// A captured step takes its positions from a buffer; reserve() has the pages ready.
TEST(PagedCachePages, ServeACapturedStep) {
  const Device device = test_device();
  for (const char* type : {"f16", "tq4"}) {
    Stream stream(device);
    Random random(7);
    const KvTypes types = parse_kv_types(type).value();
    const KvCache plain(device, shape_of(types, 0, 0)), paged(device, shape_of(types, 0, 16));
    const Step first(device, stream, kBatch, 30, random), step(device, stream, kBatch, 1, random);
    ASSERT_EQ(first.run(paged, {0, 0, 0}), first.run(plain, {0, 0, 0}));
    const Buffer pos = device.alloc(i32, {kBatch}), kv_len = device.alloc(i32, {kBatch});
    const Buffer out = device.alloc(f16, step.q.shape());
    stream.begin_capture();
    paged.append(stream, step.k, step.v, pos);
    paged.decode(stream, {.q = step.q, .out = out, .kv_len = kv_len, .softmax_scale = 0.2f});
    const Graph graph = stream.end_capture();
    for (int32_t at = 30; at < (is_short() ? 36 : 50); ++at) {
      for (int b = 0; b < kBatch; ++b) {
        paged.reserve(stream, b, at + 1);
        pos.span<int32_t>()[static_cast<size_t>(b)] = at;
        kv_len.span<int32_t>()[static_cast<size_t>(b)] = at + 1;
      }
      stream.replay(graph);
      stream.commit().wait();
      ASSERT_EQ(bytes_of(out), step.run(plain, {at, at, at})) << at;
    }
  }
}

// Work that is dropped instead of committed takes a row of the block table with it, not the pages.
TEST(PagedCachePages, OutliveWhatWasDropped) {
  const Device device = test_device();
  for (const char* type : {"f16", "tq4"}) {
    Random random(8);
    const KvTypes types = parse_kv_types(type).value();
    const KvCache plain(device, shape_of(types, 0, 0)), paged(device, shape_of(types, 0, 16));
    const int64_t all = paged.free_pages();
    Stream stream(device);
    const Step first(device, stream, 1, 20, random), second(device, stream, 1, 20, random);
    paged.sequence(0).append(stream, first.k, first.v, 0);
    stream.discard();
    EXPECT_EQ(first.run(paged.sequence(0), {0}), first.run(plain.sequence(0), {0}));
    EXPECT_EQ(paged.free_pages(), all - 2);
    // Pages given back by work that is dropped go to another sequence all the same.
    paged.release(stream, 0);
    stream.discard();
    EXPECT_EQ(second.run(paged.sequence(1), {0}), second.run(plain.sequence(1), {0}));
    EXPECT_EQ(first.run(paged.sequence(0), {0}), first.run(plain.sequence(0), {0}));
    EXPECT_EQ(second.run(paged.sequence(1), {20}), second.run(plain.sequence(1), {20}));
    {  // as work of a stream that goes away
      Stream other(device);
      paged.sequence(2).append(other, first.k, first.v, 0);
    }
    EXPECT_EQ(first.run(paged.sequence(2), {0}), first.run(plain.sequence(2), {0}));
    // Rows of all sequences are renewed before pages change hands.
    paged.release(stream, 0);
    stream.discard();
    paged.reserve(stream, 1, 300);
    stream.commit().wait();
    for (const int32_t entry : paged.block_table().rows(0, 1).span<int32_t>()) EXPECT_EQ(entry, -1);
  }
}

TEST(PagedCachePages, AWrongCallTakesNone) {
  const Device device = test_device();
  Stream stream(device);
  Random random(9);
  for (const char* type : {"f16", "tq4"}) {
    KvCacheShape shape = shape_of(parse_kv_types(type).value(), 0, 16);
    shape.num_pages = 2;
    const KvCache cache(device, shape);
    const Step one(device, stream, 1, 1, random), all(device, stream, kBatch, 1, random);
    const uint64_t recorded = stream.counters().dispatches;
    expect_error(ErrorKind::kContextFull, {"pages", "0 free", "sequence 2"},
                 [&] { cache.append(stream, all.k, all.v, 0); });
    expect_error(ErrorKind::kInvalidArgument, {"3"},
                 [&] { cache.append(stream, one.k, one.v, 0); });
    expect_error(ErrorKind::kInvalidArgument, {"i32"}, [&] {
      cache.sequence(0).append(stream, one.k, device.alloc(i32, one.v.shape()), 0);
    });
    EXPECT_EQ(cache.free_pages(), 2);
    EXPECT_EQ(stream.counters().dispatches, recorded);
  }
}

TEST(PagedCacheErrors, EachRuleNamesItsField) {
  const Device device = test_device();
  Stream stream(device);
  const auto expect = [&](const char* field, const auto& change) {
    KvCacheShape shape = shape_of({f16, f16}, 0, 16);
    change(shape);
    expect_error(ErrorKind::kInvalidArgument, {"KvCache", field},
                 [&] { KvCache cache(device, shape); });
  };
  expect("page_size", [](KvCacheShape& s) { s.page_size = 8; });
  expect("page_size", [](KvCacheShape& s) { s.page_size = 48; });
  expect("page_size", [](KvCacheShape& s) { s.page_size = 512; });
  expect("page_size", [](KvCacheShape& s) { s.page_size = -16; });
  expect("num_pages", [](KvCacheShape& s) { s.num_pages = -1; });
  expect("num_pages", [](KvCacheShape& s) { s.page_size = 0, s.num_pages = 1; });
  expect("max_context", [](KvCacheShape& s) { s.max_context = (int64_t{1} << 31) - 5; });
  expect("2^63", [](KvCacheShape& s) { s.batch = 1 << 30, s.max_context = 1 << 30; });
  const KvCache cache(device, shape_of({f16, f16}, 0, 16));
  expect_error(ErrorKind::kInvalidArgument, {"sequence", "3"},
               [&] { cache.reserve(stream, 3, 1); });
  expect_error(ErrorKind::kInvalidArgument, {"tokens", "301", "300"},
               [&] { cache.reserve(stream, 0, 301); });
  expect_error(ErrorKind::kInvalidArgument, {"keep", "-1"}, [&] { cache.release(stream, 0, -1); });
}

}  // namespace
}  // namespace mlxn
