// SPDX-License-Identifier: Apache-2.0
// Every implementation of moe_route, best first.
#include "kernels/moe_route/cpu.h"
#include "kernels/moe_route/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<MoeRouteParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, moe_route_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, moe_route_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, moe_route_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, moe_route_gpu_refuses, moe_route_gpu},
};

}  // namespace

std::span<const Entry<MoeRouteParams>> moe_route_entries() { return kEntries; }

}  // namespace mlxn::kernels
