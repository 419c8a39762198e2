// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/skeleton/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/skeleton/gpu_args.h"

namespace mlxn::kernels {

std::optional<std::string_view> axpy_gpu_refuses(const AxpyParams& p) {
  return refuse_large({p.count});
}

void axpy_gpu(StreamImpl& stream, const AxpyParams& p, backends::Access access) {
  constexpr uint32_t kThreads = 256;
  const uint32_t elements = kThreads * vector_elements(p.dtype);  // of a threadgroup
  backends::GpuLaunch launch{.op = "axpy",
                             .kernel = kernel_name("axpy", {p.dtype}),
                             .groups = {divide_up(p.count, elements), 1, 1},
                             .threads = kThreads};
  launch.buffer(p.x).buffer(p.y).buffer(p.out);
  launch.constants(GpuAxpy{
      .count = static_cast<uint32_t>(p.count), .vectors = aligned({p.x, p.y, p.out}), .a = p.a});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
