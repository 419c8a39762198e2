// SPDX-License-Identifier: Apache-2.0
// What a backend implements: a device that hands out memory and streams, and a stream that runs
// recorded work. Kernel entries record through the concrete stream of their backend.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "mlxn/device.h"
#include "mlxn/stream.h"

namespace mlxn {

class DeviceImpl : public std::enable_shared_from_this<DeviceImpl> {
 public:
  DeviceImpl(DeviceKind kind, std::string name, DeviceOptions options);
  virtual ~DeviceImpl() = default;

  DeviceKind kind() const { return kind_; }
  const std::string& name() const { return name_; }
  const DeviceOptions& options() const { return options_; }
  uint64_t id() const { return id_; }
  size_t allocated_bytes() const { return allocated_.load(std::memory_order_relaxed); }
  size_t peak_allocated_bytes() const { return peak_.load(std::memory_order_relaxed); }
  uint64_t discard_count() const { return discards_.load(std::memory_order_relaxed); }
  void count_discard() { discards_.fetch_add(1, std::memory_order_relaxed); }

  virtual int index() const { return 0; }  // among devices of its kind
  virtual int num_threads() const = 0;
  virtual Isa isa() const = 0;
  virtual DeviceMemory memory() const { return {}; }
  // Whether the host may touch the memory of this device's buffers.
  virtual bool host_visible() const { return true; }
  // Zero-filled memory of byte_len > 0 bytes, 64-byte aligned. Throws kBufferAllocation.
  virtual std::shared_ptr<Allocation> allocate(size_t byte_len) = 0;
  // Memory of the caller as memory of this device: the very bytes, or a read-only copy.
  virtual std::shared_ptr<Allocation> wrap(const void* data, size_t byte_len,
                                           std::shared_ptr<void> owner, bool writable);
  // Memory of this device that is not host_visible() and belongs to someone else.
  virtual std::shared_ptr<Allocation> adopt(void* data, size_t byte_len,
                                            std::shared_ptr<void> owner);
  // Copies between the host and memory of this device, done when they return.
  virtual void copy_in(void* device, const void* host, size_t byte_len);
  virtual void copy_out(void* host, const void* device, size_t byte_len);
  virtual std::unique_ptr<StreamImpl> create_stream(const Device& device) = 0;
  // On a queue of the caller, where the device has such.
  virtual std::unique_ptr<StreamImpl> create_stream_on(const Device& device, void* native);

 protected:
  void count_allocation(size_t byte_len);
  void count_free(size_t byte_len);

 private:
  DeviceKind kind_;
  std::string name_;
  DeviceOptions options_;
  uint64_t id_;
  std::atomic<size_t> allocated_{0};
  std::atomic<size_t> peak_{0};
  std::atomic<uint64_t> discards_{0};
};

class StreamImpl {
 public:
  explicit StreamImpl(Device device) : device_(std::move(device)) {}
  virtual ~StreamImpl() = default;

  const Device& device() const { return device_; }
  StreamCounters& counters() { return counters_; }

  virtual void commit() = 0;
  virtual void wait() = 0;
  // Drops everything recorded but not committed, a capture too. For callers that fail half-way.
  virtual void discard() = 0;
  // Whether there is something that discard() drops.
  virtual bool has_recorded() const { return true; }
  virtual void barrier() = 0;
  // Copies in the order of the dispatches around them. `data` has been read when upload returns.
  virtual void upload(const Buffer& to, const void* data) = 0;
  virtual void download(const Buffer& from, void* data) = 0;
  virtual void begin_capture() = 0;
  // Joins and moves what was captured so far (graph_plan.h); a backend may leave it as it is.
  virtual void optimise_capture(const GraphOptions&) {}
  virtual std::shared_ptr<const GraphData> end_capture() = 0;
  virtual bool is_capturing() const = 0;
  virtual void replay(std::shared_ptr<const GraphData> graph) = 0;
  virtual void set_profiling(bool on) = 0;
  virtual std::vector<ProfileEvent> take_profile() = 0;
  // Memory for the dispatches recorded next. It is recycled once no recorded work refers to it.
  virtual Buffer scratch(size_t byte_len) = 0;

 protected:
  StreamCounters counters_;

 private:
  Device device_;
};

struct GraphData {
  virtual ~GraphData() = default;
  virtual size_t dispatch_count() const = 0;
  virtual size_t barrier_count() const = 0;
  GraphStats stats;
};

namespace backends {

// A number no other allocation or device of this process has.
uint64_t next_id();
// Throws kInvalidArgument unless the shape has positive extents and a byte length below 2^63.
size_t checked_byte_len(DType dtype, const Shape& shape, const char* where);

// Throws kInvalidArgument unless the buffer is there, of this device, and writable if `written`.
void check_copy(const char* where, const Buffer& buffer, const DeviceImpl& device, bool written);

// Makes a backend known that is linked to the library from outside, as the emulator is in tests:
// Device::open(id) calls `open`. Called while static objects are constructed.
using OpenDevice = std::shared_ptr<DeviceImpl> (*)(DeviceOptions options);
void register_backend(const char* id, OpenDevice open);

}  // namespace backends
}  // namespace mlxn
