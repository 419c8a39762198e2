// SPDX-License-Identifier: Apache-2.0
#include "backends/metal/encode.h"

#include <array>
#include <utility>

namespace mlxn::backends::metal {
namespace {

constexpr uint32_t kSimd = 32;
constexpr std::array<uint32_t, 3> kMaxGroups = {0x7fffffff, 65535, 65535};

[[noreturn]] void refuse(const GpuLaunch& launch, const char* what, const std::string& found,
                         const std::string& required) {
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{launch.op, launch.kernel + ": " + what, found, required});
}

size_t threadgroup_bytes(const GpuLaunch& launch) {
  size_t bytes = 0;
  for (const GpuArg& arg : launch.args) {
    if (arg.kind == GpuArg::Kind::kThreadgroup) bytes += arg.bytes;
  }
  return bytes;
}

void check_launch(const GpuLaunch& launch, const Pipeline& pipeline, size_t max_threadgroup) {
  if (launch.threads == 0 || launch.threads % kSimd != 0 || launch.threads > pipeline.max_threads) {
    refuse(launch, "threads", std::to_string(launch.threads),
           "a multiple of 32, at most " + std::to_string(pipeline.max_threads));
  }
  for (size_t i = 0; i < 3; ++i) {
    if (launch.groups[i] == 0 || launch.groups[i] > kMaxGroups[i]) {
      refuse(launch, "groups", std::to_string(launch.groups[i]),
             "1 to " + std::to_string(kMaxGroups[i]));
    }
  }
  const size_t most = max_threadgroup - pipeline.static_threadgroup_bytes;
  if (const size_t bytes = threadgroup_bytes(launch); bytes > most) {
    refuse(launch, "threadgroup memory", std::to_string(bytes), "at most " + std::to_string(most));
  }
  if (launch.args.size() > kMaxGpuArgs) {
    refuse(launch, "arguments", std::to_string(launch.args.size()),
           "at most " + std::to_string(kMaxGpuArgs));
  }
}

// The buffer that holds the address, among those that the op has declared.
Operand operand_of(const MetalDevice& gpu, const GpuLaunch& launch, const GpuArg& arg,
                   const Access& access) {
  if (arg.address == nullptr) return {gpu.absent(), 0};
  const auto* const at = static_cast<const std::byte*>(arg.address);
  for (const Buffer& buffer : access.keep) {
    if (at < buffer.data() || at >= buffer.data() + buffer.byte_len()) continue;
    const auto& allocation = static_cast<const MetalAllocation&>(*buffer.allocation());
    const auto inside = static_cast<size_t>(at - allocation.data);
    return {allocation.buffer.get(), allocation.offset + inside};
  }
  refuse(launch, "operand", "an address in no buffer that the op has declared",
         "a declared buffer");
}

}  // namespace

Dispatch resolve(MetalDevice& gpu, GpuLaunch launch, Access access) {
  const Pipeline& pipeline = gpu.pipelines().get(launch);
  check_launch(launch, pipeline, gpu.metal()->maxThreadgroupMemoryLength());
  std::vector<Operand> operands;
  for (const GpuArg& arg : launch.args) {
    operands.push_back(arg.kind == GpuArg::Kind::kBuffer ? operand_of(gpu, launch, arg, access)
                                                         : Operand{});
  }
  return {std::move(launch), &pipeline, std::move(operands), std::move(access)};
}

void encode_dispatch(const Dispatch& dispatch, MTL::ComputeCommandEncoder& encoder) {
  const GpuLaunch& launch = dispatch.launch;
  encoder.setComputePipelineState(dispatch.pipeline->state.get());
  for (NS::UInteger i = 0; i < launch.args.size(); ++i) {
    switch (launch.args[i].kind) {
      case GpuArg::Kind::kBuffer:
        encoder.setBuffer(dispatch.operands[i].buffer, dispatch.operands[i].offset, i);
        break;
      case GpuArg::Kind::kParams:
        encoder.setBytes(launch.params.data(), launch.params.size(), i);
        break;
      case GpuArg::Kind::kThreadgroup:
        encoder.setThreadgroupMemoryLength(launch.args[i].bytes, 0);
        break;
    }
  }
  encoder.dispatchThreadgroups(MTL::Size(launch.groups[0], launch.groups[1], launch.groups[2]),
                               MTL::Size(launch.threads, 1, 1));
}

}  // namespace mlxn::backends::metal
