// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/argmax/gpu_launch.h"

#include <utility>

#include "kernels/argmax/gpu_args.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {
namespace {

// 128 threads with four vectors each: a row of 262144 makes 128 threadgroups.
constexpr int64_t kChunk = 2048;
constexpr uint32_t kThreads = 128;

}  // namespace

std::optional<std::string_view> argmax_gpu_refuses(const ArgmaxParams& p) {
  return refuse_large({p.count, p.rows * divide_up(p.count, kChunk)});
}

void argmax_gpu(StreamImpl& stream, const ArgmaxParams& p, backends::Access access) {
  const uint32_t rows = static_cast<uint32_t>(p.rows), chunks = divide_up(p.count, kChunk);
  const GpuArgmax args{.count = static_cast<uint32_t>(p.count),
                       .chunk = kChunk,
                       .chunks = chunks,
                       .vectors = aligned_rows({p.x}, p.count * int64_t{sizeof(float)}),
                       .values = p.values != nullptr};
  backends::GpuStream& gpu = backends::gpu_stream(stream);
  if (chunks == 1) {
    backends::GpuLaunch launch{.op = "argmax",
                               .kernel = "argmax_rows",
                               .groups = {rows, 1, 1},
                               .threads = group_threads(divide_up(p.count, 16))};
    launch.buffer(p.x).buffer(p.indices).buffer(p.values).constants(args);
    return gpu.launch(std::move(launch), std::move(access));
  }
  const Buffer ranks = stream.scratch(size_t{rows} * chunks * sizeof(uint32_t));
  const Buffer places = stream.scratch(size_t{rows} * chunks * sizeof(uint32_t));
  backends::Access partial = access.inputs();
  partial.write(ranks);
  partial.write(places);
  backends::GpuLaunch launch{.op = "argmax",
                             .kernel = "argmax_chunks",
                             .groups = {rows * chunks, 1, 1},
                             .threads = kThreads};
  launch.buffer(p.x).buffer(ranks.data()).buffer(places.data()).constants(args);
  gpu.launch(std::move(launch), std::move(partial));

  access.read(ranks);
  access.read(places);
  launch = {.op = "argmax", .kernel = "argmax_merge", .groups = {rows, 1, 1}};
  launch.buffer(p.x).buffer(ranks.data()).buffer(places.data());
  launch.buffer(p.indices).buffer(p.values).constants(args);
  gpu.launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
