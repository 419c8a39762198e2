// SPDX-License-Identifier: Apache-2.0
// Every implementation of attn_decode_tq, best first.
#include "kernels/attn_decode_tq/cpu.h"
#include "kernels/attn_decode_tq/cuda_launch.h"
#include "kernels/attn_decode_tq/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<AttnDecodeTqParams> kEntries[] = {
    {"avx512_vnni", DeviceKind::kCpu, Isa::kAvx512Vnni, nullptr,
     attn_decode_tq_cpu<Isa::kAvx512Vnni>, attn_decode_tq_vnni_leaves},
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, attn_decode_tq_cpu<Isa::kAvx512>},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, attn_decode_tq_cpu<Isa::kAvx2>},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, attn_decode_tq_cpu<Isa::kBaseline>},
    {"mma", DeviceKind::kCuda, Isa::kBaseline, attn_decode_tq_cuda_refuses, attn_decode_tq_cuda,
     attn_decode_tq_cuda_leaves},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, attn_decode_tq_gpu_refuses, attn_decode_tq_gpu},
};

}  // namespace

std::span<const Entry<AttnDecodeTqParams>> attn_decode_tq_entries() { return kEntries; }

}  // namespace mlxn::kernels
