// SPDX-License-Identifier: Apache-2.0
// What must not change a bit: classes of mask tiles, the place of a cut between chunks (at key
// tiles), the sequences beside a sequence, the slots that keys lie in, pages, and the
// device-resident form of a value. Every pair over every dtype of queries and keys and the options
// that touch the arithmetic.
#include "kernels/common/attn_oracle_kit.h"

namespace mlxn {
namespace {

using ops::SeqLayout;
using testing::Random;
using testing::random_buffer;

struct Options {
  DType q_dtype, kv_dtype;
  int64_t dim, v_dim, window_size;
  bool extras;  // soft cap, ALiBi and sinks

  std::string name() const {
    return std::string(mlxn::name(q_dtype)) + "/" + std::string(mlxn::name(kv_dtype)) + " dim " +
           std::to_string(dim) + " window " + std::to_string(window_size) +
           (extras ? " extras" : "");
  }
};

class AttnBits : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = testing::entry_device(GetParam());
  Stream stream_{device_};
  Random random_{42};

  std::vector<Options> options() {
    std::vector<Options> all;
    typedef std::pair<DType, DType> Types;
    for (const auto& [q_dtype, kv_dtype] :
         {Types{f32, f32}, {f32, f16}, {f32, bf16}, {f16, f16}, {bf16, bf16}}) {
      for (const auto& [dim, v_dim] : std::vector<std::pair<int64_t, int64_t>>{
               {64, 64}, {96, 96}, {128, 128}, {128, 96}, {192, 192}, {256, 256}, {512, 512}}) {
        all.push_back({q_dtype, kv_dtype, dim, v_dim, 90, true});
        all.push_back({q_dtype, kv_dtype, dim, v_dim, 0, false});
      }
    }
    return testing::unless_short<Options>(all, {{f32, f32, 64, 64, 50, true},
                                                {f32, f16, 256, 256, 50, true},
                                                {f32, bf16, 512, 512, 50, true},
                                                {f32, bf16, 80, 80, 50, true},
                                                {f32, f16, 128, 128, 50, true},
                                                {f16, f16, 128, 128, 50, true},
                                                {bf16, bf16, 64, 64, 50, false},
                                                {f32, f16, 64, 40, 0, false}});
  }
  template <class Args>
  void set(Args& args, const Options& o, int64_t heads) {
    args.softmax_scale = 1.0f / std::sqrt(static_cast<float>(o.dim));
    if (!o.extras) return;
    args.logits_soft_cap = 3.0f;
    const auto slopes = ops::alibi_slopes(heads);
    args.alibi_slopes = device_.upload(slopes.data(), f32, {heads});
    args.sinks = random_buffer(device_, f32, {heads}, random_);
  }
  // Output and lse as bytes; rows [begin, end) of each head.
  std::vector<std::byte> prefill(ops::AttnPrefillArgs args, int64_t begin = 0, int64_t end = -1) {
    const int64_t heads = args.q.dim(1), len = args.q.dim(2), dim = args.v.dim(3);
    args.out = device_.alloc(args.q.dtype(), {args.q.dim(0), heads, len, dim});
    args.lse = device_.alloc(f32, {args.q.dim(0), heads, len});
    ops::attn_prefill(stream_, args);
    stream_.commit().wait();
    if (end < 0) end = len;
    const size_t row = static_cast<size_t>(dim) * size_of(args.q.dtype());
    std::vector<std::byte> bytes;
    for (int64_t h = 0; h < args.q.dim(0) * heads; ++h) {
      const auto take = [&](const Buffer& b, size_t size) {
        const std::byte* head = b.data() + static_cast<size_t>(h * len) * size;
        bytes.insert(bytes.end(), head + static_cast<size_t>(begin) * size,
                     head + static_cast<size_t>(end) * size);
      };
      take(args.out, row);
      take(args.lse, sizeof(float));
    }
    return bytes;
  }
  std::vector<std::byte> decode(ops::AttnDecodeArgs args) {
    args.out = device_.alloc(args.q.dtype(), {args.q.dim(0), args.q.dim(1), args.v.dim(3)});
    args.lse = device_.alloc(f32, {args.q.dim(0), args.q.dim(1)});
    ops::attn_decode(stream_, args);
    stream_.commit().wait();
    auto bytes = testing::bytes_of(args.out);
    const auto lse = testing::bytes_of(args.lse);
    bytes.insert(bytes.end(), lse.begin(), lse.end());
    return bytes;
  }
  // Slots of a ring of `capacity` after position `end` - 1 was written; position a comes from slot
  // a of `linear`.
  Buffer ring_of(const Buffer& linear, int64_t end, int64_t capacity) {
    const int64_t blocks = linear.dim(0) * linear.dim(1), dim = linear.dim(3);
    const Buffer ring =
        device_.alloc(linear.dtype(), {linear.dim(0), linear.dim(1), capacity, dim});
    testing::poison_slots(ring, [](int64_t, int64_t) { return false; });
    const size_t row = static_cast<size_t>(dim) * size_of(linear.dtype());
    for (int64_t h = 0; h < blocks; ++h) {
      for (int64_t a = std::max<int64_t>(0, end - capacity); a < end; ++a) {
        std::memcpy(ring.data() + static_cast<size_t>(h * capacity + a % capacity) * row,
                    linear.data() + static_cast<size_t>(h * linear.dim(2) + a) * row, row);
      }
    }
    return ring;
  }
  Buffer query_rows(const Buffer& q, int64_t begin, int64_t count) {
    const Buffer part = device_.alloc(q.dtype(), {q.dim(0), q.dim(1), count, q.dim(3)});
    const size_t row = static_cast<size_t>(q.dim(3)) * size_of(q.dtype());
    for (int64_t h = 0; h < q.dim(0) * q.dim(1); ++h) {
      std::memcpy(part.data() + static_cast<size_t>(h * count) * row,
                  q.data() + static_cast<size_t>(h * q.dim(2) + begin) * row,
                  static_cast<size_t>(count) * row);
    }
    return part;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, AttnBits,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_prefill_entries())));

TEST_P(AttnBits, Prefill) {
  const int32_t len = testing::is_short() ? 128 : 192, at = len - 64;
  const int64_t heads = testing::is_short() ? 2 : 4, kv_heads = heads / 2;
  for (const Options& o : options()) {
    SCOPED_TRACE(o.name());
    ops::AttnPrefillArgs args;
    args.q = random_buffer(device_, o.q_dtype, {2, heads, len, o.dim}, random_);
    args.k = random_buffer(device_, o.kv_dtype, {2, kv_heads, len, o.dim}, random_);
    args.v = random_buffer(device_, o.kv_dtype, {2, kv_heads, len, o.v_dim}, random_);
    args.kv_len = len;
    args.window_size = o.window_size;
    set(args, o, heads);
    const auto whole = prefill(args);
    EXPECT_EQ(prefill(args), whole) << "again";
    const auto last = prefill(args, at, len);

    // The last chunk alone: over the whole cache, a ring, pages, and with values on the device.
    auto chunk = args;
    chunk.q = query_rows(args.q, at, len - at);
    chunk.q_offset = at;
    EXPECT_EQ(prefill(chunk), last) << "chunk";
    auto resident = chunk;
    resident.kv_len = testing::make_i32(device_, {len, len});
    resident.q_offset = testing::make_i32(device_, {at, at});
    EXPECT_EQ(prefill(resident), last) << "device-resident values";
    const auto paged = testing::make_pages(device_, args.k, args.v, 16, random_);
    auto pages = chunk;
    pages.k = paged.k;
    pages.v = paged.v;
    pages.block_table = paged.block_table;
    EXPECT_EQ(prefill(pages), last) << "pages";
    if (o.window_size > 0) {
      auto ring = chunk;
      const int64_t capacity = o.window_size + (len - at) - 1;
      ring.k = ring_of(args.k, len, capacity);
      ring.v = ring_of(args.v, len, capacity);
      ring.ring = true;
      EXPECT_EQ(prefill(ring), last) << "ring";
    }

    // An explicit mask instead of the implicit one, with and without classes.
    auto masked = args;
    masked.causal = false;
    masked.window_size = 0;
    masked.mask = device_.alloc(bf16, {len, len});
    ops::AttnMaskBuildArgs build{.out = masked.mask};
    if (o.window_size > 0) build.window_size = o.window_size;
    ops::attn_mask_build(stream_, build);
    EXPECT_EQ(prefill(masked), whole) << "mask";
    masked.mask_tiles = {.classes = device_.alloc(u8, {len / 32, len / 64}),
                         .q_tile = ops::kAttnMaskQTile,
                         .k_tile = ops::kAttnMaskKTile};
    ops::attn_mask_classify(stream_, {.mask = masked.mask, .tiles = masked.mask_tiles});
    EXPECT_EQ(prefill(masked), whole) << "classes";

    // The second sequence alone.
    auto one = args;
    one.q = args.q.rows(1, 1);
    one.k = args.k.rows(1, 1);
    one.v = args.v.rows(1, 1);
    const auto alone = prefill(one);
    EXPECT_TRUE(
        std::equal(alone.begin(), alone.end(), whole.end() - static_cast<ptrdiff_t>(alone.size())))
        << "alone";
  }
}

TEST_P(AttnBits, Decode) {
  const int64_t len = 700, heads = testing::is_short() ? 3 : 6, kv_heads = heads / 3;
  for (const Options& o : options()) {
    SCOPED_TRACE(o.name());
    ops::AttnDecodeArgs args;
    args.q = random_buffer(device_, o.q_dtype, {2, heads, o.dim}, random_);
    args.k = random_buffer(device_, o.kv_dtype, {2, kv_heads, len, o.dim}, random_);
    args.v = random_buffer(device_, o.kv_dtype, {2, kv_heads, len, o.v_dim}, random_);
    args.kv_len = {len, len - 61};
    if (o.window_size > 0) {
      args.mask = ops::MaskKind::kWindow;
      args.window_size = o.window_size;
    }
    set(args, o, heads);
    const auto batch = decode(args);
    EXPECT_EQ(decode(args), batch) << "again";
    const auto paged = testing::make_pages(device_, args.k, args.v, 64, random_);
    auto pages = args;
    pages.k = paged.k;
    pages.v = paged.v;
    pages.block_table = paged.block_table;
    EXPECT_EQ(decode(pages), batch) << "pages";
    auto resident = args;
    resident.kv_len = testing::make_i32(device_, {len, len - 61});
    EXPECT_EQ(decode(resident), batch) << "device-resident values";

    // The first sequence alone, in a longer cache, and in a ring.
    auto one = args;
    one.q = args.q.rows(0, 1);
    one.k = args.k.rows(0, 1);
    one.v = args.v.rows(0, 1);
    one.kv_len = len;
    const auto alone = decode(one);
    const size_t row = static_cast<size_t>(heads * o.v_dim) * size_of(o.q_dtype);
    EXPECT_EQ(std::memcmp(alone.data(), batch.data(), row), 0) << "alone";
    auto longer = one;
    longer.k = ring_of(one.k, len, len + 200);
    longer.v = ring_of(one.v, len, len + 200);
    EXPECT_EQ(decode(longer), alone) << "longer cache";
    if (o.window_size == 0) continue;
    auto ring = one;
    ring.k = ring_of(one.k, len, 128);
    ring.v = ring_of(one.v, len, 128);
    ring.ring = true;
    EXPECT_EQ(decode(ring), alone) << "ring";
    ring.ring = false;
    ring.kv_len = 128;
    ring.ring_start = len % 128;
    EXPECT_EQ(decode(ring), alone) << "ring_start";
  }
}

}  // namespace
}  // namespace mlxn
