// SPDX-License-Identifier: Apache-2.0
// Every implementation of glu, best first.
#include "kernels/glu/cpu.h"
#include "kernels/glu/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<GluParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, glu_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, glu_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, glu_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, glu_gpu_refuses, glu_gpu},
};

}  // namespace

std::span<const Entry<GluParams>> glu_entries() { return kEntries; }

}  // namespace mlxn::kernels
