// SPDX-License-Identifier: Apache-2.0
// Every implementation of moe_combine, best first.
#include "kernels/moe_combine/cpu.h"
#include "kernels/moe_combine/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<MoeCombineParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, moe_combine_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, moe_combine_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, moe_combine_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, moe_combine_gpu_refuses, moe_combine_gpu},
};

}  // namespace

std::span<const Entry<MoeCombineParams>> moe_combine_entries() { return kEntries; }

}  // namespace mlxn::kernels
