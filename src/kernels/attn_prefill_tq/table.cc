// SPDX-License-Identifier: Apache-2.0
// Every implementation of attn_prefill_tq, best first.
#include "kernels/attn_prefill_tq/cpu.h"
#include "kernels/attn_prefill_tq/cuda_launch.h"
#include "kernels/attn_prefill_tq/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<AttnPrefillTqParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, attn_prefill_tq_cpu<Isa::kAvx512>},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, attn_prefill_tq_cpu<Isa::kAvx2>},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, attn_prefill_tq_cpu<Isa::kBaseline>},
    {"mma", DeviceKind::kCuda, Isa::kBaseline, attn_prefill_tq_cuda_refuses, attn_prefill_tq_cuda,
     attn_prefill_tq_cuda_leaves},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, attn_prefill_tq_gpu_refuses,
     attn_prefill_tq_gpu},
};

}  // namespace

std::span<const Entry<AttnPrefillTqParams>> attn_prefill_tq_entries() { return kEntries; }

}  // namespace mlxn::kernels
