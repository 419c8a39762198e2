// SPDX-License-Identifier: Apache-2.0
// attn_decode_tq and attn_prefill_tq. The oracle decodes every row in float64, rotated back, and is
// then that of the dense ops: it knows nothing of the rotated domain.
#include "kernels/attn_decode/reference.h"
#include "kernels/attn_decode_tq/params.h"
#include "kernels/attn_prefill/reference.h"
#include "kernels/common/attn_test_kit.h"
#include "kernels/turboquant/reference.h"
#include "mlxn/ops/turboquant.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

struct Case {
  int64_t batch = 1, heads = 4, kv_heads = 2, dim = 64, v_dim = 0, capacity = 64;
  std::vector<int64_t> kv_len = {64};
  int bits_k = 4, bits_v = 4;
  float softmax_scale = 0.1f, logits_soft_cap = 0.0f;
  int64_t window_size = 0;
  bool ring = false;

  std::string name() const {
    return "H " + std::to_string(heads) + "/" + std::to_string(kv_heads) + " D " +
           std::to_string(dim) + " bits " + std::to_string(bits_k) + "/" + std::to_string(bits_v) +
           " kv_len " + std::to_string(kv_len[0]) + "/" + std::to_string(capacity) + " window " +
           std::to_string(window_size);
  }
};

std::vector<int32_t> expand(const Lengths& lengths, int64_t batch) {
  std::vector<int32_t> values;
  for (int64_t b = 0; b < batch; ++b) {
    values.push_back(static_cast<int32_t>(lengths.host[lengths.host.size() == 1 ? 0 : size_t(b)]));
  }
  return values;
}

// All rows of a cache in f32, as the dense ops would hold them.
std::vector<float> dense_rows(const ops::TqRows& rows, int64_t dim) {
  const kernels::TqCache c{.codes = reinterpret_cast<uint8_t*>(rows.codes.data()),
                           .norms = reinterpret_cast<float*>(rows.norms.data()),
                           .capacity = rows.codes.dim(2),
                           .row_bytes = ops::tq_row_bytes(rows.format, dim),
                           .dim = static_cast<int32_t>(dim),
                           .norm_count = static_cast<int32_t>(ops::tq_norm_count(dim)),
                           .table = quant::make_tq_table(rows.format)};
  std::vector<float> values;
  for (int64_t r = 0; r < rows.codes.dim(0) * rows.codes.dim(1) * rows.codes.dim(2); ++r) {
    const auto row = kernels::tq_decode_reference(c, r, true);
    values.insert(values.end(), row.begin(), row.end());
  }
  return values;
}

// Rotating and rotating back costs up to 1e-6 of the norm of what is rotated.
void allow_rotation(kernels::AttnReference& r) {
  const size_t width = r.out.size() / r.z_max.size();
  for (size_t row = 0; row < r.z_max.size(); ++row) {
    double sum = 0.0;
    for (size_t i = 0; i < width; ++i) sum += r.weight[row * width + i];
    for (size_t i = 0; i < width; ++i) {
      r.weight[row * width + i] =
          std::max(r.weight[row * width + i], sum / static_cast<double>(width));
    }
  }
}

class AttnTqTest : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = testing::entry_device(GetParam());
  Stream stream_{device_};

  ops::TqRows make_rows(const Case& c, int64_t dim, ops::TqFormat format, Random& random) {
    const ops::TqRows rows{
        device_.alloc(u8, {c.batch, c.kv_heads, c.capacity, ops::tq_row_bytes(format, dim)}),
        device_.alloc(f32, {c.batch, c.kv_heads, c.capacity, ops::tq_norm_count(dim)}), format};
    const Buffer src =
        testing::random_buffer(device_, f32, {c.batch, c.capacity, c.kv_heads, dim}, random);
    ops::tq_encode(stream_, {.src = src, .to = rows, .pos = 0});
    stream_.commit().wait();
    testing::poison_slots(rows.norms, [&](int64_t b, int64_t slot) {
      return slot < c.kv_len[c.kv_len.size() == 1 ? 0 : static_cast<size_t>(b)];
    });
    return rows;
  }

  ops::AttnDecodeTqArgs make_args(const Case& c, uint32_t seed = 1) {
    Random random(seed);
    ops::AttnDecodeTqArgs args;
    const int64_t v_dim = c.v_dim ? c.v_dim : c.dim;
    args.q = testing::random_buffer(device_, f32, {c.batch, c.heads, c.dim}, random);
    args.k = make_rows(c, c.dim, {.bits = c.bits_k}, random);
    args.v = make_rows(c, v_dim, {.bits = c.bits_v}, random);
    args.out = device_.alloc(f32, {c.batch, c.heads, v_dim});
    args.kv_len = Lengths(c.kv_len);
    args.softmax_scale = c.softmax_scale;
    args.logits_soft_cap = c.logits_soft_cap;
    args.window_size = c.window_size;
    args.mask = c.window_size > 0 ? ops::MaskKind::kWindow : ops::MaskKind::kCausal;
    args.ring = c.ring;
    return args;
  }

  // Runs twice, expects the same bits.
  Buffer run(ops::AttnDecodeTqArgs args) {
    const GuardedBuffer out(device_, f32, args.out.shape()), again(device_, f32, args.out.shape());
    for (const GuardedBuffer* target : {&out, &again}) {
      args.out = target->view();
      ops::attn_decode_tq(stream_, args);
    }
    stream_.commit().wait();
    out.check();
    EXPECT_EQ(testing::bytes_of(out.view()), testing::bytes_of(again.view()));
    return out.view();
  }

  static kernels::AttnReference reference_of(const ops::AttnDecodeTqArgs& args) {
    const int64_t batch = args.q.dim(0), v_dim = args.out.dim(2);
    const auto k = dense_rows(args.k, args.q.dim(2)), v = dense_rows(args.v, v_dim);
    const auto kv_len = expand(args.kv_len, batch);
    const auto start = args.ring_start.empty() ? kv_len : expand(args.ring_start, batch);
    kernels::AttnDecodeParams p{};
    p.q = args.q.data();
    p.k = k.data();
    p.v = v.data();
    p.kv_len = kv_len.data();
    p.ring_start = args.ring_start.empty() ? nullptr : start.data();
    p.batch = batch;
    p.num_heads = args.q.dim(1);
    p.num_kv_heads = args.k.codes.dim(1);
    p.capacity = args.k.codes.dim(2);
    p.window_size = args.window_size;
    p.head_dim = static_cast<int32_t>(args.q.dim(2));
    p.v_dim = static_cast<int32_t>(v_dim);
    p.q_dtype = p.kv_dtype = f32;
    p.softmax_scale = args.softmax_scale;
    p.logits_soft_cap = args.logits_soft_cap;
    p.ring = args.ring;
    auto reference = kernels::attn_decode_reference(p);
    allow_rotation(reference);
    return reference;
  }

  Buffer expect_oracle(const Case& c, uint32_t seed = 1) {
    const auto args = make_args(c, seed);
    const Buffer out = run(args);
    testing::expect_attention(out, reference_of(args), c.name());
    return out;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, AttnTqTest,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_decode_tq_entries())));

TEST_P(AttnTqTest, EveryWidth) {  // Q12
  struct Extent {
    int64_t heads, kv_heads, dim, kv_len;
  };
  const auto extents = testing::unless_emulated<Extent>(
      {{8, 4, 256, 64}, {4, 2, 512, 32}, {4, 4, 256, 8}, {32, 4, 256, 1024}, {8, 2, 128, 777}},
      {{8, 4, 256, 20}, {4, 2, 512, 19}, {8, 2, 128, 77}});
  uint32_t seed = 0;
  for (const Extent& e : extents) {
    for (int bits : {2, 3, 4, 5, 6, 8}) {
      for (int64_t window : {0, 64}) {
        for (bool ring : {false, true}) {
          expect_oracle({.heads = e.heads,
                         .kv_heads = e.kv_heads,
                         .dim = e.dim,
                         .capacity = e.kv_len,
                         .kv_len = {ring ? e.kv_len + 13 : e.kv_len},
                         .bits_k = bits,
                         .bits_v = bits,
                         .softmax_scale = 1.0f / 16,
                         .window_size = window,
                         .ring = ring},
                        ++seed);
        }
      }
    }
  }
}

TEST_P(AttnTqTest, EveryHeadDimAndMixedWidths) {  // Q19
  const int widths[] = {2, 3, 4, 5, 6, 8};
  uint32_t seed = 0;
  for (int64_t dim = 8; dim <= 512; dim += on_emulator() ? 72 : 8) {
    const int64_t group = 1 + dim / 8 % 9;
    const auto bits = static_cast<size_t>(dim / 8);
    expect_oracle({.heads = 2 * group,
                   .kv_heads = 2,
                   .dim = dim,
                   .v_dim = 520 - dim,
                   .capacity = 71,
                   .kv_len = {70},
                   .bits_k = widths[bits % 6],
                   .bits_v = widths[bits / 6 % 6]},
                  ++seed);
  }
  expect_oracle(
      {.heads = 8, .kv_heads = 2, .dim = 256, .capacity = 200, .kv_len = {199}, .bits_k = 8});
}

TEST_P(AttnTqTest, SoftCapLongAndShort) {
  expect_oracle({.heads = 8,
                 .dim = 128,
                 .capacity = 150,
                 .kv_len = {150},
                 .softmax_scale = 1.0f,
                 .logits_soft_cap = 5.0f});
  expect_oracle({.heads = 16,
                 .dim = 128,
                 .capacity = on_emulator() ? 300 : 5000,
                 .kv_len = {on_emulator() ? 300 : 4999}});
  expect_oracle({.capacity = 3, .kv_len = {1}});
  auto blocked = make_args({.capacity = 4, .kv_len = {1}});  // Q15
  blocked.ring_start = 2;
  for (float value : testing::to_floats(run(blocked))) EXPECT_EQ(value, 0.0f);
}

// Every parameter at once; the seed of a configuration is in its name.
TEST_P(AttnTqTest, RandomConfigurations) {
  const int widths[] = {2, 3, 4, 5, 6, 8};
  for (uint32_t seed = 0; seed < (on_emulator() ? 10u : 150u); ++seed) {
    Random random(1000 + seed);
    const auto pick = [&](int64_t low, int64_t high) { return random.integer(low, high); };
    Case c{.batch = pick(1, 3), .kv_heads = pick(1, 3), .dim = 8 * pick(1, 64)};
    c.heads = c.kv_heads * pick(1, 9);
    c.v_dim = 8 * pick(1, 64);
    c.capacity = pick(1, on_emulator() ? 40 : 600);
    c.ring = pick(0, 1) == 1;
    c.kv_len.clear();
    for (int64_t b = 0; b < c.batch; ++b) {
      c.kv_len.push_back(pick(1, c.ring ? 3 * c.capacity : c.capacity));
    }
    c.bits_k = widths[pick(0, 5)];
    c.bits_v = widths[pick(0, 5)];
    c.window_size = pick(0, 1) * pick(1, 2 * c.capacity);
    c.logits_soft_cap = static_cast<float>(pick(0, 1) * pick(1, 20));
    auto args = make_args(c, seed);
    args.n_split = static_cast<int>(pick(0, 1) * pick(1, 9));
    if (!c.ring && pick(0, 1) == 1) args.ring_start = pick(0, c.capacity - 1);
    testing::expect_attention(run(args), reference_of(args),
                              "seed " + std::to_string(seed) + " " + c.name());
  }
}

TEST_P(AttnTqTest, BatchThreadsAndSplits) {
  const int64_t most = on_emulator() ? 270 : 700;
  const Case c{.batch = 3, .heads = 8, .dim = 128, .capacity = most, .kv_len = {1, 77, most}};
  auto args = make_args(c, 7);
  const Buffer all = run(args);
  testing::expect_attention(all, reference_of(args), c.name());
  const size_t row = all.byte_len() / 3;
  for (int threads : testing::unless_emulated<int>({1, 3}, {1})) {
    const Device device = testing::entry_device(GetParam(), threads);
    Stream stream(device);
    const auto copy = [&](const Buffer& b) {
      return device.upload(b.data(), b.dtype(), b.shape());
    };
    for (int64_t b = 0; b < 3; ++b) {
      auto one = args;
      one.q = copy(args.q.rows(b, 1));
      for (auto [to, from] : {std::pair{&one.k, &args.k}, std::pair{&one.v, &args.v}}) {
        to->codes = copy(from->codes.rows(b, 1));
        to->norms = copy(from->norms.rows(b, 1));
      }
      one.out = device.alloc(f32, {1, 8, 128});
      one.kv_len = c.kv_len[static_cast<size_t>(b)];
      ops::attn_decode_tq(stream, one);
      stream.commit().wait();
      EXPECT_EQ(std::memcmp(one.out.data(), all.data() + static_cast<size_t>(b) * row, row), 0);
    }
  }
  for (int n_split : {1, 7, 64}) {
    args.n_split = n_split;
    testing::expect_attention(run(args), reference_of(args), "n_split " + std::to_string(n_split));
  }
  args.out = device_.alloc(f32, {3, 8, 128});
  testing::expect_repeatable(device_, [&](Stream& s) { ops::attn_decode_tq(s, args); }, {args.out});
}

TEST_P(AttnTqTest, RotatedModeAndOtherSigns) {  // Q13
  Random random(13);
  const Case c{.heads = 6, .dim = 96, .capacity = 130, .kv_len = {130}};
  auto args = make_args(c);
  ops::TqFormat format_k, format_v{.bits = 5, .packing = ops::TqPacking::kBytes};
  for (int i = 0; i < 12; ++i) {
    format_k.signs.push_back(static_cast<uint8_t>(random.integer(0, 255)));
    format_v.signs.push_back(static_cast<uint8_t>(random.integer(0, 255)));
  }
  for (int i = 0; i < 32; ++i) format_v.codebook.push_back(0.17f * (static_cast<float>(i) - 15.4f));
  args.k = make_rows(c, 96, format_k, random);
  args.v = make_rows(c, 96, format_v, random);
  const Buffer plain = run(args);
  testing::expect_attention(plain, reference_of(args), "foreign tables");
  auto rotated = args;
  rotated.rotated = true;
  rotated.q = device_.alloc(f32, args.q.shape());
  ops::fwht(stream_, {.x = args.q,
                      .out = rotated.q,
                      .mode = ops::FwhtMode::kForward,
                      .signs = format_k.signs,
                      .blocks = true});
  const Buffer out = run(rotated);
  ops::fwht(stream_, {.x = out,
                      .out = out,
                      .mode = ops::FwhtMode::kInverse,
                      .signs = format_v.signs,
                      .blocks = true});
  stream_.commit().wait();
  testing::expect_attention(out, reference_of(args), "rotated by the caller");
}

TEST_P(AttnTqTest, ErrorAgainstUncodedAttention) {  // Q14
  if (on_emulator()) GTEST_SKIP() << "needs many rows";
  const double bounds[] = {0, 0, 0.454, 0.259, 0.137, 0.071, 0.035, 0, 0.0091};
  for (int64_t keys : {64, 1024}) {
    double last = 1.0;
    for (int bits : {2, 3, 4, 5, 6, 8}) {
      Random random(14);
      const Case c{.heads = 16,
                   .kv_heads = 4,
                   .dim = 256,
                   .capacity = keys,
                   .kv_len = {keys},
                   .bits_k = bits,
                   .bits_v = bits,
                   .softmax_scale = 1.0f / 16};
      ops::AttnDecodeTqArgs args = make_args(c, 14);
      ops::AttnDecodeArgs dense;
      dense.q = testing::random_buffer(device_, f32, {1, 16, 256}, random);
      dense.out = device_.alloc(f32, {1, 16, 256});
      dense.kv_len = keys;
      dense.softmax_scale = 1.0f / 16;
      for (Buffer* cache : {&dense.k, &dense.v}) {
        const Buffer src = testing::random_buffer(device_, f32, {1, keys, 4, 256}, random);
        *cache = device_.alloc(f32, {1, 4, keys, 256});
        ops::kv_append(stream_, {.k = src, .k_cache = *cache, .pos = 0});
      }
      ops::attn_decode(stream_, dense);
      const auto coded = testing::to_floats(run(args)), exact = testing::to_floats(dense.out);
      double error = 0.0, power = 0.0;
      for (size_t i = 0; i < coded.size(); ++i) {
        error += std::pow(double{coded[i]} - exact[i], 2);
        power += double{exact[i]} * exact[i];
      }
      const double found = std::sqrt(error / power);
      EXPECT_LT(found, 1.25 * bounds[bits]) << bits << " bits, " << keys << " keys";
      EXPECT_LT(found, last);
      last = found;
    }
  }
}

TEST_P(AttnTqTest, DeviceLengthsAreReadAtRunTime) {
  const Case c{.batch = 2, .capacity = 300, .kv_len = {300, 300}};
  auto args = make_args(c, 8);
  const Buffer kv_len = testing::make_i32(device_, {300, 300});
  args.kv_len = kv_len;
  stream_.begin_capture();
  ops::attn_decode_tq(stream_, args);
  const Graph graph = stream_.end_capture();
  for (const auto& values : std::vector<std::vector<int32_t>>{{1, 300}, {257, 3}}) {
    std::copy(values.begin(), values.end(), kv_len.span<int32_t>().begin());
    stream_.replay(graph);
    stream_.commit().wait();
    auto known = args;
    known.kv_len = Lengths({values[0], values[1]});
    EXPECT_EQ(testing::bytes_of(args.out), testing::bytes_of(run(known)));
    testing::expect_attention(args.out, reference_of(known), "replay");
  }
}

TEST_P(AttnTqTest, Prefill) {
  struct Shape4 {
    int64_t q_len, kv_len, capacity, dim, window;
    bool ring;
  };
  const auto shapes =
      testing::unless_emulated<Shape4>({{33, 33, 33, 128, 0, false},
                                        {7, 300, 320, 512, 0, false},
                                        {64, 500, 192, 80, 100, true},
                                        {50, 90, 192, 80, 40, true},
                                        {1, 65, 70, 256, 0, false}},
                                       {{5, 9, 9, 128, 0, false}, {4, 70, 64, 80, 20, true}});
  for (const Shape4& s : shapes) {
    for (ops::SeqLayout layout : {ops::SeqLayout::kHeadMajor, ops::SeqLayout::kSeqMajor}) {
      Random random(20);
      const Case c{.dim = s.dim, .capacity = s.capacity, .kv_len = {s.kv_len}, .bits_k = 5};
      const bool head_major = layout == ops::SeqLayout::kHeadMajor;
      const Shape shape = head_major ? Shape{1, 4, s.q_len, s.dim} : Shape{1, s.q_len, 4, s.dim};
      const GuardedBuffer out(device_, f32, shape);
      ops::AttnPrefillTqArgs args;
      args.q = testing::random_buffer(device_, f32, shape, random);
      args.k = make_rows(c, s.dim, {.bits = 5}, random);
      args.v = make_rows(c, s.dim, {.bits = 4}, random);
      args.out = out.view();
      args.q_layout = layout;
      args.kv_len = s.kv_len;
      args.ring = s.ring;
      args.window_size = s.window;
      args.softmax_scale = 0.1f;
      ops::attn_prefill_tq(stream_, args);
      stream_.commit().wait();
      out.check();
      const auto k = dense_rows(args.k, s.dim), v = dense_rows(args.v, s.dim);
      const int32_t kv_len = static_cast<int32_t>(s.kv_len);
      const kernels::AttnStrides cache = {2 * s.capacity * s.dim, s.capacity * s.dim, s.dim};
      kernels::AttnPrefillParams p{};
      p.q = args.q.data();
      p.k = k.data();
      p.v = v.data();
      p.kv_len = &kv_len;
      p.q_strides = head_major ? kernels::AttnStrides{4 * s.q_len * s.dim, s.q_len * s.dim, s.dim}
                               : kernels::AttnStrides{4 * s.q_len * s.dim, s.dim, 4 * s.dim};
      p.k_strides = p.v_strides = cache;
      p.batch = 1;
      p.num_heads = 4;
      p.num_kv_heads = 2;
      p.q_len = s.q_len;
      p.capacity = s.capacity;
      p.window_size = s.window;
      p.head_dim = p.v_dim = static_cast<int32_t>(s.dim);
      p.q_dtype = p.kv_dtype = f32;
      p.softmax_scale = 0.1f;
      p.causal = true;
      p.ring = s.ring;
      auto reference = kernels::attn_prefill_reference(p);  // rows in the order head, query
      allow_rotation(reference);
      Buffer found = out.view();
      if (!head_major) {
        found = device_.alloc(f32, {1, 4, s.q_len, s.dim});
        for (int64_t i = 0; i < 4 * s.q_len; ++i) {
          std::memcpy(found.span<float>().data() + (i % 4 * s.q_len + i / 4) * s.dim,
                      out.view().span<float>().data() + i * s.dim,
                      static_cast<size_t>(s.dim) * sizeof(float));
        }
      }
      testing::expect_attention(found, reference, "q_len " + std::to_string(s.q_len));
    }
  }
}

TEST(AttnTqErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const auto rows = [&](int64_t capacity, int64_t dim) {
    return ops::TqRows{
        device.alloc(u8, {1, 2, capacity, dim / 2}), device.alloc(f32, {1, 2, capacity, 1}), {}};
  };
  ops::AttnDecodeTqArgs good;
  good.q = device.alloc(f32, {1, 4, 64});
  good.out = device.alloc(f32, {1, 4, 64});
  good.k = rows(8, 64);
  good.v = rows(8, 64);
  good.kv_len = 8;
  using Args = ops::AttnDecodeTqArgs;
  const auto expect = [&](std::vector<std::string> fragments, const auto& change) {
    Args args = good;
    change(args);
    fragments.push_back("attn_decode_tq");
    expect_error(ErrorKind::kInvalidArgument, fragments,
                 [&] { ops::attn_decode_tq(stream, args); });
  };
  expect({"kv_len", "9", "8"}, [](Args& a) { a.kv_len = 9; });
  expect({"kv_len", "0"}, [](Args& a) { a.kv_len = 0; });
  expect({"v.codes: capacity", "7"}, [&](Args& a) { a.v = rows(7, 64); });
  expect({"k.codes", "[1, 2, 8, 32]"}, [&](Args& a) { a.k = rows(8, 128); });
  expect({"k.format.bits", "1"}, [](Args& a) { a.k.format.bits = 1; });
  expect({"v.format.scale_factor"}, [](Args& a) { a.v.format.scale_factor = 16.0f; });
  expect({"k.norms", "empty"}, [](Args& a) { a.k.norms = {}; });
  expect({"q", "3 heads"}, [&](Args& a) {
    a.q = device.alloc(f32, {1, 3, 64});
    a.out = device.alloc(f32, {1, 3, 64});
  });
  expect({"window_size", "0"}, [](Args& a) { a.mask = ops::MaskKind::kWindow; });
  expect({"ring_start", "8"}, [](Args& a) { a.ring_start = 8; });
  expect({"ring_start", "ring"}, [](Args& a) { a.ring_start = 1, a.ring = true; });
  expect({"n_split", "1025"}, [](Args& a) { a.n_split = 1025; });
  expect({"softmax_scale"}, [](Args& a) { a.softmax_scale = INFINITY; });
  expect({"out", "overlap"}, [](Args& a) { a.out = a.q; });
  expect({"q", "f16"}, [&](Args& a) { a.q = device.alloc(f16, {1, 4, 64}); });
  ops::AttnPrefillTqArgs prefill;
  prefill.q = device.alloc(f32, {1, 4, 3, 64});
  prefill.out = device.alloc(f32, {1, 4, 3, 64});
  prefill.k = good.k;
  prefill.v = good.v;
  prefill.kv_len = 8;
  const auto refuse = [&](std::vector<std::string> fragments, const auto& change) {
    ops::AttnPrefillTqArgs args = prefill;
    change(args);
    fragments.push_back("attn_prefill_tq");
    expect_error(ErrorKind::kInvalidArgument, fragments,
                 [&] { ops::attn_prefill_tq(stream, args); });
  };
  using Chunk = ops::AttnPrefillTqArgs;
  refuse({"kv_len", "9", "8"}, [](Chunk& a) { a.kv_len = 9; });
  refuse({"q_offset", "6", "5"}, [](Chunk& a) { a.q_offset = 6; });
  refuse({"softmax_scale"}, [](Chunk& a) { a.softmax_scale = NAN; });
  refuse({"window_size", "-1"}, [](Chunk& a) { a.window_size = -1; });
  refuse({"ring_start", "8"}, [](Chunk& a) { a.ring_start = 8; });
  refuse({"out", "[1, 4, 2, 64]"}, [&](Chunk& a) { a.out = device.alloc(f32, {1, 4, 2, 64}); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_decode_tq(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
