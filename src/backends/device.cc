// SPDX-License-Identifier: Apache-2.0
#include "mlxn/device.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "backends/backend.h"
#include "backends/cpu/cpu_device.h"
#include "base/checked.h"
#include "base/no_memory.h"
#ifdef MLXN_HAS_CUDA
#include "backends/cuda/cuda_devices.h"
#endif
#ifdef MLXN_HAS_METAL
#include "backends/metal/metal_devices.h"
#endif

namespace mlxn {

std::string_view name(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::kCpu:
      return "cpu";
    case DeviceKind::kCuda:
      return "cuda";
    case DeviceKind::kMetal:
      return "metal";
    case DeviceKind::kEmulator:
      return "emulator";
  }
  return "unknown";
}

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return "baseline";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512_vnni";
  }
  return "unknown";
}

namespace backends {

uint64_t next_id() {
  static std::atomic<uint64_t> counter{1};
  return counter.fetch_add(1, std::memory_order_relaxed);
}

size_t checked_byte_len(DType dtype, const Shape& shape, const char* where) {
  const auto count = base::checked_product(shape);
  const auto bytes =
      count ? base::checked_mul(*count, static_cast<int64_t>(size_of(dtype))) : std::nullopt;
  if (!bytes || *bytes <= 0) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{where, "shape", to_string(shape),
                            "positive extents whose byte length fits 63 bits"});
  }
  return static_cast<size_t>(*bytes);
}

void check_copy(const char* where, const Buffer& buffer, const DeviceImpl& device, bool written) {
  const auto fail = [where](const char* found, const char* required) {
    throw Error(ErrorKind::kInvalidArgument, ErrorDetail{where, "buffer", found, required});
  };
  if (!buffer) fail("an empty buffer", "a buffer");
  if (buffer.allocation()->device_id != device.id()) {
    fail("a buffer of another device", "a buffer of this device");
  }
  if (written && !buffer.allocation()->writable) fail("read-only memory", "writable memory");
}

namespace {

std::vector<std::pair<std::string_view, OpenDevice>>& registered_backends() {
  static std::vector<std::pair<std::string_view, OpenDevice>> backends;
  return backends;
}

}  // namespace

void register_backend(const char* id, OpenDevice open) {
  registered_backends().emplace_back(id, open);
}

}  // namespace backends

DeviceImpl::DeviceImpl(DeviceKind kind, std::string name, DeviceOptions options)
    : kind_(kind), name_(std::move(name)), options_(std::move(options)), id_(backends::next_id()) {}

void DeviceImpl::count_allocation(size_t byte_len) {
  const size_t now = allocated_.fetch_add(byte_len, std::memory_order_relaxed) + byte_len;
  size_t peak = peak_.load(std::memory_order_relaxed);
  while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

void DeviceImpl::count_free(size_t byte_len) {
  allocated_.fetch_sub(byte_len, std::memory_order_relaxed);
}

std::shared_ptr<Allocation> DeviceImpl::wrap(const void* data, size_t byte_len,
                                             std::shared_ptr<void> owner, bool writable) {
  auto allocation = std::make_shared<Allocation>();
  allocation->data = static_cast<std::byte*>(const_cast<void*>(data));
  allocation->byte_len = byte_len;
  allocation->id = backends::next_id();
  allocation->device_id = id_;
  allocation->writable = writable;
  allocation->owner = std::move(owner);
  return allocation;
}

std::shared_ptr<Allocation> DeviceImpl::adopt(void*, size_t, std::shared_ptr<void>) {
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{"Device::adopt", "device", name_, "a device that takes foreign memory"});
}

std::unique_ptr<StreamImpl> DeviceImpl::create_stream_on(const Device&, void*) {
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{"Stream::on", "device", std::string(mlxn::name(kind_)),
                          "cuda: other devices have no streams of the caller"});
}

void DeviceImpl::copy_in(void* device, const void* host, size_t byte_len) {
  std::memcpy(device, host, byte_len);
}

void DeviceImpl::copy_out(void* host, const void* device, size_t byte_len) {
  std::memcpy(host, device, byte_len);
}

Device::Device(std::shared_ptr<DeviceImpl> impl) : impl_(std::move(impl)) {}

Device Device::open(std::string_view id, DeviceOptions options) try {
  if (id == "best") {
    for (const DeviceInfo& info : list()) {
      const bool is_gpu = info.kind == DeviceKind::kCuda || info.kind == DeviceKind::kMetal;
      if (is_gpu && info.available) return open(info.id, std::move(options));
    }
    return open("cpu", std::move(options));
  }
  if (id == "cpu") return Device(std::make_shared<backends::cpu::CpuDevice>(std::move(options)));
  for (const auto& [name, open_device] : backends::registered_backends()) {
    if (id == name) return Device(open_device(std::move(options)));
  }
#ifdef MLXN_HAS_CUDA
  if (id == "cuda" || id.starts_with("cuda:")) {
    return Device(backends::cuda::open_device(id, std::move(options)));
  }
#endif
#ifdef MLXN_HAS_METAL
  if (id == "metal" || id.starts_with("metal:")) {
    return Device(backends::metal::open_device(id, std::move(options)));
  }
#endif
  for (const DeviceInfo& info : list()) {
    const std::string_view kind = mlxn::name(info.kind);
    if (id == kind || (id.starts_with(kind) && id.substr(kind.size()).starts_with(':'))) {
      throw Error(ErrorKind::kDeviceNotFound, ErrorDetail{"Device::open", "id", std::string(id),
                                                          "another device: " + info.reason});
    }
  }
  throw Error(ErrorKind::kDeviceNotFound,
              ErrorDetail{"Device::open", "id", std::string(id), "cpu, cuda:N, metal:N or best"});
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Device Device::best(DeviceOptions options) { return open("best", std::move(options)); }

std::vector<DeviceInfo> Device::list() try {
  std::vector<DeviceInfo> devices = {{"cpu", backends::cpu::cpu_model_name(), DeviceKind::kCpu,
                                      true, "", backends::cpu::cpu_memory()}};
#ifdef MLXN_HAS_CUDA
  for (DeviceInfo& info : backends::cuda::list_devices()) devices.push_back(std::move(info));
#else
  devices.push_back({"cuda", "NVIDIA GPU", DeviceKind::kCuda, false,
                     "this build has no CUDA backend (it was configured without nvcc)"});
#endif
#ifdef MLXN_HAS_METAL
  for (DeviceInfo& info : backends::metal::list_devices()) devices.push_back(std::move(info));
#else
  devices.push_back(
      {"metal", "Apple GPU", DeviceKind::kMetal, false, "this build has no Metal backend"});
#endif
  return devices;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

DeviceKind Device::kind() const { return impl_->kind(); }
int Device::index() const { return impl_->index(); }
const std::string& Device::name() const { return impl_->name(); }
const DeviceOptions& Device::options() const { return impl_->options(); }
int Device::num_threads() const { return impl_->num_threads(); }
bool Device::host_visible() const { return impl_->host_visible(); }
Isa Device::isa() const { return impl_->isa(); }
size_t Device::allocated_bytes() const { return impl_->allocated_bytes(); }
size_t Device::peak_allocated_bytes() const { return impl_->peak_allocated_bytes(); }
uint64_t Device::discard_count() const { return impl_->discard_count(); }
DeviceMemory Device::memory() const try { return impl_->memory(); } catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Buffer Device::alloc(DType dtype, const Shape& shape) const try {
  const size_t byte_len = backends::checked_byte_len(dtype, shape, "Device::alloc");
  return Buffer(impl_->allocate(byte_len), 0, byte_len, dtype, shape);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Buffer Device::wrap(const void* data, size_t byte_len, DType dtype, const Shape& shape,
                    std::shared_ptr<void> owner, bool writable) const try {
  const size_t needed = backends::checked_byte_len(dtype, shape, "Device::wrap");
  if (data == nullptr || needed > byte_len) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Device::wrap", "data, byte_len",
                            data == nullptr ? "null" : std::to_string(byte_len),
                            "at least " + std::to_string(needed) + " bytes"});
  }
  auto allocation = impl_->wrap(data, byte_len, std::move(owner), writable);
  return Buffer(std::move(allocation), 0, needed, dtype, shape);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Buffer Device::adopt(void* data, size_t byte_len, DType dtype, const Shape& shape,
                     std::shared_ptr<void> owner) const try {
  if (host_visible()) return wrap(data, byte_len, dtype, shape, std::move(owner), true);
  const size_t needed = backends::checked_byte_len(dtype, shape, "Device::adopt");
  if (needed > byte_len) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Device::adopt", "byte_len", std::to_string(byte_len),
                            "at least " + std::to_string(needed)});
  }
  return Buffer(impl_->adopt(data, byte_len, std::move(owner)), 0, needed, dtype, shape);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Buffer Device::upload(const void* data, DType dtype, const Shape& shape) const try {
  Buffer buffer = alloc(dtype, shape);
  impl_->copy_in(buffer.data(), data, buffer.byte_len());
  return buffer;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void Device::upload(const Buffer& to, const void* data) const try {
  backends::check_copy("Device::upload", to, *impl_, true);
  impl_->copy_in(to.data(), data, to.byte_len());
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void Device::download(const Buffer& from, void* data) const try {
  backends::check_copy("Device::download", from, *impl_, false);
  impl_->copy_out(data, from.data(), from.byte_len());
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
