// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/glu/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/glu/gpu_args.h"

namespace mlxn::kernels {
namespace {

const char* kernel_of(ops::Activation activation) {
  switch (activation) {
    case ops::Activation::kGeluTanh:
      return "glu_gelu_tanh";
    case ops::Activation::kGeluErf:
      return "glu_gelu_erf";
    case ops::Activation::kSilu:
      return "glu_silu";
    case ops::Activation::kSigmoid:
      break;
  }
  return "glu_sigmoid";
}

uint32_t groups_per_row(const GluParams& p, uint32_t threads) {
  return divide_up(p.dim, threads * vector_elements(p.dtype));
}

uint32_t threads_of(const GluParams& p) {
  return group_threads(divide_up(p.dim, vector_elements(p.dtype)), 256);
}

}  // namespace

std::optional<std::string_view> glu_gpu_refuses(const GluParams& p) {
  return refuse_large({p.in_stride, p.rows, p.rows * groups_per_row(p, threads_of(p))});
}

void glu_gpu(StreamImpl& stream, const GluParams& p, backends::Access access) {
  const uint32_t threads = threads_of(p), groups = groups_per_row(p, threads);
  const int64_t row_bytes = p.dim * static_cast<int64_t>(size_of(p.dtype));
  backends::GpuLaunch launch{.op = "glu",
                             .kernel = kernel_name(kernel_of(p.activation), {p.dtype}),
                             .groups = {static_cast<uint32_t>(p.rows) * groups, 1, 1},
                             .threads = threads,
                             .spec = aligned_rows({p.gate, p.up, p.out}, row_bytes)};
  launch.buffer(p.gate).buffer(p.up).buffer(p.out);
  launch.constants(GpuGlu{.dim = static_cast<uint32_t>(p.dim),
                          .in_stride = static_cast<uint32_t>(p.in_stride),
                          .groups = groups});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
