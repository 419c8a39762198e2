// SPDX-License-Identifier: Apache-2.0
// Every implementation of attn_mask_classify, best first.
#include "kernels/attn_mask_classify/cpu.h"
#include "kernels/attn_mask_classify/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<AttnMaskClassifyParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, attn_mask_classify_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, attn_mask_classify_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, attn_mask_classify_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, attn_mask_classify_gpu_refuses,
     attn_mask_classify_gpu},
};

}  // namespace

std::span<const Entry<AttnMaskClassifyParams>> attn_mask_classify_entries() { return kEntries; }

}  // namespace mlxn::kernels
