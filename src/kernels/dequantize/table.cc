// SPDX-License-Identifier: Apache-2.0
// Every implementation of dequantize, best first.
#include "kernels/dequantize/cpu.h"
#include "kernels/dequantize/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<DequantizeParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, dequantize_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, dequantize_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, dequantize_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, dequantize_gpu_refuses, dequantize_gpu},
};

}  // namespace

std::span<const Entry<DequantizeParams>> dequantize_entries() { return kEntries; }

}  // namespace mlxn::kernels
