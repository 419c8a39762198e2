// SPDX-License-Identifier: Apache-2.0
// Every implementation of fwht, tq_encode and tq_decode, best first.
#include "kernels/turboquant/cpu.h"
#include "kernels/turboquant/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr Entry<FwhtParams> kFwht[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, fwht_cpu<Isa::kAvx512>},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, fwht_cpu<Isa::kAvx2>},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, fwht_cpu<Isa::kBaseline>},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, fwht_gpu_refuses, fwht_gpu},
};

constexpr Entry<TqEncodeParams> kEncode[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, tq_encode_cpu<Isa::kAvx512>},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, tq_encode_cpu<Isa::kAvx2>},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, tq_encode_cpu<Isa::kBaseline>},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, tq_encode_gpu_refuses, tq_encode_gpu},
};

constexpr Entry<TqDecodeParams> kDecode[] = {
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, tq_decode_cpu<Isa::kAvx512>},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, tq_decode_cpu<Isa::kAvx2>},
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, tq_decode_cpu<Isa::kBaseline>},
    {"gpu", DeviceKind::kEmulator, Isa::kBaseline, tq_decode_gpu_refuses, tq_decode_gpu},
};

}  // namespace

std::span<const Entry<FwhtParams>> fwht_entries() { return kFwht; }
std::span<const Entry<TqEncodeParams>> tq_encode_entries() { return kEncode; }
std::span<const Entry<TqDecodeParams>> tq_decode_entries() { return kDecode; }

}  // namespace mlxn::kernels
