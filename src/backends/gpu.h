// SPDX-License-Identifier: Apache-2.0
// One launch of a kernel of the GPU dialect, as op code describes it and every GPU backend (CUDA,
// Metal, the emulator) records it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "backends/hazard_tracker.h"

namespace mlxn::backends {

// Most parameters of a kernel, as KERNEL counts them.
inline constexpr size_t kMaxGpuArgs = 20;

// What is passed for one KERNEL parameter, in the order of the declaration.
struct GpuArg {
  enum class Kind : uint8_t { kBuffer, kParams, kThreadgroup };
  Kind kind;
  // kBuffer: an address inside a buffer that the launch's Access names, or null for an operand that
  // is absent.
  const void* address = nullptr;
  // kParams: bytes of GpuLaunch::params; kThreadgroup: bytes of threadgroup memory.
  size_t bytes = 0;
};

struct GpuLaunch {
  const char* op;                              // for errors and profiles; must outlive the stream
  std::string kernel;                          // the name given to INSTANTIATE
  std::array<uint32_t, 3> groups = {1, 1, 1};  // threadgroups; y and z at most 65535
  uint32_t threads = 32;                       // per threadgroup: a multiple of 32, at most 1024
  uint32_t spec = 0;                           // specialisation bits
  std::vector<GpuArg> args = {};
  std::vector<std::byte> params = {};  // the bytes of the params struct

  GpuLaunch& buffer(const void* address) {
    args.push_back({GpuArg::Kind::kBuffer, address, 0});
    return *this;
  }
  template <typename T>
  GpuLaunch& constants(const T& values) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 4 == 0 && sizeof(T) <= 4096);
    params.resize(sizeof(T));
    std::memcpy(params.data(), &values, sizeof(T));
    args.push_back({GpuArg::Kind::kParams, nullptr, sizeof(T)});
    return *this;
  }
  GpuLaunch& threadgroup(size_t bytes) {  // a multiple of 16
    args.push_back({GpuArg::Kind::kThreadgroup, nullptr, bytes});
    return *this;
  }
  size_t threadgroup_bytes() const {
    size_t bytes = 0;
    for (const GpuArg& arg : args) {
      if (arg.kind == GpuArg::Kind::kThreadgroup) bytes += arg.bytes;
    }
    return bytes;
  }
};

// What launches are fitted to.
struct GpuLimits {
  uint32_t compute_units = 1;             // that run threadgroups at the same time
  size_t threadgroup_memory = 32 * 1024;  // bytes of a threadgroup, and about those of a unit
};

// The stream of a GPU backend, beside StreamImpl.
class GpuStream {
 public:
  virtual ~GpuStream() = default;
  virtual GpuLimits limits() const { return {}; }
  // Records the launch. Throws kKernelNotFound for a name that the backend has no kernel for.
  virtual void launch(GpuLaunch launch, Access access) = 0;
};

// The GPU stream behind a stream; the caller knows that the device is a GPU or the emulator.
inline GpuStream& gpu_stream(StreamImpl& stream) { return dynamic_cast<GpuStream&>(stream); }

}  // namespace mlxn::backends
