// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/elementwise/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/elementwise/gpu_args.h"

namespace mlxn::kernels {
std::optional<std::string_view> elementwise_gpu_refuses(const ElementwiseParams& p) {
  return refuse_large({p.count});
}

void elementwise_gpu(StreamImpl& stream, const ElementwiseParams& p, backends::Access access) {
  constexpr uint32_t kThreads = 256;
  const bool cast = p.kind == ElementwiseKind::kCast;
  const uint32_t elements =
      kThreads * vector_elements(cast ? p.out_dtype : p.dtype);  // of a threadgroup
  const char* const op = op_name(p.kind);
  backends::GpuLaunch launch{
      .op = op,
      .kernel = cast ? kernel_name(op, {p.dtype, p.out_dtype}) : kernel_name(op, {p.dtype}),
      .groups = {divide_up(p.count, elements), 1, 1},
      .threads = kThreads};
  launch.buffer(p.a);
  if (!cast) launch.buffer(p.b);
  launch.buffer(p.out);
  launch.constants(GpuElementwise{.count = static_cast<uint32_t>(p.count),
                                  .vectors = aligned({p.a, p.b, p.out}),
                                  .scalar = p.scalar});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
