// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/rms_norm/gpu_launch.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/rms_norm/gpu_args.h"

namespace mlxn::kernels {
namespace {

constexpr int64_t kKept = 2;       // vectors that a thread keeps, as in gpu.h
constexpr int64_t kMaxDim = 8192;  // what 1024 threads keep

bool is_plain(const RmsNormParams& n) {
  return n.add_before == nullptr && n.add_after == nullptr && n.factor == nullptr &&
         n.sum == nullptr && n.scale == 1.0f;
}

// Whether the calls read what those before them have written, as the kernel does.
bool is_linked(const ResidualNormsParams& p) {
  if (p.combine) {
    const MoeCombineParams& c = *p.combine;
    const RmsNormParams &x = p.norms[0], &experts = p.norms[1];
    const bool is_alone = c.shared == nullptr && c.residual == nullptr && experts.scale == 1.0f;
    const bool is_like_x = c.dtype == x.dtype && c.dim == x.dim;
    if (!is_plain(x) || !is_alone || !is_like_x || c.out != experts.x ||
        x.out != experts.add_after || experts.out != p.join().x || x.out == c.out) {
      return false;
    }
  }
  return std::all_of(p.normed().begin(), p.normed().end(), [&p](const RmsNormParams& normed) {
    return is_plain(normed) && normed.x == p.join().out;
  });
}

}  // namespace

std::optional<std::string_view> rms_norm_gpu_refuses(const RmsNormParams& p) {
  return refuse_large({p.rows, p.dim});
}

void rms_norm_gpu(StreamImpl& stream, const RmsNormParams& p, backends::Access access) {
  const int64_t row_bytes = p.dim * static_cast<int64_t>(size_of(p.dtype));
  const bool vectors =
      aligned({p.weight}) &&
      aligned_rows({p.x, p.add_before, p.add_after, p.factor, p.sum, p.out}, row_bytes);
  const DType weight_dtype = p.weight ? p.weight_dtype : DType::kF32;
  const bool plain = vectors && is_plain(p) && p.weight;
  const bool early = plain && (row_bytes <= 4096 || p.rows <= 128);  // see norm_plain
  backends::GpuLaunch launch{.op = "rms_norm",
                             .kernel = kernel_name("rms_norm", {p.dtype, weight_dtype}),
                             .groups = {static_cast<uint32_t>(p.rows), 1, 1},
                             .threads = group_threads(divide_up(row_bytes, 16 * kKept)),
                             .spec = uint32_t{vectors && !early} | uint32_t{plain} << 1};
  launch.buffer(p.x).buffer(p.add_before).buffer(p.add_after).buffer(p.factor);
  launch.buffer(p.weight).buffer(p.sum).buffer(p.out);
  launch.constants(GpuRmsNorm{.dim = static_cast<uint32_t>(p.dim),
                              .add_before = p.add_before != nullptr,
                              .add_after = p.add_after != nullptr,
                              .factor = p.factor != nullptr,
                              .weight = p.weight != nullptr,
                              .sum = p.sum != nullptr,
                              .eps = p.eps,
                              .weight_offset = p.weight_offset,
                              .scale = p.scale});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

std::optional<std::string_view> residual_norms_gpu_refuses(const ResidualNormsParams& p) {
  const RmsNormParams& join = p.join();
  for (const RmsNormParams& n : p.norms) {
    const bool is_f32 = n.dtype == DType::kF32 && (!n.weight || n.weight_dtype == DType::kF32);
    if (!is_f32 || n.dim != join.dim || n.rows != join.rows || n.eps != join.eps) {
      return "is for f32 rows of one kind";
    }
  }
  if (join.dim > kMaxDim) return "keeps rows of at most 8192";
  if (!is_linked(p)) return "is for calls that read each other";
  return refuse_large({join.rows, p.combine ? p.combine->top_k : 0});
}

void residual_norms_gpu(StreamImpl& stream, const ResidualNormsParams& p, backends::Access access) {
  const MoeCombineParams combine = p.combine.value_or(MoeCombineParams{});
  const RmsNormParams join = p.join();
  const RmsNormParams x = p.combine ? p.norms[0] : join;
  const RmsNormParams experts = p.combine ? p.norms[1] : RmsNormParams{};
  std::array<RmsNormParams, kMaxNormedRows> normed = {};
  std::copy(p.normed().begin(), p.normed().end(), normed.begin());

  const int64_t row_bytes = join.dim * static_cast<int64_t>(sizeof(float));
  const std::array<const void*, 6> weights = {p.combine ? x.weight : nullptr,
                                              experts.weight,
                                              join.weight,
                                              normed[0].weight,
                                              normed[1].weight,
                                              normed[2].weight};
  uint32_t present = 0;
  bool vectors = aligned_rows(
      {join.add_after, x.x, combine.y, join.out, normed[0].out, normed[1].out, normed[2].out},
      row_bytes);
  for (size_t i = 0; i < weights.size(); ++i) {
    present |= static_cast<uint32_t>(weights[i] != nullptr) << i;
    vectors = vectors && aligned({weights[i]});
  }
  backends::GpuLaunch launch{
      .op = "residual_norms",
      .kernel = p.combine ? "residual_norms_experts" : "residual_norms_plain",
      .groups = {static_cast<uint32_t>(join.rows), 1, 1},
      .threads = group_threads(divide_up(row_bytes, 16 * kKept))};
  launch.buffer(join.add_after).buffer(x.x).buffer(combine.y).buffer(combine.weights);
  for (const void* weight : weights) launch.buffer(weight);
  launch.buffer(join.out);
  for (const RmsNormParams& n : normed) launch.buffer(n.out);
  launch.constants(GpuResidualNorms{.dim = static_cast<uint32_t>(join.dim),
                                    .top_k = static_cast<uint32_t>(combine.top_k),
                                    .vectors = vectors,
                                    .weights = present,
                                    .num_normed = static_cast<uint32_t>(p.normed().size()),
                                    .eps = join.eps,
                                    .x_offset = x.weight_offset,
                                    .experts_offset = experts.weight_offset,
                                    .offset = join.weight_offset,
                                    .normed_offset0 = normed[0].weight_offset,
                                    .normed_offset1 = normed[1].weight_offset,
                                    .normed_offset2 = normed[2].weight_offset,
                                    .scale = join.scale});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
