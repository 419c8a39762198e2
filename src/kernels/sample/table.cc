// SPDX-License-Identifier: Apache-2.0
// Every implementation of sample, best first.
#include "kernels/sample/cpu.h"
#include "kernels/sample/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<SampleParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, sample_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, sample_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, sample_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, sample_gpu_refuses, sample_gpu},
};

}  // namespace

std::span<const Entry<SampleParams>> sample_entries() { return kEntries; }

}  // namespace mlxn::kernels
