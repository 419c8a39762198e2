// SPDX-License-Identifier: Apache-2.0
// Every implementation of moe_route, best first.
#include "kernels/moe_route/cpu.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<MoeRouteParams> kEntries[] = {
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, moe_route_baseline},
};

}  // namespace

std::span<const Entry<MoeRouteParams>> moe_route_entries() { return kEntries; }

}  // namespace mlxn::kernels
