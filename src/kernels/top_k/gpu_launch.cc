// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend, once per round.
#include "kernels/top_k/gpu_launch.h"

#include <bit>
#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/top_k/gpu_args.h"

namespace mlxn::kernels {
namespace {

constexpr int64_t kMaxSort = 2048;  // 16 KiB of threadgroup memory, 1024 threads
constexpr int64_t kMaxK = kMaxSort / 2;

}  // namespace

std::optional<std::string_view> top_k_gpu_refuses(const TopKParams& p) {
  // A round halves the keys at least.
  if (p.k > kMaxK) return "takes k up to 1024";
  return refuse_large({p.count, p.rows * divide_up(p.count, kMaxSort) * p.k});
}

void top_k_gpu(StreamImpl& stream, const TopKParams& p, backends::Access access) {
  const uint32_t rows = static_cast<uint32_t>(p.rows);
  Buffer in;
  for (int64_t length = p.count; length > 0;) {
    const uint32_t groups = divide_up(length, kMaxSort);
    const uint32_t sort_size =
        static_cast<uint32_t>(std::bit_ceil(std::clamp<uint64_t>(length, 64, kMaxSort)));
    const bool last = groups == 1;
    backends::Access round = last ? std::move(access) : access.inputs();
    const Buffer out =
        last ? Buffer() : stream.scratch(size_t{rows} * groups * p.k * sizeof(uint64_t));
    round.read(in);
    round.write(out);
    backends::GpuLaunch launch{.op = "top_k",
                               .kernel = "top_k_round",
                               .groups = {rows * groups, 1, 1},
                               .threads = sort_size / 2};
    launch.buffer(p.x).buffer(in ? in.data() : nullptr).buffer(out ? out.data() : nullptr);
    launch.buffer(last ? p.indices : nullptr).buffer(last ? p.values : nullptr);
    launch.constants(GpuTopK{.count = static_cast<uint32_t>(p.count),
                             .length = static_cast<uint32_t>(length),
                             .groups = groups,
                             .sort_size = sort_size,
                             .k = static_cast<uint32_t>(p.k),
                             .first = !in,
                             .last = last});
    launch.threadgroup(sort_size * sizeof(uint64_t));
    backends::gpu_stream(stream).launch(std::move(launch), std::move(round));
    length = last ? 0 : int64_t{groups} * p.k;
    in = out;
  }
}

}  // namespace mlxn::kernels
