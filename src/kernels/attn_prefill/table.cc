// SPDX-License-Identifier: Apache-2.0
// Every implementation of attn_prefill, best first.
#include "kernels/attn_prefill/cpu.h"
#include "kernels/attn_prefill/cuda_launch.h"
#include "kernels/attn_prefill/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<AttnPrefillParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, attn_prefill_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, attn_prefill_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, attn_prefill_baseline},
    {"mma", DeviceKind::kCuda, Isa::kBaseline, attn_prefill_grid_refuses, attn_prefill_cuda,
     attn_prefill_cuda_leaves},
    {"simdgroup", DeviceKind::kMetal, Isa::kBaseline, attn_prefill_grid_refuses,
     attn_prefill_simdgroup, attn_prefill_simdgroup_leaves},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, attn_prefill_gpu_refuses, attn_prefill_gpu},
};

}  // namespace

std::span<const Entry<AttnPrefillParams>> attn_prefill_entries() { return kEntries; }

}  // namespace mlxn::kernels
