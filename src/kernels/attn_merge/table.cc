// SPDX-License-Identifier: Apache-2.0
// Every implementation of attn_merge, best first.
#include "kernels/attn_merge/cpu.h"
#include "kernels/attn_merge/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<AttnMergeParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, attn_merge_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, attn_merge_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, attn_merge_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, attn_merge_gpu_refuses, attn_merge_gpu},
};

}  // namespace

std::span<const Entry<AttnMergeParams>> attn_merge_entries() { return kEntries; }

}  // namespace mlxn::kernels
