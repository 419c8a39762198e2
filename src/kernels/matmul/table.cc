// SPDX-License-Identifier: Apache-2.0
// Every implementation of matmul and expert_matmul, best first.
#include <utility>

#include "kernels/matmul/activations.h"
#include "kernels/matmul/cpu.h"
#include "kernels/matmul/cuda_launch.h"
#include "kernels/matmul/gpu_launch.h"

namespace mlxn::kernels {
namespace {

using matmul::CpuKernel;

bool is_dense(const MatmulParams& p) {
  return p.weight.format == Format::kF32 || p.weight.format == Format::kF16 ||
         p.weight.format == Format::kBF16;
}

// Dense weights, integer codes and codes that are floats have kernels of their own under one name.
struct Kernels {
  CpuKernel dense;
  CpuKernel integer;
  CpuKernel floats;  // the integer kernel, fed with f32
};

template <const Kernels& kKernels>
void launch(StreamImpl& stream, const MatmulParams& p, backends::Access access) {
  const CpuKernel& kernel = is_dense(p)                            ? kKernels.dense
                            : p.weight.format == Format::kMlxMxfp8 ? kKernels.floats
                                                                   : kKernels.integer;
  matmul::launch(stream, p, std::move(access), kernel);
}

constexpr CpuKernel integer(const char* name, decltype(CpuKernel::stage) stage,
                            decltype(CpuKernel::run) run) {
  return {name, matmul::activation_row_bytes, stage, run};
}
constexpr CpuKernel dense(const char* name, decltype(CpuKernel::stage) stage,
                          decltype(CpuKernel::run) run) {
  return {name, matmul::widened_row_bytes, stage, run};
}

#if defined(__x86_64__)
std::optional<std::string_view> leave_dense(const MatmulParams& p) {
  if (is_dense(p)) return "is for formats of codes and scales";
  return std::nullopt;
}

constexpr Kernels kVnni = {{},
                           integer("avx512_vnni", matmul::quantise_avx512, matmul::run_avx512_vnni),
                           dense("avx512_vnni", matmul::widen_avx512, matmul::run_avx512_vnni)};
constexpr Kernels kAvx512 = {dense("avx512", matmul::widen_avx512, matmul::run_dense_avx512),
                             integer("avx512", matmul::quantise_avx512, matmul::run_avx512),
                             dense("avx512", matmul::widen_avx512, matmul::run_avx512)};
constexpr Kernels kAvx2 = {dense("avx2", matmul::widen_avx2, matmul::run_dense_avx2),
                           integer("avx2", matmul::quantise_avx2, matmul::run_avx2),
                           dense("avx2", matmul::widen_avx2, matmul::run_avx2)};
#elif defined(__aarch64__)
constexpr Kernels kNeon = {dense("neon", matmul::widen_baseline, matmul::run_dense_baseline),
                           integer("neon", matmul::quantise_baseline, matmul::run_neon),
                           dense("neon", matmul::widen_baseline, matmul::run_neon)};
#endif
constexpr Kernels kBaseline = {
    dense("baseline", matmul::widen_baseline, matmul::run_dense_baseline),
    integer("baseline", matmul::quantise_baseline, matmul::run_baseline),
    dense("baseline", matmul::widen_baseline, matmul::run_baseline)};

constexpr Entry<MatmulParams> kEntries[] = {
    {"mma_dense", DeviceKind::kCuda, Isa::kBaseline, dense_cuda_refuses, dense_cuda,
     dense_cuda_leaves},
#if defined(__x86_64__)
    {"avx512_vnni", DeviceKind::kCpu, Isa::kAvx512Vnni, nullptr, launch<kVnni>, leave_dense},
    {"avx512", DeviceKind::kCpu, Isa::kAvx512, nullptr, launch<kAvx512>},
    {"avx2", DeviceKind::kCpu, Isa::kAvx2, nullptr, launch<kAvx2>},
#elif defined(__aarch64__)
    {"neon", DeviceKind::kCpu, Isa::kBaseline, nullptr, launch<kNeon>},
#endif
    {"baseline", DeviceKind::kCpu, Isa::kBaseline, nullptr, launch<kBaseline>},
    {"mma", DeviceKind::kCuda, Isa::kBaseline, matmul_cuda_refuses, matmul_cuda,
     matmul_cuda_leaves},
    {"gpu", kSharedGpu, Isa::kBaseline, matmul_gpu_refuses, matmul_gpu},
};

constexpr Entry<JointMatmulParams> kJointEntries[] = {
    {"mma", DeviceKind::kCuda, Isa::kBaseline, joint_cuda_refuses, joint_cuda},
};

}  // namespace

// The entries read MatmulParams::ids, so both ops share them.
std::span<const Entry<MatmulParams>> matmul_entries() { return kEntries; }
std::span<const Entry<MatmulParams>> expert_matmul_entries() {
  return std::span(kEntries).subspan(1);  // the first takes no ids
}
std::span<const Entry<JointMatmulParams>> joint_matmul_entries() { return kJointEntries; }

}  // namespace mlxn::kernels
