// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/softmax/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/softmax/gpu_args.h"

namespace mlxn::kernels {

std::optional<std::string_view> softmax_gpu_refuses(const SoftmaxParams& p) {
  return refuse_large({p.rows, p.cols});
}

void softmax_gpu(StreamImpl& stream, const SoftmaxParams& p, backends::Access access) {
  constexpr int64_t kKept = 4;        // vectors that a thread keeps, as in gpu.h
  constexpr uint32_t kThreads = 512;  // at most: there are registers for no more than 896
  const int64_t row_bytes = p.cols * static_cast<int64_t>(size_of(p.dtype));
  backends::GpuLaunch launch{.op = "softmax",
                             .kernel = kernel_name("softmax", {p.dtype}),
                             .groups = {static_cast<uint32_t>(p.rows), 1, 1},
                             .threads = group_threads(divide_up(row_bytes, 16 * kKept), kThreads),
                             .spec = aligned_rows({p.x, p.out}, row_bytes)};
  launch.buffer(p.x).buffer(p.out);
  launch.constants(GpuSoftmax{.cols = static_cast<uint32_t>(p.cols)});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
