// SPDX-License-Identifier: Apache-2.0
// Every implementation of rms_norm, best first.
#include "kernels/rms_norm/cpu.h"
#include "kernels/rms_norm/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<RmsNormParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, rms_norm_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, rms_norm_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, rms_norm_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, rms_norm_gpu_refuses, rms_norm_gpu},
};

constexpr Entry<ResidualNormsParams> kResidualEntries[] = {
    {"gpu", kSharedGpu, Isa::kBaseline, residual_norms_gpu_refuses, residual_norms_gpu},
};

}  // namespace

std::span<const Entry<RmsNormParams>> rms_norm_entries() { return kEntries; }
std::span<const Entry<ResidualNormsParams>> residual_norms_entries() { return kResidualEntries; }

}  // namespace mlxn::kernels
