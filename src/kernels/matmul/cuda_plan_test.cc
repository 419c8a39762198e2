// SPDX-License-Identifier: Apache-2.0
// What CUDA is asked to launch for a matmul, against the limits of GPUs, without a GPU: plans, and
// launches as a stream records them. Addresses are not followed.
#include "kernels/matmul/cuda_plan.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "kernels/matmul/cuda_args.h"
#include "kernels/matmul/cuda_launch.h"
#include "kernels/matmul/test_cases.h"

namespace mlxn::kernels {
namespace {

using backends::GpuLimits;
using mma::DenseKernel;
using mma::DensePlan;
using mma::Kernel;
using mma::Plan;
using testing::WeightKind;

// Threadgroup memory of H100, A100 and the RTX GPUs.
constexpr size_t kH100 = 227 << 10, kA100 = 163 << 10, kRtx = 99 << 10;
constexpr size_t kMemories[] = {kH100, kA100, kRtx};
const int64_t kRowCounts[] = {1, 2, 9, 16, 25, 65, 512};

// Bytes of the __shared__ arrays of a kernel, beside the memory that a launch asks for.
int64_t static_bytes(std::string_view kernel) {
  if (kernel.starts_with("matmul_single")) return 16 * 2 * 8;
  if (kernel.starts_with("matmul_narrow")) return 8 * 2 * 8;
  if (kernel.starts_with("matmul_wide")) return 7 * 128;    // 128 * 4 + 2 * (2 + 16) * 8 in lines
  if (kernel.starts_with("matmul_dense_wide")) return 128;  // 2 * 4 * 8 in lines
  if (kernel.starts_with("matmul_dense_single")) return 2 * 2 * 8 * 2 * 16 * 4 + 32 * 4;
  return kernel.starts_with("matmul_dense_t") ? 32 * 4 : 0;
}
int64_t static_bytes(Kernel kernel) {
  return static_bytes(kernel == Kernel::kSingle   ? "matmul_single"
                      : kernel == Kernel::kNarrow ? "matmul_narrow"
                                                  : "matmul_wide");
}

std::byte* address(int64_t offset) {
  return reinterpret_cast<std::byte*>((uintptr_t{1} << 40) + static_cast<uintptr_t>(offset));
}

struct Call {
  WeightKind kind;
  int64_t rows, n, k;
  int64_t experts = 0;   // 0: no ids
  int64_t together = 1;  // 2: with an up of the same rows
};

MatmulParams params_of(const Call& c, DType x_dtype = f32) {
  MatmulParams p{};
  quant::WeightView& w = p.weight;
  w.format = c.kind.format;
  w.rows = c.n;
  w.cols = c.k;
  w.num_experts = std::max<int64_t>(c.experts, 1);
  w.bits = c.kind.bits;
  w.group_size = c.kind.group_size;
  w.scale_dtype = c.kind.scale_dtype;
  w.row_bytes = quant::row_bytes(w.format, w.bits, w.cols);
  w.data = w.packed = address(0);
  if (c.kind.has_scale_array()) w.scales = address(0);
  if (w.format == Format::kAffine && c.kind.biases) w.biases = address(0);
  p.x = address(1 << 20);
  p.out = address(int64_t{1} << 35);
  p.ids = c.experts > 0 ? reinterpret_cast<const uint32_t*>(address(64)) : nullptr;
  p.x_rows = p.out_rows = c.rows;
  p.rows_per_x = 1;
  p.x_dtype = x_dtype;
  p.out_dtype = f32;
  return p;
}

Plan plan_of(const Call& c, size_t memory) {
  const MatmulParams p = params_of(c);
  const int64_t panels = c.together * ((c.n + 15) / 16);
  return mma::plan_of(p, mma::Spans(p.weight), panels, c.together, {132, memory});
}

// Every format of codes and scales, affine in all its forms.
const std::vector<WeightKind>& all_kinds() {
  static const std::vector<WeightKind> kinds = [] {
    std::vector<WeightKind> all;
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
      for (const int group : {32, 64, 128}) {
        for (const DType dtype : {f32, f16, bf16}) {
          for (const bool biases : {false, true}) {
            all.push_back({Format::kAffine, bits, group, dtype, biases});
          }
        }
      }
    }
    for (const WeightKind& kind : testing::coded_kinds()) {
      if (kind.format != Format::kAffine) all.push_back(kind);
    }
    return all;
  }();
  return kinds;
}

template <typename Fn>
void for_each_call(Fn check) {
  for (const WeightKind& kind : all_kinds()) {
    for (const int64_t k : {256, 2560, 9728, 18432, 53248}) {
      for (const int64_t n : {48, 5120}) {
        for (const int64_t experts : {0, 3, 128, 5000}) {
          for (const int64_t together : {1, 2}) check(Call{kind, 1, n, k, experts, together});
        }
      }
    }
  }
}

TEST(CudaPlanTest, FitsTheGpu) {
  for_each_call([](Call c) {
    for (const size_t memory : kMemories) {
      for (const int64_t rows : kRowCounts) {
        c.rows = rows;
        const Plan plan = plan_of(c, memory);
        if (plan.kernel == Kernel::kGpu) continue;
        EXPECT_LE(plan.memory + static_bytes(plan.kernel), static_cast<int64_t>(memory))
            << c.kind.name() << " rows " << rows << " k " << c.k << " experts " << c.experts;
        EXPECT_EQ(plan.memory % 16, 0);
        EXPECT_GT(plan.groups, 0);
        EXPECT_LE(plan.threads, 1024);
        const bool sorted = plan.kernel == Kernel::kSorted;
        EXPECT_GE(plan.rows * plan.tiles, sorted ? rows + 128 * c.experts : rows);
      }
    }
  });
}

TEST(CudaPlanTest, RowsDoNotChooseTheBits) {
  for_each_call([](Call c) {
    for (const size_t memory : kMemories) {
      std::set<bool> on_matrix_units;
      for (const int64_t rows : kRowCounts) {
        c.rows = rows;
        const Call alone{c.kind, rows, c.n, c.k, c.experts};
        const bool joint = plan_of(c, memory).kernel != Kernel::kGpu;
        const bool parts = plan_of(alone, memory).kernel != Kernel::kGpu;
        on_matrix_units.insert(parts);
        // Gate and up of experts may be too much for one launch; then they are two.
        EXPECT_TRUE(joint == parts || c.experts > 0);
        EXPECT_TRUE(parts || !joint);
      }
      EXPECT_EQ(on_matrix_units.size(), 1u)
          << c.kind.name() << " k " << c.k << " experts " << c.experts << " memory " << memory;
    }
  });
}

// To the lengths of rows that ops/matmul.h names.
TEST(CudaPlanTest, ExpertsTakeTheKernelsOfMatmul) {
  const std::map<size_t, int64_t> longest = {{kH100, 33024}, {kA100, 19712}, {kRtx, 9984}};
  for (const auto& [memory, most] : longest) {
    for (const WeightKind& kind : all_kinds()) {
      for (const int64_t k : {int64_t{256}, int64_t{4096}, most}) {
        for (const int64_t rows : kRowCounts) {
          const auto kernel = plan_of({kind, 1, 640, k}, memory).kernel;
          EXPECT_EQ(plan_of({kind, rows, 640, k, 8}, memory).kernel == Kernel::kGpu,
                    kernel == Kernel::kGpu)
              << kind.name() << " rows " << rows << " k " << k << " memory " << memory;
        }
      }
    }
  }
}

TEST(CudaPlanTest, LeavesWhatDoesNotFit) {
  const auto left = [](size_t memory) {
    std::set<std::string> names;
    for (const WeightKind& kind : all_kinds()) {
      if (plan_of({kind, 1, 640, 2560}, memory).kernel != Kernel::kGpu) continue;
      names.insert(kind.name());
    }
    return names;
  };
  EXPECT_EQ(left(kH100), std::set<std::string>{});
  EXPECT_EQ(left(kA100), std::set<std::string>{"affine_8_g32_f32"});
  std::set<std::string> small = {"q8_0", "q5_k", "q6_k", "mlx_mxfp8", "affine_4_g32_f32"};
  for (const WeightKind& kind : all_kinds()) {
    if (kind.format == Format::kAffine && kind.bits >= 5) small.insert(kind.name());
  }
  EXPECT_EQ(left(kRtx), small);
}

struct Pinned {
  Call call;
  Plan plan;
};

TEST(CudaPlanTest, OfAnH100) {
  const Pinned pinned[] = {
      {{{Format::kAffine, 4, 64, bf16}, 1, 2560, 9728, 0, 1},
       {Kernel::kSingle, 1, 1, 132, 132, 512, 119168, 0}},
      {{{Format::kAffine, 4, 64, bf16}, 1, 9728, 2560, 0, 2},
       {Kernel::kSingle, 1, 1, 132, 132, 512, 118784, 0}},
      {{{Format::kAffine, 4, 64, bf16}, 2, 2560, 9728, 0, 1},
       {Kernel::kNarrow, 8, 1, 0, 80, 256, 90112, 0}},
      {{{Format::kAffine, 4, 64, bf16}, 9, 2560, 9728, 0, 2},
       {Kernel::kNarrow, 16, 1, 0, 160, 256, 90112, 0}},
      {{{Format::kAffine, 4, 64, bf16}, 64, 2560, 9728, 0, 1},
       {Kernel::kNarrow, 16, 4, 0, 320, 256, 90112, 0}},
      {{{Format::kAffine, 4, 64, bf16}, 65, 2560, 9728, 0, 1},
       {Kernel::kWide, 128, 1, 0, 20, 384, 221184, 6}},
      {{{Format::kAffine, 4, 64, bf16}, 512, 2560, 9728, 0, 2},
       {Kernel::kWide, 128, 4, 0, 160, 384, 221184, 6}},
      {{{Format::kQ8_0}, 1, 4096, 14336, 0, 1}, {Kernel::kSingle, 1, 1, 132, 132, 512, 204288, 0}},
      {{{Format::kQ8_0}, 8, 4096, 14336, 0, 1}, {Kernel::kNarrow, 8, 1, 0, 128, 256, 139264, 0}},
      {{{Format::kQ8_0}, 512, 4096, 14336, 0, 1}, {Kernel::kWide, 128, 4, 0, 128, 384, 227328, 5}},
      {{{Format::kQ6_K}, 1, 262144, 2560, 0, 1}, {Kernel::kSingle, 1, 1, 132, 132, 512, 123520, 0}},
      {{{Format::kQ6_K}, 25, 2560, 4096, 0, 1}, {Kernel::kNarrow, 16, 2, 0, 160, 256, 124928, 0}},
      {{{Format::kAffine, 8, 32, f32}, 1, 2560, 2560, 0, 1},
       {Kernel::kSingle, 1, 1, 132, 132, 512, 178816, 0}},
      {{{Format::kAffine, 8, 32, f32}, 512, 2560, 2560, 0, 1},
       {Kernel::kWide, 128, 4, 0, 80, 384, 229376, 4}},
      {{{Format::kMlxMxfp4, 4, 32, u8, false}, 8, 704, 2816, 128, 2},
       {Kernel::kSingle, 1, 8, 16, 128, 512, 118784, 0}},
      {{{Format::kMlxMxfp4, 4, 32, u8, false}, 256, 704, 2816, 128, 2},
       {Kernel::kSorted, 128, 131, 0, 1441, 384, 229376, 7}},
      {{{Format::kQ4_K}, 4096, 2816, 768, 128, 1},
       {Kernel::kSorted, 128, 161, 0, 3542, 384, 221184, 6}},
      {{{Format::kQ4_K}, 255, 2816, 768, 128, 1},
       {Kernel::kSingle, 1, 255, 1, 255, 480, 118784, 0}},
  };
  const auto fields = [](const Plan& p) {
    return std::vector<int64_t>{static_cast<int64_t>(p.kernel),
                                p.rows,
                                p.tiles,
                                p.parts,
                                p.groups,
                                p.threads,
                                p.memory,
                                p.x_stages};
  };
  for (const auto& [call, plan] : pinned) {
    EXPECT_EQ(fields(plan_of(call, kH100)), fields(plan))
        << call.kind.name() << " rows " << call.rows;
  }
}

// Calls with a weight stored as floats, and the terms of x.
struct DenseCase {
  Format format;
  DType x_dtype;
  int64_t terms;
};
const DenseCase kDenseCases[] = {
    {Format::kBF16, f32, 2}, {Format::kBF16, f16, 1}, {Format::kBF16, bf16, 1},
    {Format::kF16, f32, 2},  {Format::kF16, f16, 1},  {Format::kF16, bf16, 1},
    {Format::kF32, f32, 2},  {Format::kF32, f16, 1},  {Format::kF32, bf16, 1}};

TEST(CudaDensePlanTest, FitsTheGpu) {
  for (const DenseCase& c : kDenseCases) {
    for (const int64_t k : {64, 2560, 14336, 53248}) {
      for (const size_t memory : kMemories) {
        for (const int64_t rows : kRowCounts) {
          const MatmulParams p = params_of({{c.format}, rows, 640, k}, c.x_dtype);
          const DensePlan plan = mma::dense_plan_of(p, {132, memory});
          const bool single = plan.kernel == DenseKernel::kSingle;
          EXPECT_LE(plan.memory + (single ? static_bytes("matmul_dense_single") : 0),
                    static_cast<int64_t>(memory));
          if (single) {
            EXPECT_EQ(rows, 1);
            continue;
          }
          const int64_t columns = plan.tile_rows * c.terms;
          const bool narrow = plan.kernel != DenseKernel::kWide;
          EXPECT_LE(columns, !narrow ? 128 : plan.kernel == DenseKernel::kNarrow8 ? 8 : 24);
          // On the H100 as many at once as there are.
          if (memory == kH100) {
            EXPECT_EQ(narrow, rows * c.terms <= 24);
            EXPECT_EQ(plan.rows, rows);
          } else {
            EXPECT_TRUE(narrow);
          }
        }
      }
    }
  }
}

TEST(CudaDensePlanTest, OfAnH100) {
  const auto fields = [](DType x_dtype, int64_t rows, Format format = Format::kBF16) {
    const MatmulParams p = params_of({{format}, rows, 5000, 2560}, x_dtype);
    const DensePlan plan = mma::dense_plan_of(p, {132, kH100});
    return std::vector<int64_t>{static_cast<int64_t>(plan.kernel), plan.tile_rows, plan.groups,
                                plan.threads, plan.memory};
  };
  EXPECT_EQ(fields(f32, 1), (std::vector<int64_t>{0, 1, 132, 512, 2 * 2592 * 2 + 163840}));
  EXPECT_EQ(fields(f32, 4), (std::vector<int64_t>{1, 4, 157, 256, 98304}));
  EXPECT_EQ(fields(f32, 12), (std::vector<int64_t>{2, 12, 157, 256, 98304}));
  EXPECT_EQ(fields(f32, 13), (std::vector<int64_t>{3, 64, 40, 384, 198656}));
  EXPECT_EQ(fields(bf16, 24), (std::vector<int64_t>{2, 24, 157, 256, 98304}));
  EXPECT_EQ(fields(bf16, 512), (std::vector<int64_t>{3, 128, 160, 384, 198656}));
  EXPECT_EQ(fields(f32, 1, Format::kF32),
            (std::vector<int64_t>{0, 1, 132, 512, 2 * 2592 * 2 + 131072}));
  EXPECT_EQ(fields(f32, 4, Format::kF32), (std::vector<int64_t>{1, 4, 313, 256, 98304}));
  EXPECT_EQ(fields(f32, 512, Format::kF32), (std::vector<int64_t>{3, 64, 320, 384, 215040}));
}

// Keeps the launches of a GPU with such limits.
class RecordingStream : public StreamImpl, public backends::GpuStream {
 public:
  explicit RecordingStream(size_t memory) : StreamImpl(Device::open("cpu")), limits_{132, memory} {}

  GpuLimits limits() const override { return limits_; }
  void launch(backends::GpuLaunch launch, backends::Access) override {
    launches.push_back(std::move(launch));
  }
  Buffer scratch(size_t byte_len) override {
    const auto allocation = std::make_shared<Allocation>();
    allocation->data = address(int64_t{1} << 36);
    allocation->byte_len = byte_len;
    return Buffer(allocation, 0, byte_len, u8, {static_cast<int64_t>(byte_len)});
  }
  void commit() override {}
  void wait() override {}
  void discard() override {}
  void barrier() override {}
  void upload(const Buffer&, const void*) override {}
  void download(const Buffer&, void*) override {}
  void begin_capture() override {}
  std::shared_ptr<const GraphData> end_capture() override { return nullptr; }
  bool is_capturing() const override { return false; }
  void replay(std::shared_ptr<const GraphData>) override {}
  void set_profiling(bool) override {}
  std::vector<ProfileEvent> take_profile() override { return {}; }

  std::vector<backends::GpuLaunch> launches;

 private:
  GpuLimits limits_;
};

// With gate and up, joined by silu.
JointMatmulParams gated(const MatmulParams& gate) {
  MatmulParams up = gate;
  up.out = static_cast<std::byte*>(gate.out) + (int64_t{1} << 30);
  const GluParams glu{.gate = gate.out,
                      .up = up.out,
                      .out = address(int64_t{1} << 37),
                      .rows = gate.out_rows,
                      .dim = gate.weight.rows,
                      .in_stride = gate.weight.rows,
                      .dtype = f32,
                      .activation = ops::Activation::kSilu};
  return {{gate, up}, glu};
}

std::vector<std::string> kernels_of(const RecordingStream& stream) {
  std::vector<std::string> names;
  for (const auto& launch : stream.launches) names.push_back(launch.kernel);
  return names;
}

TEST(CudaLaunchTest, AllFitTheGpu) {
  std::vector<WeightKind> kinds = all_kinds();
  for (const Format format : {Format::kF32, Format::kF16, Format::kBF16}) kinds.push_back({format});
  for (const size_t memory : kMemories) {
    RecordingStream stream(memory);
    for (const WeightKind& kind : kinds) {
      const bool dense = !quant::has_panels(kind.format);
      for (const int64_t rows : kRowCounts) {
        for (const int64_t experts : {0, 8}) {
          const MatmulParams p = params_of({kind, rows, 640, 2560, dense ? 0 : experts});
          if (dense) {
            dense_cuda(stream, p, {});
            continue;
          }
          matmul_cuda(stream, p, {});
          ASSERT_EQ(joint_cuda_refuses(gated(p)), std::nullopt);
          joint_cuda(stream, gated(p), {});
        }
      }
    }
    for (const backends::GpuLaunch& launch : stream.launches) {
      EXPECT_LE(launch.threadgroup_bytes() + static_cast<size_t>(static_bytes(launch.kernel)),
                memory)
          << launch.kernel;
    }
  }
}

TEST(CudaLaunchTest, GateAndUpThatDoNotFitAreThreeLaunches) {
  const MatmulParams p = params_of({{Format::kQ8_0}, 3, 640, 2560});
  RecordingStream large(kH100), small(kRtx);
  joint_cuda(large, gated(p), {});
  EXPECT_EQ(kernels_of(large), std::vector<std::string>{"matmul_narrow_8_q8_0"});
  joint_cuda(small, gated(p), {});
  EXPECT_EQ(kernels_of(small),
            (std::vector<std::string>{"matmul_4_q8_0", "matmul_4_q8_0", "glu_silu_f32"}));
  small.launches.clear();
  joint_cuda(small, {{p, p}, std::nullopt}, {});
  EXPECT_EQ(kernels_of(small), (std::vector<std::string>{"matmul_4_q8_0", "matmul_4_q8_0"}));
}

// What the kernel for few rows gets of a call with many: whole rows of x, residual and out, each
// once and in place.
TEST(CudaLaunchTest, DenseRowsInRuns) {
  for (const DenseCase& c : kDenseCases) {
    constexpr int64_t kRows = 65, kN = 640, kK = 2560;
    MatmulParams p = params_of({{c.format}, kRows, kN, kK}, c.x_dtype);
    p.residual = address(int64_t{1} << 38);
    RecordingStream stream(kRtx);
    dense_cuda(stream, p, {});
    int64_t done = 0;
    const std::byte *x = nullptr, *scales = nullptr;
    for (const backends::GpuLaunch& launch : stream.launches) {
      if (launch.kernel.starts_with("matmul_dense_terms")) continue;
      EXPECT_TRUE(launch.kernel.starts_with("matmul_dense_narrow_24")) << launch.kernel;
      ASSERT_EQ(launch.args.size(), 7u);
      const auto at = [&](size_t i) {
        return static_cast<const std::byte*>(launch.args[i].address);
      };
      if (done == 0) x = at(1), scales = at(2);
      EXPECT_EQ(at(0), p.weight.data);
      EXPECT_EQ(at(1), x + done * c.terms * kK * 2);
      EXPECT_EQ(at(2), scales == nullptr ? nullptr : scales + done * 4);
      EXPECT_EQ(at(3), static_cast<const std::byte*>(p.residual) + done * kN * 4);
      EXPECT_EQ(at(4), static_cast<const std::byte*>(p.out) + done * kN * 4);
      CudaDense args;
      ASSERT_EQ(launch.params.size(), sizeof(args));
      std::memcpy(&args, launch.params.data(), sizeof(args));
      EXPECT_EQ(args.tiles, 1u);
      EXPECT_GT(args.out_rows, 0u);
      EXPECT_LE(args.out_rows * c.terms, 24);
      done += args.out_rows;
    }
    EXPECT_EQ(done, kRows);
  }
}

// One launch has one x, one K, one number of rows.
TEST(JointCudaTest, JoinsWhatIsAlike) {
  const MatmulParams part = params_of({{Format::kQ4_0}, 4, 64, 2560});
  const auto refused = [&](auto change) {
    MatmulParams other = part;
    other.out = address(int64_t{1} << 37);
    change(other);
    return joint_cuda_refuses({{part, other}, std::nullopt}).has_value();
  };
  EXPECT_FALSE(refused([](MatmulParams&) {}));
  EXPECT_FALSE(refused([](MatmulParams& p) { p.weight.rows = 32; }));
  EXPECT_TRUE(refused([](MatmulParams& p) { p.weight.cols = 1280; }));
  EXPECT_TRUE(refused([](MatmulParams& p) { p.weight.num_experts = 2; }));
  EXPECT_TRUE(refused([](MatmulParams& p) { p.weight.format = Format::kQ8_0; }));
  EXPECT_TRUE(refused([](MatmulParams& p) { p.out_rows = 2; }));
  EXPECT_TRUE(refused([](MatmulParams& p) { p.x_rows = 2; }));
  EXPECT_TRUE(refused([](MatmulParams& p) { p.rows_per_x = 2; }));
  EXPECT_TRUE(refused([](MatmulParams& p) { p.x_dtype = f16; }));
  EXPECT_TRUE(refused([](MatmulParams& p) { p.out_dtype = f16; }));
  EXPECT_TRUE(refused([](MatmulParams& p) { p.x = address(64); }));
}

}  // namespace
}  // namespace mlxn::kernels
