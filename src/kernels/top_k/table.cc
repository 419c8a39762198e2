// SPDX-License-Identifier: Apache-2.0
// Every implementation of top_k, best first.
#include "kernels/top_k/cpu.h"
#include "kernels/top_k/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<TopKParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, top_k_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, top_k_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, top_k_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, top_k_gpu_refuses, top_k_gpu},
};

}  // namespace

std::span<const Entry<TopKParams>> top_k_entries() { return kEntries; }

}  // namespace mlxn::kernels
