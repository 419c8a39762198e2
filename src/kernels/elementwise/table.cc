// SPDX-License-Identifier: Apache-2.0
// Every implementation of elementwise, best first.
#include "kernels/elementwise/cpu.h"
#include "kernels/elementwise/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<ElementwiseParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, elementwise_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, elementwise_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, elementwise_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, elementwise_gpu_refuses, elementwise_gpu},
};

}  // namespace

std::span<const Entry<ElementwiseParams>> elementwise_entries() { return kEntries; }

}  // namespace mlxn::kernels
