// SPDX-License-Identifier: Apache-2.0
// Every implementation of attn_mask_build, best first.
#include "kernels/attn_mask_build/cpu.h"
#include "kernels/attn_mask_build/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<AttnMaskBuildParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, attn_mask_build_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, attn_mask_build_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, attn_mask_build_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, attn_mask_build_gpu_refuses,
     attn_mask_build_gpu},
};

}  // namespace

std::span<const Entry<AttnMaskBuildParams>> attn_mask_build_entries() { return kEntries; }

}  // namespace mlxn::kernels
