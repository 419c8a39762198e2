// SPDX-License-Identifier: Apache-2.0
// Every implementation of embed, best first.
#include "kernels/embed/cpu.h"
#include "kernels/embed/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<EmbedParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, embed_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, embed_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, embed_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, embed_gpu_refuses, embed_gpu},
};

}  // namespace

std::span<const Entry<EmbedParams>> embed_entries() { return kEntries; }

}  // namespace mlxn::kernels
