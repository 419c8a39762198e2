// SPDX-License-Identifier: Apache-2.0
// Packed sequences, pages, sinks, ALiBi and lse of attn_prefill.
#include "kernels/common/attn_oracle_kit.h"

namespace mlxn {
namespace {

using ops::SeqLayout;
using testing::expect_error;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

// Rows [begin, begin + count) of a packed buffer [rows, heads, dim] as one sequence [1, count,
// heads, dim].
Buffer sequence_of(const Buffer& packed, int64_t begin, int64_t count) {
  return packed.rows(begin, count).reshape({1, count, packed.dim(1), packed.dim(2)});
}

class AttnPrefillOptions : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = testing::entry_device(GetParam());
  Stream stream_{device_};

  ops::AttnPrefillArgs run(const ops::AttnPrefillArgs& args) {
    return testing::run_prefill(stream_, args);
  }
  // lse in the order of the oracle's rows.
  std::vector<float> lse_rows(const ops::AttnPrefillArgs& args) {
    const auto lse = testing::to_floats(args.lse);
    if (args.q_starts.empty()) return lse;
    testing::HostValues values;
    const int64_t batch = testing::sequences_of(args), len = args.q.dim(0);
    const int32_t* starts = values.of(args.q_starts, batch + 1);
    std::vector<float> rows;
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t h = 0; h < args.q.dim(1); ++h) {
        for (int64_t i = starts[b]; i < starts[b + 1]; ++i) {
          rows.push_back(lse[static_cast<size_t>(h * len + i)]);
        }
      }
    }
    return rows;
  }
  ops::AttnPrefillArgs expect_oracle(const ops::AttnPrefillArgs& args, const std::string& what) {
    const auto ran = run(args);
    const auto reference = testing::oracle_of(ran);
    testing::expect_attention(testing::in_oracle_order(device_, ran), reference, what);
    testing::expect_lse(lse_rows(ran), reference, what);
    return ran;
  }
  ops::AttnPrefillArgs make_args(int64_t q_len, int64_t kv_len,
                                 DType kv_dtype = testing::entry_dtype(GetParam()),
                                 int64_t v_dim = 64) {
    Random random(11);
    ops::AttnPrefillArgs args;
    args.q = random_buffer(device_, f32, {2, 8, q_len, 64}, random);
    args.k = random_buffer(device_, kv_dtype, {2, 2, kv_len, 64}, random);
    args.v = random_buffer(device_, kv_dtype, {2, 2, kv_len, v_dim}, random);
    args.kv_len = kv_len;
    args.softmax_scale = 0.12f;
    return args;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, AttnPrefillOptions,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_prefill_entries())));

TEST_P(AttnPrefillOptions, SinksAndAlibi) {
  Random random(1);
  const auto slopes = ops::alibi_slopes(8);
  for (bool causal : {true, false}) {
    auto args = make_args(70, 200);
    args.causal = causal;
    const auto plain = testing::bytes_of(expect_oracle(args, "plain").out);
    args.sinks = random_buffer(device_, f32, {8}, random);
    args.sinks.span<float>()[1] = 200.0f;
    EXPECT_NE(testing::bytes_of(expect_oracle(args, "sinks").out), plain);
    args.alibi_slopes = device_.upload(slopes.data(), f32, {8});
    args.window_size = 90;
    args.logits_soft_cap = 4.0f;
    expect_oracle(args, "sinks, alibi, window, cap");
    std::fill_n(args.sinks.span<float>().begin(), 8, -INFINITY);
    args.alibi_slopes = Buffer();
    args.window_size = 0;
    args.logits_soft_cap = 0.0f;
    EXPECT_EQ(testing::bytes_of(run(args).out), plain);
  }
  // Rows that see a sink only give 0, and its logit.
  auto args = make_args(64, 32);
  args.sinks = random_buffer(device_, f32, {8}, random);
  const auto ran = expect_oracle(args, "more queries than keys");
  EXPECT_EQ(ran.out.span<float>()[0], 0.0f);
  EXPECT_EQ(ran.lse.span<float>()[0], args.sinks.span<float>()[0]);
}

// P22: packed sequences give what each of them gives alone.
TEST_P(AttnPrefillOptions, PackedSequences) {
  const std::vector<int64_t> lens =
      testing::unless_short<int64_t>({0, 1, 33, 500, 0, 7}, {0, 1, 33, 80, 0});
  std::vector<int64_t> q_starts = {0}, k_starts = {0};
  for (int64_t len : lens) {
    q_starts.push_back(q_starts.back() + len);
    k_starts.push_back(k_starts.back() + (len == 33 ? 90 : len));
  }
  Random random(2);
  for (DType kv_dtype : {testing::entry_dtype(GetParam()), bf16}) {
    for (bool causal : {true, false}) {
      ops::AttnPrefillArgs args;
      args.q = random_buffer(device_, f32, {q_starts.back(), 8, 128}, random);
      args.k = random_buffer(device_, kv_dtype, {k_starts.back(), 2, 128}, random);
      args.v = random_buffer(device_, kv_dtype, {k_starts.back(), 2, 128}, random);
      args.q_starts = Lengths(q_starts);
      args.k_starts = Lengths(k_starts);
      args.softmax_scale = 0.09f;
      args.causal = causal;
      args.window_size = !causal ? 0 : testing::is_short() ? 50 : 100;
      const auto packed = expect_oracle(args, "packed");
      // Device-resident offsets are read when the work runs.
      auto resident = args;
      resident.q_starts = testing::make_i32(device_, {q_starts.begin(), q_starts.end()});
      resident.k_starts = testing::make_i32(device_, {k_starts.begin(), k_starts.end()});
      EXPECT_EQ(testing::bytes_of(run(resident).out), testing::bytes_of(packed.out));
      for (size_t b = 0; b < lens.size(); ++b) {
        if (lens[b] == 0) continue;
        ops::AttnPrefillArgs one = args;
        one.q_starts = one.k_starts = {};
        one.q = sequence_of(args.q, q_starts[b], lens[b]);
        one.k = sequence_of(args.k, k_starts[b], k_starts[b + 1] - k_starts[b]);
        one.v = sequence_of(args.v, k_starts[b], k_starts[b + 1] - k_starts[b]);
        one.kv_len = k_starts[b + 1] - k_starts[b];
        one.q_layout = one.kv_layout = SeqLayout::kSeqMajor;
        const auto alone = run(one);
        EXPECT_EQ(testing::bytes_of(alone.out),
                  testing::bytes_of(packed.out.rows(q_starts[b], lens[b])))
            << "sequence " << b;
      }
    }
  }
}

// Queries packed, keys in a cache for each sequence: chunks of different lengths.
TEST_P(AttnPrefillOptions, PackedQueriesOverCaches) {
  Random random(3);
  for (bool pages : {false, true}) {
    ops::AttnPrefillArgs args;
    args.q = random_buffer(device_, f32, {60, 4, 64}, random);
    args.k = random_buffer(device_, f16, {3, 2, 160, 64}, random);
    args.v = random_buffer(device_, f16, {3, 2, 160, pages ? 64 : 32}, random);
    args.q_starts = {0, 1, 41, 60};
    args.kv_len = {77, 160, 19};
    args.softmax_scale = 0.125f;
    if (pages) {
      const auto paged = testing::make_pages(device_, args.k, args.v, 16, random);
      args.k = paged.k;
      args.v = paged.v;
      args.block_table = paged.block_table;
    }
    expect_oracle(args, pages ? "pages" : "caches");
    args.q_offset = {76, 100, 0};
    expect_oracle(args, "offsets");
  }
}

// Offsets that a device got wrong stay inside the buffers.
TEST_P(AttnPrefillOptions, WrongOffsetsStayInside) {
  Random random(4);
  ops::AttnPrefillArgs args;
  args.q = random_buffer(device_, f32, {50, 4, 64}, random);
  args.k = random_buffer(device_, testing::entry_dtype(GetParam()), {50, 2, 64}, random);
  args.v = random_buffer(device_, args.k.dtype(), {50, 2, 64}, random);
  for (const auto& starts : std::vector<std::vector<int32_t>>{
           {0, 20, 1000}, {-5, 70, 30}, {40, 10, 50}, {1 << 30, -(1 << 30), 3}}) {
    args.q_starts = testing::make_i32(device_, starts);
    args.k_starts = testing::make_i32(device_, starts);
    run(args);  // guards, and the emulator's bounds
  }
}

TEST_P(AttnPrefillOptions, PagesEqualTheContiguousCache) {
  Random random(5);
  for (DType kv_dtype : {f32, f16, bf16}) {
    for (int64_t page_size : testing::unless_short<int64_t>({16, 64, 128}, {16, 64})) {
      auto args = make_args(37, 300, kv_dtype, kv_dtype == f32 ? 48 : 64);
      args.kv_len = {300, 181};
      testing::poison_slots(args.k, [](int64_t b, int64_t slot) { return slot < (b ? 181 : 300); });
      testing::poison_slots(args.v, [](int64_t b, int64_t slot) { return slot < (b ? 181 : 300); });
      args.window_size = 111;
      const auto contiguous = expect_oracle(args, "contiguous");
      const auto paged = testing::make_pages(device_, args.k, args.v, page_size, random);
      args.k = paged.k;
      args.v = paged.v;
      args.block_table = paged.block_table;
      const auto ran = expect_oracle(args, "paged");
      EXPECT_EQ(testing::bytes_of(ran.out), testing::bytes_of(contiguous.out)) << page_size;
      EXPECT_EQ(testing::bytes_of(ran.lse), testing::bytes_of(contiguous.lse)) << page_size;
      // Pages outside the cache hold no keys.
      args.block_table.span<int32_t>()[2] = 99999;
      args.block_table.span<int32_t>()[5] = -1;
      expect_oracle(args, "holes");
    }
  }
}

// Every layout of queries against every layout of keys, with a value width of its own or not.
TEST_P(AttnPrefillOptions, LayoutsAgree) {
  for (int64_t v_dim : {48, 64}) {
    const auto args = make_args(50, 90, f16, v_dim);
    const auto expected = expect_oracle(args, "head-major");
    const auto transposed = [&](const Buffer& b) {
      const Buffer result = device_.alloc(b.dtype(), {b.dim(0), b.dim(2), b.dim(1), b.dim(3)});
      const size_t row = static_cast<size_t>(b.dim(3)) * size_of(b.dtype());
      for (int64_t r = 0; r < b.dim(0) * b.dim(1) * b.dim(2); ++r) {
        const int64_t sequence = r / (b.dim(1) * b.dim(2)), h = r / b.dim(2) % b.dim(1);
        const int64_t to = (sequence * b.dim(2) + r % b.dim(2)) * b.dim(1) + h;
        std::memcpy(result.data() + static_cast<size_t>(to) * row,
                    b.data() + static_cast<size_t>(r) * row, row);
      }
      return result;
    };
    for (bool q_seq : {false, true}) {
      for (bool kv_seq : {false, true}) {
        auto other = args;
        if (q_seq) {
          other.q = transposed(args.q);
          other.q_layout = SeqLayout::kSeqMajor;
        }
        if (kv_seq) {
          other.k = transposed(args.k);
          other.v = transposed(args.v);
          other.kv_layout = SeqLayout::kSeqMajor;
        }
        const auto ran = run(other);
        EXPECT_EQ(testing::bytes_of(testing::in_oracle_order(device_, ran)),
                  testing::bytes_of(expected.out));
        EXPECT_EQ(testing::bytes_of(ran.lse), testing::bytes_of(expected.lse));
      }
    }
  }
}

// A context cut in two, each half attended on its own and joined.
TEST_P(AttnPrefillOptions, PartsMerge) {
  auto args = make_args(20, 200);
  args.causal = false;
  args.sinks = device_.upload(std::vector<float>(8, 0.5f).data(), f32, {8});
  const auto reference = testing::oracle_of(args);
  const Buffer parts = device_.alloc(f32, {2, 2, 8, 20, 64}),
               lse = device_.alloc(f32, {2, 2, 8, 20});
  for (int64_t half : {0, 1}) {
    auto part = args;
    if (half == 1) part.sinks = Buffer();
    for (auto [target, source] : {std::pair(&part.k, &args.k), std::pair(&part.v, &args.v)}) {
      *target = device_.alloc(source->dtype(), {2, 2, 100, 64});
      const int64_t bytes = 64 * static_cast<int64_t>(size_of(source->dtype()));
      for (int64_t h = 0; h < 4; ++h) {
        std::memcpy(target->data() + h * 100 * bytes,
                    source->data() + (h * 200 + half * 100) * bytes,
                    static_cast<size_t>(100 * bytes));
      }
    }
    part.kv_len = 100;
    part.out = parts.rows(half, 1).reshape({2, 8, 20, 64});
    part.lse = lse.rows(half, 1).reshape({2, 8, 20});
    ops::attn_prefill(stream_, part);
  }
  const Buffer out = device_.alloc(f32, {2, 8, 20, 64}), out_lse = device_.alloc(f32, {2, 8, 20});
  ops::attn_merge(stream_, {.parts = parts, .lse = lse, .out = out, .out_lse = out_lse});
  stream_.commit().wait();
  testing::expect_attention(out, reference, "merged");
  testing::expect_lse(testing::to_floats(out_lse), reference, "merged");
}

TEST(AttnPrefillOptionErrors, EachRuleNamesItsParameter) {  // P20
  const Device device = test_device();
  Stream stream(device);
  using Args = ops::AttnPrefillArgs;
  Args good;
  good.q = device.alloc(f32, {60, 4, 64});
  good.k = device.alloc(f32, {90, 2, 64});
  good.v = device.alloc(f32, {90, 2, 64});
  good.out = device.alloc(f32, {60, 4, 64});
  good.lse = device.alloc(f32, {4, 60});
  good.q_starts = {0, 10, 60};
  good.k_starts = {0, 40, 90};
  const auto expect = [&](const std::vector<std::string>& fragments, const auto& change) {
    Args args = good;
    change(args);
    auto all = fragments;
    all.push_back("attn_prefill");
    expect_error(ErrorKind::kInvalidArgument, all, [&] { ops::attn_prefill(stream, args); });
  };
  expect({"q_starts", "61", "60"}, [](Args& a) { a.q_starts = {0, 10, 61}; });
  expect({"q_starts", "9"}, [](Args& a) { a.q_starts = {0, 10, 9}; });
  expect({"q_starts", "3", "0 as the first"}, [](Args& a) { a.q_starts = {3, 10, 60}; });
  expect({"q_starts", "1 values"}, [](Args& a) { a.q_starts = {0}; });
  expect({"k_starts", "3 sequences", "2"}, [](Args& a) { a.k_starts = {0, 1, 2, 90}; });
  expect({"k_starts", "q_starts"}, [&](Args& a) {
    a.q_starts = {};
    a.q = device.alloc(f32, {1, 4, 60, 64});
    a.out = device.alloc(f32, {1, 4, 60, 64});
  });
  expect({"kv_len", "k_starts"}, [](Args& a) { a.kv_len = 40; });
  expect({"ring", "k_starts"}, [](Args& a) { a.ring = true; });
  expect({"mask", "q_starts"}, [&](Args& a) { a.mask = device.alloc(u8, {60, 90}); });
  expect({"q", "3 extents"}, [](Args& a) { a.q = a.q.reshape({1, 60, 4, 64}); });
  expect({"lse", "[60, 4]", "[4, 60]"}, [&](Args& a) { a.lse = device.alloc(f32, {60, 4}); });
  expect({"sinks", "[2]"}, [&](Args& a) { a.sinks = device.alloc(f32, {2}); });
  expect({"alibi_slopes", "f16"}, [&](Args& a) { a.alibi_slopes = device.alloc(f16, {4}); });
  expect({"q_offset", "35"}, [](Args& a) { a.q_offset = {35, 0}; });
  const auto paged = [&](Args& a) {
    a.k_starts = {};
    a.k = device.alloc(f32, {9, 2, 16, 64});
    a.v = device.alloc(f32, {9, 2, 16, 64});
    a.block_table = device.alloc(DType::kI32, {2, 4});
    a.kv_len = {10, 64};
  };
  expect({"kv_len", "65", "64"}, [&](Args& a) { paged(a), a.kv_len = {10, 65}; });
  expect({"kv_layout", "block_table"},
         [&](Args& a) { paged(a), a.kv_layout = SeqLayout::kSeqMajor; });
  expect({"block_table", "[3, 4]"}, [&](Args& a) {
    paged(a), a.block_table = device.alloc(DType::kI32, {3, 4});
  });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_prefill(stream, good);
  paged(good);
  ops::attn_prefill(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
