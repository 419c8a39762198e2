// SPDX-License-Identifier: Apache-2.0
// Every implementation of rope, best first.
#include "kernels/rope/cpu.h"
#include "kernels/rope/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<RopeParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, rope_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, rope_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, rope_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, rope_gpu_refuses, rope_gpu},
};

constexpr Entry<QkvRopeParams> kQkvEntries[] = {
    {"gpu", kSharedGpu, Isa::kBaseline, qkv_rope_gpu_refuses, qkv_rope_gpu},
};

}  // namespace

std::span<const Entry<RopeParams>> rope_entries() { return kEntries; }
std::span<const Entry<QkvRopeParams>> qkv_rope_entries() { return kQkvEntries; }

}  // namespace mlxn::kernels
