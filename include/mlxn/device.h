// SPDX-License-Identifier: Apache-2.0
// A device: where buffers live and recorded work runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/export.h"

namespace mlxn {

enum class DeviceKind : uint8_t { kCpu, kCuda, kMetal, kEmulator };

MLXN_API std::string_view name(DeviceKind kind);  // "cpu", "cuda", "metal", "emulator"

// Instruction sets a CPU kernel entry may need, weakest first.
enum class Isa : uint8_t { kBaseline, kAvx2, kAvx512, kAvx512Vnni };

MLXN_API std::string_view name(Isa isa);

struct DeviceOptions {
  int num_threads =
      0;  // CPU: worker threads including the caller; 0 = all cores this process may use
  Isa max_isa = Isa::kAvx512Vnni;  // CPU: entries that need more are refused
  std::string kernel = {};         // if not empty, only table entries of this name are used (tests)
  bool strict = false;             // refuse every entry but the best one built for this device
  bool serial = false;  // a barrier in front of every dispatch: to find out what depends on order
  // CUDA: buffers live in managed memory, which the host may touch while no work is in flight.
  // Slower, and nothing is cached: for tests.
  bool unified_memory = false;
  // Metal: one commit of the device, counted from 0 over all streams, is written to this document
  // for Xcode. The name ends in .gputrace, nothing may be there yet, and the process needs
  // MTL_CAPTURE_ENABLED=1.
  std::string gpu_trace = {};
  int gpu_trace_commit = 0;
};

struct DeviceMemory {
  uint64_t total = 0;  // bytes; 0: unknown
  uint64_t free = 0;   // bytes that can still be had, on the CPU without swapping; 0: unknown
};

struct DeviceInfo {
  std::string id = {};           // "cpu", "cuda:0"
  std::string description = {};  // CPU or GPU model
  DeviceKind kind = DeviceKind::kCpu;
  bool available = true;
  std::string reason = {};  // why not, if unavailable
  DeviceMemory memory = {};
  std::string driver = {};  // "580.82.07, CUDA 13.0"; empty where there is none
};

class DeviceImpl;

class MLXN_API Device {
 public:
  // id: "cpu", "cuda:N", "metal:N", or "best": the first usable GPU, else the CPU. Throws
  // kDeviceNotFound with the reason.
  static Device open(std::string_view id, DeviceOptions options = {});
  static Device best(DeviceOptions options = {});
  // Every device this build knows of, unavailable ones with the reason.
  static std::vector<DeviceInfo> list();

  DeviceKind kind() const;
  int index() const;                // N of "cuda:N"; 0 for devices of which there is one
  const std::string& name() const;  // never empty
  const DeviceOptions& options() const;
  int num_threads() const;
  Isa isa() const;  // CPU: the best instruction set usable under max_isa

  // Zero-filled memory. Throws kInvalidArgument for an empty or overflowing shape,
  // kBufferAllocation when there is not enough memory.
  Buffer alloc(DType dtype, const Shape& shape) const;
  // Memory that belongs to someone else; `owner` keeps it alive. Read-only unless `writable`. A GPU
  // with memory of its own takes a copy, which cannot be `writable`.
  Buffer wrap(const void* data, size_t byte_len, DType dtype, const Shape& shape,
              std::shared_ptr<void> owner, bool writable = false) const;
  // Memory of this device that belongs to someone else, such as a tensor of another library: the
  // very bytes, writable; `owner` keeps them alive. Throws kInvalidArgument for memory of another
  // device.
  Buffer adopt(void* data, size_t byte_len, DType dtype, const Shape& shape,
               std::shared_ptr<void> owner) const;
  // Memory that is written to should be wrapped or adopted once, and be seen through views: work is
  // ordered by what it touches of a buffer's allocation, not by addresses.

  // A copy of host data.
  Buffer upload(const void* data, DType dtype, const Shape& shape) const;
  // Copies between host memory and a whole view, done when they return. Work on the buffer that was
  // committed before must have been waited for; Stream has copies that are ordered with its work.
  void upload(const Buffer& to, const void* data) const;
  void download(const Buffer& from, void* data) const;
  // Whether the host may touch buffers through data() and span(). Else only copies reach them.
  bool host_visible() const;

  // Bytes now held by allocations of this device (wrapped memory not counted), and their maximum.
  size_t allocated_bytes() const;
  size_t peak_allocated_bytes() const;
  // How often work that streams of this device had recorded was dropped, by discard(), by the end
  // of a stream or because a commit failed: for those who keep account of what they record.
  uint64_t discard_count() const;
  // Memory of the device as a whole, at this moment.
  DeviceMemory memory() const;

  const std::shared_ptr<DeviceImpl>& impl() const { return impl_; }

 private:
  explicit Device(std::shared_ptr<DeviceImpl> impl);
  std::shared_ptr<DeviceImpl> impl_;
};

// Recycles buffers of one device. Size classes: the next power of two. A fresh buffer is
// zero-filled, a recycled one keeps its old bytes. A buffer is reused only after it was released
// and no handle (recorded work included) refers to it any more.
class MLXN_API BufferPool {
 public:
  explicit BufferPool(Device device);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  Buffer alloc(DType dtype, const Shape& shape);
  // Throws kInvalidArgument for a buffer that did not come from this pool or was released before.
  void release(const Buffer& buffer);
  // Releases everything handed out since the last reset.
  void reset();
  // Frees the memory of released buffers.
  void clear();
  size_t free_count() const;
  size_t free_bytes() const;
  size_t in_use_count() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlxn
