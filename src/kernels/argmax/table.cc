// SPDX-License-Identifier: Apache-2.0
// Every implementation of argmax, best first.
#include "kernels/argmax/cpu.h"
#include "kernels/argmax/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<ArgmaxParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, argmax_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, argmax_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, argmax_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, argmax_gpu_refuses, argmax_gpu},
};

}  // namespace

std::span<const Entry<ArgmaxParams>> argmax_entries() { return kEntries; }

}  // namespace mlxn::kernels
