// SPDX-License-Identifier: Apache-2.0
// Every implementation of softmax, best first.
#include "kernels/softmax/cpu.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<SoftmaxParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, softmax_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, softmax_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, softmax_baseline},
};

}  // namespace

std::span<const Entry<SoftmaxParams>> softmax_entries() { return kEntries; }

}  // namespace mlxn::kernels
