// SPDX-License-Identifier: Apache-2.0
// Every implementation of kv_append, best first.
#include "kernels/kv_append/cpu.h"
#include "kernels/kv_append/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<KvAppendParams> kEntries[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, kv_append_avx512},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, kv_append_avx2},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, kv_append_baseline},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, kv_append_gpu_refuses, kv_append_gpu},
};

}  // namespace

std::span<const Entry<KvAppendParams>> kv_append_entries() { return kEntries; }

}  // namespace mlxn::kernels
