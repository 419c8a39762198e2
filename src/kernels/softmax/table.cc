// SPDX-License-Identifier: Apache-2.0
// Every implementation of softmax, best first.
#include "kernels/softmax/cpu.h"
#include "kernels/softmax/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<SoftmaxParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, softmax_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, softmax_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, softmax_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, softmax_gpu_refuses, softmax_gpu},
};

}  // namespace

std::span<const Entry<SoftmaxParams>> softmax_entries() { return kEntries; }

}  // namespace mlxn::kernels
