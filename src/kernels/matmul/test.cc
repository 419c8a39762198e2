// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

#include "kernels/matmul/reference.h"
#include "kernels/matmul/test_cases.h"
#include "mlxn/ops/matmul.h"

namespace mlxn {
namespace {

using testing::bytes_of;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::random_weight;
using testing::test_device;
using testing::WeightKind;

const std::vector<WeightKind> kDenseKinds = {{Format::kF32}, {Format::kF16}, {Format::kBF16}};

bool is_dense(const WeightKind& kind) { return kind.block() == 1; }

// ops.md 0.4: the relative part of MM(K).
double relative_tolerance(const kernels::MatmulReference& r, size_t i, int64_t k) {
  const double kk = static_cast<double>(k);
  return (8.0 + kk / 32.0 + std::log2(kk)) * 0x1p-24 * r.magnitude[i];
}
// MM(K), the two-digit term where activations become integers or two bf16, the store.
double tolerance(const kernels::MatmulReference& r, size_t i, int64_t k, bool digits, DType out) {
  const double mm = relative_tolerance(r, i, k) + 1e-6;
  return mm + (digits ? 0x1p-15 * r.block_term[i] : 0.0) + testing::store_tolerance(out, r.out[i]);
}

kernels::MatmulParams params_of(const ops::MatmulArgs& args) {
  const int64_t m = args.x.element_count() / args.weight.cols();
  return {.weight = quant::view_of(args.weight),
          .x = args.x.data(),
          .residual = args.residual ? args.residual.data() : nullptr,
          .out = args.out.data(),
          .ids = nullptr,
          .x_rows = m,
          .out_rows = m,
          .rows_per_x = 1,
          .x_dtype = args.x.dtype(),
          .out_dtype = args.out.dtype()};
}

// |w| of affine weights counts scale * code and bias apart.
void add_affine_magnitude(const Weight& w, const Buffer& x, kernels::MatmulReference& r) {
  if (w.format != Format::kAffine || !w.biases) return;
  const auto xs = testing::to_floats(x);
  const auto biases = testing::to_floats(w.biases);
  const int64_t k = w.cols(), n = w.rows(), groups = k / w.group_size;
  for (size_t i = 0; i < r.out.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / n, col = static_cast<int64_t>(i) % n;
    for (int64_t j = 0; j < k; ++j) {
      const double bias = biases[static_cast<size_t>(col * groups + j / w.group_size)];
      r.magnitude[i] += 2.0 * std::abs(bias * xs[static_cast<size_t>(row * k + j)]);
    }
  }
}

void expect_matches(Stream& stream, const ops::MatmulArgs& args, const std::string& what) {
  ops::matmul(stream, args);
  stream.commit().wait();
  auto r = kernels::matmul_reference(params_of(args));
  add_affine_magnitude(args.weight, args.x, r);
  const bool digits =
      args.weight.format > Format::kBF16 && stream.device().options().kernel != "gpu";
  testing::expect_close(
      testing::to_floats(args.out), r.out,
      [&](size_t i) { return tolerance(r, i, args.weight.cols(), digits, args.out.dtype()); },
      what);
}

class MatmulTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::vector<WeightKind> kinds() const {
    if (GetParam() == "mma_dense") return kDenseKinds;
    std::vector<WeightKind> all = testing::coded_kinds();
    if (GetParam() != "avx512_vnni" && GetParam() != "mma") {
      all.insert(all.end(), kDenseKinds.begin(), kDenseKinds.end());
    }
    return all;
  }
  // Rows of blocks of 64 elements alone.
  bool takes_blocks() const { return GetParam() == "mma_dense"; }
};

INSTANTIATE_TEST_SUITE_P(Entries, MatmulTest,
                         ::testing::ValuesIn(testing::runnable(kernels::matmul_entries())));

TEST_P(MatmulTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  int turn = 0;
  for (const WeightKind& kind : kinds()) {
    const std::vector<int64_t> dense_ks =
        takes_blocks() ? std::vector<int64_t>{64, 128, 448, 576, 1088, 4096}
                       : std::vector<int64_t>{1, 3, 5, 6, 7, 33, 47, 63, 72, 100, 130, 513, 1031};
    const int64_t block = std::max<int64_t>(32, kind.block());
    const std::vector<int64_t> block_ks = {block, block * 3, block * 9, 4096};
    for (int64_t k : is_dense(kind) ? dense_ks : block_ks) {
      for (int64_t m : {1, 2, 7, 8, 9, 31, 32, 33, 64, 65}) {
        const std::vector<int64_t> ns = {1, 3, 7, 8, 17, 31, 37};
        const int64_t n = ns[static_cast<size_t>(++turn) % ns.size()];
        if (m * n * k > 400000) continue;
        const std::vector<DType> dtypes = {f32, f16, bf16};
        const DType dtype = dtypes[static_cast<size_t>(turn) % 3];
        const Buffer x = random_buffer(device, dtype, {m, k}, random);
        const Weight w = random_weight(device, kind, {n, k}, random);
        const GuardedBuffer out(device, turn % 2 == 0 ? f32 : dtype, {m, n});
        expect_matches(stream, {.x = x, .weight = w, .out = out.view()},
                       kind.name() + " m " + std::to_string(m) + " n " + std::to_string(n) + " k " +
                           std::to_string(k));
        out.check();
      }
    }
  }
}

TEST_P(MatmulTest, LongRowsAndResidual) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  for (const WeightKind& kind : kinds()) {
    const Weight w = random_weight(device, kind, {5, 8192}, random);
    const Buffer x = random_buffer(device, f32, {3, 8192}, random);
    const Buffer residual = random_buffer(device, f32, {3, 5}, random);
    const GuardedBuffer out(device, f32, {3, 5});
    expect_matches(stream, {.x = x, .weight = w, .out = out.view(), .residual = residual},
                   kind.name());
    out.check();
    // In place: the residual is the output.
    const Buffer same = device.upload(residual.data(), f32, {3, 5});
    ops::matmul(stream, {.x = x, .weight = w, .out = same, .residual = same});
    stream.commit().wait();
    EXPECT_EQ(bytes_of(same), bytes_of(out.view())) << kind.name();
  }
}

// A row's bits: whatever rows are beside it, whatever the thread count, prepared or not.
TEST_P(MatmulTest, SameBitsForEveryRowCountAndThreadCount) {
  Random random(3);
  for (const WeightKind& kind : kinds()) {
    const int64_t n = 83, k = is_dense(kind) && !takes_blocks() ? 1031 : 1280;
    const int64_t rows = testing::is_short() ? 70 : 192;
    const auto w_values = random.normals(n * k), x_values = random.normals(rows * k);
    std::vector<std::byte> expected;
    for (int threads : testing::unless_short<int>({1, 2, 3, 8}, {1, 2})) {
      const Device device = test_device(GetParam(), threads);
      Stream stream(device);
      const Weight w = testing::encode_weight(device, kind, {n, k}, w_values);
      const Buffer x = testing::make_buffer(device, f32, {rows, k}, x_values);
      const Buffer out = device.alloc(f32, {rows, n});
      ops::matmul(stream, {.x = x, .weight = prepare(device, w), .out = out});
      stream.commit().wait();
      if (expected.empty()) expected = bytes_of(out);
      EXPECT_EQ(bytes_of(out), expected) << kind.name() << " " << threads << " threads";
      if (threads != 2) continue;
      for (int64_t m : testing::unless_short<int64_t>(
               {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 33, 64, 65, 150}, {1, 3, 8, 9, 33, 65})) {
        const int64_t first = rows - m;
        const Buffer part = device.alloc(f32, {m, n});
        ops::matmul(stream, {.x = x.rows(first, m), .weight = w, .out = part});
        stream.commit().wait();
        EXPECT_EQ(bytes_of(part), bytes_of(out.rows(first, m))) << kind.name() << " m " << m;
      }
    }
  }
}

// Entries may have kernels of their own for rows of 16 bits and for many rows.
TEST_P(MatmulTest, SameBitsForEveryCountOfSixteenBitRows) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(10);
  const int64_t n = 37, k = 1280, rows = testing::is_short() ? 35 : 70;
  for (const WeightKind& kind : kinds()) {
    const Weight w = random_weight(device, kind, {n, k}, random);
    for (const DType dtype : {bf16, f16}) {
      const Buffer x = random_buffer(device, dtype, {rows, k}, random);
      const Buffer out = device.alloc(f32, {rows, n});
      ops::matmul(stream, {.x = x, .weight = prepare(device, w), .out = out});
      for (int64_t m : testing::unless_short<int64_t>({1, 8, 9, 33}, {1, 9})) {
        const int64_t first = rows - m;
        const Buffer part = device.alloc(f32, {m, n});
        ops::matmul(stream, {.x = x.rows(first, m), .weight = w, .out = part});
        stream.commit().wait();
        EXPECT_EQ(bytes_of(part), bytes_of(out.rows(first, m))) << kind.name() << " m " << m;
      }
    }
  }
}

// Integer sums are exact and the f32 steps the same, so all entries of the CPU agree to the bit.
TEST(MatmulEntries, IntegerFormatsGiveTheSameBits) {
  if (testing::test_device_id() != "cpu") return;
  Random random(4);
  for (const WeightKind& kind : testing::coded_kinds()) {
    const int64_t n = 37, k = 1280, rows = 11;
    const auto w_values = random.normals(n * k), x_values = random.normals(rows * k);
    std::vector<std::byte> expected;
    for (const std::string& entry : testing::runnable(kernels::matmul_entries())) {
      const Device device = test_device(entry);
      Stream stream(device);
      const Weight w = testing::encode_weight(device, kind, {n, k}, w_values);
      const Buffer x = testing::make_buffer(device, f32, {rows, k}, x_values);
      const Buffer out = device.alloc(f32, {rows, n});
      ops::matmul(stream, {.x = x, .weight = w, .out = out});
      stream.commit().wait();
      if (expected.empty()) expected = bytes_of(out);
      EXPECT_EQ(bytes_of(out), expected) << kind.name() << " " << entry;
    }
  }
}

// The bits of each value kind of ops.md J, per row so that they cannot hide one another.
TEST_P(MatmulTest, ValueKinds) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(5);
  const int64_t k = 512, n = 19, rows = 9;
  std::vector<float> values(static_cast<size_t>(rows * k));
  for (int64_t i = 0; i < k; ++i) {
    const auto at = [&](int64_t row) -> float& { return values[static_cast<size_t>(row * k + i)]; };
    at(0) = 0.0f;
    at(1) = 1.0f;
    at(2) = i % 2 == 0 ? 1.0f : -1.0f;
    at(3) = random.uniform(-1.0f, 1.0f);
    at(4) = std::exp(2.0f * random.normal());
    at(5) = i == 77 ? 7e4f : random.normal();
    at(6) = random.normal() * 1e-39f;  // subnormal
    at(7) = random.normal() * 1e-34f;
    at(8) = random.normal() * 1e30f;
  }
  for (const WeightKind& kind : kinds()) {
    const Weight w = random_weight(device, kind, {n, k}, random);
    const Buffer x = testing::make_buffer(device, f32, {rows, k}, values);
    const GuardedBuffer out(device, f32, {rows, n});
    expect_matches(stream, {.x = x, .weight = w, .out = out.view()}, kind.name());
    for (float v : out.view().rows(0, 1).span<float>()) EXPECT_EQ(v, 0.0f);
    // Tiny rows against the relative part of the tolerance alone.
    const Buffer scaled = device.alloc(f32, {1, n});
    std::vector<float> lifted(static_cast<size_t>(k));
    for (size_t i = 0; i < lifted.size(); ++i) {
      lifted[i] = values[7 * static_cast<size_t>(k) + i] * 0x1p+100f;
    }
    ops::matmul(
        stream,
        {.x = testing::make_buffer(device, f32, {1, k}, lifted), .weight = w, .out = scaled});
    stream.commit().wait();
    const auto tiny = out.view().rows(7, 1).span<float>(), large = scaled.span<float>();
    for (size_t i = 0; i < tiny.size(); ++i) {
      EXPECT_NEAR(tiny[i] * 0x1p+100f, large[i], 1e-2 + 1e-4 * std::abs(large[i])) << kind.name();
    }
  }
}

// Weights far from 1, and far from one another in a row, against the relative part of the
// tolerance.
TEST_P(MatmulTest, FloatWeightsOfEveryMagnitude) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(12);
  const int64_t k = 512, n = 5;
  std::vector<float> values(static_cast<size_t>(n * k));
  for (int64_t i = 0; i < k; ++i) {
    const auto at = [&](int64_t row) -> float& { return values[static_cast<size_t>(row * k + i)]; };
    at(0) = random.normal() * 1e-30f;
    at(1) = random.normal() * 1e20f;
    at(2) = random.normal() * std::exp2(random.uniform(-20.0f, 20.0f));
    at(3) = i % 64 == 63 ? 3e3f : random.normal() * 1e-5f;
    at(4) = i / 64 % 2 == 0 ? 0.0f : random.normal();
  }
  for (const WeightKind& kind : kinds()) {
    if (kind.format != Format::kF32 && kind.format != Format::kBF16) continue;
    const Weight w = testing::encode_weight(device, kind, {n, k}, values);
    for (const int64_t rows : {1, 9, 33}) {
      for (const DType dtype : {f32, f16, bf16}) {
        const Buffer x = random_buffer(device, dtype, {rows, k}, random);
        const Buffer out = device.alloc(f32, {rows, n});
        const ops::MatmulArgs args{.x = x, .weight = w, .out = out};
        ops::matmul(stream, args);
        stream.commit().wait();
        const auto r = kernels::matmul_reference(params_of(args));
        testing::expect_close(
            testing::to_floats(out), r.out, [&](size_t i) { return relative_tolerance(r, i, k); },
            kind.name() + " rows " + std::to_string(rows));
      }
    }
  }
}

TEST_P(MatmulTest, NanAndInfinityStayInTheirRow) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(6);
  const int64_t k = 512, n = 19, rows = 12;
  for (const WeightKind& kind : kinds()) {
    const Weight w = random_weight(device, kind, {n, k}, random);
    auto values = random.normals(rows * k);
    const Buffer clean_x = testing::make_buffer(device, f32, {rows, k}, values);
    values[static_cast<size_t>(2 * k)] = NAN;
    values[static_cast<size_t>(5 * k + k - 1)] = NAN;
    values[static_cast<size_t>(7 * k + 100)] = INFINITY;
    values[static_cast<size_t>(8 * k + 300)] = -INFINITY;
    const Buffer x = testing::make_buffer(device, f32, {rows, k}, values);
    const Buffer clean = device.alloc(f32, {rows, n}), out = device.alloc(f32, {rows, n});
    ops::matmul(stream, {.x = clean_x, .weight = w, .out = clean});
    ops::matmul(stream, {.x = x, .weight = w, .out = out});
    stream.commit().wait();
    for (int64_t row = 0; row < rows; ++row) {
      const Buffer found = out.rows(row, 1);
      if (row == 2 || row == 5 || row == 7 || row == 8) {
        for (float v : found.span<float>()) EXPECT_FALSE(std::isfinite(v)) << kind.name();
      } else {
        EXPECT_EQ(bytes_of(found), bytes_of(clean.rows(row, 1))) << kind.name();
      }
    }
  }
}

TEST_P(MatmulTest, InfinityHasTheSameBitsForEveryRowCount) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(11);
  const int64_t n = 19, k = 1280, rows = 35;
  for (const WeightKind& kind : kinds()) {
    const Weight w = random_weight(device, kind, {n, k}, random);
    auto values = random.normals(rows * k);
    values[static_cast<size_t>((rows - 1) * k + 700)] = INFINITY;
    for (const DType dtype : {f32, bf16, f16}) {
      const Buffer x = testing::make_buffer(device, dtype, {rows, k}, values);
      const Buffer out = device.alloc(f32, {rows, n});
      ops::matmul(stream, {.x = x, .weight = prepare(device, w), .out = out});
      for (int64_t m : {1, 9}) {
        const int64_t first = rows - m;
        const Buffer part = device.alloc(f32, {m, n});
        ops::matmul(stream, {.x = x.rows(first, m), .weight = w, .out = part});
        stream.commit().wait();
        EXPECT_EQ(bytes_of(part), bytes_of(out.rows(first, m))) << kind.name() << " m " << m;
        for (float v : part.rows(m - 1, 1).span<float>()) {
          EXPECT_FALSE(std::isfinite(v)) << kind.name() << " m " << m;
        }
      }
    }
  }
}

TEST_P(MatmulTest, ZeroUnderTheLargestScaleOfMxfp4) {
  constexpr int64_t k = 256, n = 16, block_bytes = 17;
  if (takes_blocks()) return;  // of floats alone
  const Device device = test_device(GetParam());
  Stream stream(device);
  const Weight w{.format = Format::kMXFP4,
                 .shape = {n, k},
                 .data = device.alloc(u8, {n, k / 32 * block_bytes})};
  const auto bytes = w.data.span<uint8_t>();
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = i % block_bytes == 0 ? 255 : 0;
  for (int64_t rows : {1, 8, 40}) {
    const std::vector<float> values(static_cast<size_t>(rows * k), 1.0f);
    const Buffer x = testing::make_buffer(device, f32, {rows, k}, values);
    const Buffer out = device.alloc(f32, {rows, n});
    ops::matmul(stream, {.x = x, .weight = w, .out = out});
    stream.commit().wait();
    for (float y : out.span<float>()) EXPECT_EQ(y, 0.0f) << rows;
  }
}

TEST_P(MatmulTest, ViewsWithOffsets) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(7);
  for (const WeightKind& kind : kinds()) {
    const int64_t k = 256, n = 9;
    Weight w = random_weight(device, kind, {n + 3, k}, random);
    Weight part = w;
    part.shape = {n, k};
    part.data = w.data.rows(2, n);
    if (w.scales) part.scales = w.scales.rows(2, n);
    if (w.biases) part.biases = w.biases.rows(2, n);
    const Buffer x = random_buffer(device, f16, {5, k}, random);
    const GuardedBuffer out(device, f32, {3, n});
    expect_matches(stream, {.x = x.rows(1, 4).rows(1, 3), .weight = part, .out = out.view()},
                   kind.name());
    out.check();
  }
}

// Memory whose last byte lies before a page that must not be touched. The emulator, and CUDA under
// memcheck, know where a buffer ends.
Buffer at_page_end(const Device& device, const Buffer& source) {
  if (!source || device.kind() != DeviceKind::kCpu) return source;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t used = (source.byte_len() + page - 1) / page * page;
  void* memory =
      mmap(nullptr, used + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("mmap");
  std::byte* end = static_cast<std::byte*>(memory) + used;
  mprotect(end, page, PROT_NONE);
  std::memcpy(end - source.byte_len(), source.data(), source.byte_len());
  std::shared_ptr<void> owner(memory, [used, page](void* p) { munmap(p, used + page); });
  return device.wrap(end - source.byte_len(), source.byte_len(), source.dtype(), source.shape(),
                     owner);
}

TEST_P(MatmulTest, ReadsNothingPastItsOperands) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(9);
  for (const WeightKind& kind : kinds()) {
    const int64_t block = std::max<int64_t>(takes_blocks() ? 64 : 32, kind.block());
    for (int64_t k : {block, block * 3}) {
      for (int64_t m : {1, 2, 5}) {
        Weight w = random_weight(device, kind, {5, k}, random);
        w.data = at_page_end(device, w.data);
        w.scales = at_page_end(device, w.scales);
        w.biases = at_page_end(device, w.biases);
        const Buffer x = at_page_end(device, random_buffer(device, bf16, {m, k}, random));
        const Buffer out = device.alloc(f32, {m, 5});
        expect_matches(stream, {.x = x, .weight = w, .out = out},
                       kind.name() + " k " + std::to_string(k));
      }
    }
  }
}

TEST_P(MatmulTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(8);
  for (int64_t rows : {1, 4, 70}) {
    const ops::MatmulArgs args{.x = random_buffer(device, f32, {rows, 512}, random),
                               .weight = random_weight(device, kinds().back(), {40, 512}, random),
                               .out = device.alloc(f32, {rows, 40})};
    testing::expect_repeatable(device, [&](Stream& stream) { ops::matmul(stream, args); },
                               {args.out});
  }
}

}  // namespace
}  // namespace mlxn
