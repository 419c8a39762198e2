// SPDX-License-Identifier: Apache-2.0
// Every implementation of attn_decode, best first.
#include "kernels/attn_decode/cpu.h"
#include "kernels/attn_decode/cuda_launch.h"
#include "kernels/attn_decode/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<AttnDecodeParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, attn_decode_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, attn_decode_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, attn_decode_baseline},
    {"mma", DeviceKind::kCuda, Isa::kBaseline, attn_decode_cuda_refuses, attn_decode_cuda,
     attn_decode_cuda_leaves},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, attn_decode_gpu_refuses, attn_decode_gpu},
};

}  // namespace

std::span<const Entry<AttnDecodeParams>> attn_decode_entries() { return kEntries; }

}  // namespace mlxn::kernels
