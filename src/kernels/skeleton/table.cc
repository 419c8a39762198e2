// SPDX-License-Identifier: Apache-2.0
// Every implementation of axpy, best first.
#include "kernels/skeleton/cpu.h"
#include "kernels/skeleton/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<AxpyParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, axpy_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, axpy_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, axpy_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, axpy_gpu_refuses, axpy_gpu},
};

}  // namespace

std::span<const Entry<AxpyParams>> axpy_entries() { return kEntries; }

}  // namespace mlxn::kernels
