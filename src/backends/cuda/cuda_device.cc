// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/cuda_device.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "backends/cuda/cuda_devices.h"
#include "backends/cuda/cuda_stream.h"
#include "backends/cuda/kernel_registry.h"

namespace mlxn::backends::cuda {

// Written by the build: a number in each object with kernels, then null. Naming them makes a static
// library bring the kernels along.
extern const int* const kLinkedKernels[];

namespace {

constexpr size_t kCopyChunk = size_t{8} << 20;
constexpr size_t kDefaultShared = size_t{48} << 10;  // more must be asked for

cudaError_t allocate_device(void** address, size_t byte_len) {
  return cudaMalloc(address, byte_len);
}
cudaError_t allocate_managed(void** address, size_t byte_len) {
  return cudaMallocManaged(address, byte_len, cudaMemAttachGlobal);
}
cudaError_t allocate_staging(void** address, size_t byte_len) {
  return cudaHostAlloc(address, byte_len, cudaHostAllocDefault);
}

const KernelRegistration* find_registration(const std::string& name, uint32_t spec) {
  if (kLinkedKernels[0] == nullptr) return nullptr;
  for (const KernelRegistration* r = KernelRegistration::head(); r != nullptr; r = r->next) {
    if (r->spec == spec && name == r->name) return r;
  }
  return nullptr;
}

// Two staging blocks, so that the host fills one while the GPU copies the other.
class Chunks {
 public:
  // Delegates, so that the destructor gives back what was taken before a failure.
  Chunks(MemoryCache& staging, size_t byte_len) : Chunks(std::min(byte_len, kCopyChunk), staging) {
    for (Chunk& chunk : chunks_) {
      chunk.block = staging_.take(bytes_);
      if (chunk.block == nullptr) {
        throw Error(
            ErrorKind::kBufferAllocation,
            ErrorDetail{"Device", "bytes", std::to_string(bytes_), "free page-locked memory"});
      }
      check(cudaEventCreateWithFlags(&chunk.done, cudaEventDisableTiming), "Device",
            "cudaEventCreate");
    }
  }
  ~Chunks() {
    for (Chunk& chunk : chunks_) {
      if (chunk.done != nullptr) cudaEventDestroy(chunk.done);
      if (chunk.block != nullptr) staging_.give_back(chunk.block, bytes_);
    }
  }
  struct Chunk {
    void* block = nullptr;
    cudaEvent_t done = nullptr;
  };
  Chunk& operator[](size_t i) { return chunks_[i % 2]; }
  size_t bytes() const { return bytes_; }

 private:
  Chunks(size_t bytes, MemoryCache& staging) : staging_(staging), bytes_(bytes) {}

  MemoryCache& staging_;
  size_t bytes_;
  Chunk chunks_[2];
};

}  // namespace

CudaDevice::CudaDevice(int index, const cudaDeviceProp& properties, DeviceOptions options)
    : DeviceImpl(DeviceKind::kCuda, properties.name, std::move(options)),
      index_(index),
      limits_{static_cast<uint32_t>(properties.multiProcessorCount),
              properties.sharedMemPerBlockOptin},
      total_memory_(properties.totalGlobalMem),
      memory_(this->options().unified_memory ? allocate_managed : allocate_device, cudaFree,
              !this->options().unified_memory),
      staging_(allocate_staging, cudaFreeHost, true) {
  const CurrentDevice current(index_);
  check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "Device::open",
        "cudaStreamCreate");
}

CudaDevice::~CudaDevice() {
  // Errors are those of a process that ends or of work that a stream has reported.
  int before = 0;
  cudaGetDevice(&before);
  cudaSetDevice(index_);
  if (copies_ != nullptr) cudaStreamDestroy(copies_);
  memory_.clear();
  staging_.clear();
  cudaSetDevice(before);
}

DeviceMemory CudaDevice::memory() const {
  const CurrentDevice current(index_);
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "Device::memory", "cudaMemGetInfo");
  return {total, free + memory_.kept_bytes()};  // what is kept goes back to who asks for more
}

void CudaDevice::fail_out_of_memory(size_t byte_len) {
  size_t free = 0, total = total_memory_;
  cudaMemGetInfo(&free, &total);
  throw Error(ErrorKind::kBufferAllocation,
              ErrorDetail{"Device::alloc", "bytes", std::to_string(byte_len),
                          "at most the " + std::to_string(free) + " free of " +
                              std::to_string(total) + " bytes on " + name()});
}

std::shared_ptr<Allocation> CudaDevice::allocate_block(size_t byte_len) {
  const CurrentDevice current(index_);
  if (options().unified_memory) {  // the driver would let it outgrow the GPU
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "Device::alloc", "cudaMemGetInfo");
    if (byte_len > free) fail_out_of_memory(byte_len);
  }
  void* const block = memory_.take(byte_len);
  if (block == nullptr) fail_out_of_memory(byte_len);
  const size_t counted = memory_.block_bytes(byte_len);
  count_allocation(counted);
  auto self = std::static_pointer_cast<CudaDevice>(shared_from_this());
  auto allocation = std::make_shared<Allocation>();
  allocation->owner =
      std::shared_ptr<void>(block, [self = std::move(self), byte_len, counted](void* p) {
        self->memory_.give_back(p, byte_len);
        self->count_free(counted);
      });
  allocation->data = static_cast<std::byte*>(block);
  allocation->byte_len = byte_len;
  allocation->id = next_id();
  allocation->device_id = id();
  allocation->host_visible = host_visible();
  return allocation;
}

std::shared_ptr<Allocation> CudaDevice::allocate(size_t byte_len) {
  auto allocation = allocate_block(byte_len);
  const CurrentDevice current(index_);
  const std::lock_guard<std::mutex> lock(copy_mutex_);
  check(cudaMemsetAsync(allocation->data, 0, byte_len, copies_), "Device::alloc", "cudaMemset");
  check(cudaStreamSynchronize(copies_), "Device::alloc", "cudaMemset");
  return allocation;
}

std::shared_ptr<Allocation> CudaDevice::wrap(const void* data, size_t byte_len,
                                             std::shared_ptr<void> owner, bool writable) {
  if (writable) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Device::wrap", "writable", "true",
                            "false: a GPU takes a copy, which nobody else sees"});
  }
  auto allocation = allocate_block(byte_len);
  copy_in(allocation->data, data, byte_len);
  allocation->writable = false;
  owner.reset();
  return allocation;
}

std::shared_ptr<Allocation> CudaDevice::adopt(void* data, size_t byte_len,
                                              std::shared_ptr<void> owner) {
  const CurrentDevice current(index_);
  cudaPointerAttributes attributes = {};
  check(cudaPointerGetAttributes(&attributes, data), "Device::adopt", "cudaPointerGetAttributes");
  const bool is_memory =
      attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  if (!is_memory || attributes.device != index_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Device::adopt", "data",
                            is_memory ? "memory of cuda:" + std::to_string(attributes.device)
                                      : "memory of the host",
                            "memory of cuda:" + std::to_string(index_)});
  }
  auto allocation = std::make_shared<Allocation>();
  allocation->data = static_cast<std::byte*>(data);
  allocation->byte_len = byte_len;
  allocation->id = next_id();
  allocation->device_id = id();
  allocation->host_visible = false;
  allocation->owner = std::move(owner);
  return allocation;
}

void CudaDevice::copy_in(void* device, const void* host, size_t byte_len) {
  const CurrentDevice current(index_);
  const std::lock_guard<std::mutex> lock(copy_mutex_);
  Chunks chunks(staging_, byte_len);
  for (size_t i = 0, at = 0; at < byte_len; ++i, at += chunks.bytes()) {
    const size_t bytes = std::min(chunks.bytes(), byte_len - at);
    check(cudaEventSynchronize(chunks[i].done), "Device::upload", "cudaEventSynchronize");
    std::memcpy(chunks[i].block, static_cast<const std::byte*>(host) + at, bytes);
    check(cudaMemcpyAsync(static_cast<std::byte*>(device) + at, chunks[i].block, bytes,
                          cudaMemcpyHostToDevice, copies_),
          "Device::upload", "cudaMemcpyAsync");
    check(cudaEventRecord(chunks[i].done, copies_), "Device::upload", "cudaEventRecord");
  }
  check(cudaStreamSynchronize(copies_), "Device::upload", "cudaStreamSynchronize");
}

void CudaDevice::copy_out(void* host, const void* device, size_t byte_len) {
  const CurrentDevice current(index_);
  const std::lock_guard<std::mutex> lock(copy_mutex_);
  Chunks chunks(staging_, byte_len);
  const size_t count = (byte_len + chunks.bytes() - 1) / chunks.bytes();
  const auto bytes_of = [&](size_t i) {
    return std::min(chunks.bytes(), byte_len - i * chunks.bytes());
  };
  // Chunk i is on its way while the host reads chunk i - 1.
  for (size_t i = 0; i <= count; ++i) {
    if (i < count) {
      check(cudaMemcpyAsync(chunks[i].block,
                            static_cast<const std::byte*>(device) + i * chunks.bytes(), bytes_of(i),
                            cudaMemcpyDeviceToHost, copies_),
            "Device::download", "cudaMemcpyAsync");
      check(cudaEventRecord(chunks[i].done, copies_), "Device::download", "cudaEventRecord");
    }
    if (i > 0) {
      check(cudaEventSynchronize(chunks[i - 1].done), "Device::download", "cudaEventSynchronize");
      std::memcpy(static_cast<std::byte*>(host) + (i - 1) * chunks.bytes(), chunks[i - 1].block,
                  bytes_of(i - 1));
    }
  }
}

std::unique_ptr<StreamImpl> CudaDevice::create_stream(const Device& device) {
  return std::make_unique<CudaStream>(device, *this);
}

std::unique_ptr<StreamImpl> CudaDevice::create_stream_on(const Device& device, void* native) {
  return std::make_unique<CudaStream>(device, *this, static_cast<cudaStream_t>(native));
}

const Kernel& CudaDevice::kernel(const GpuLaunch& launch) {
  return kernels_.get(launch.kernel, launch.spec, [&] { return load_kernel(launch); });
}

Kernel CudaDevice::load_kernel(const GpuLaunch& launch) const {
  const KernelRegistration* const registration = find_registration(launch.kernel, launch.spec);
  if (registration == nullptr) {
    throw Error(ErrorKind::kKernelNotFound,
                ErrorDetail{launch.op, "kernel", launch.kernel, "a kernel of this build"});
  }
  // Loads the kernel, which must not happen while a graph is captured.
  const CurrentDevice current(index_);
  cudaFuncAttributes attributes = {};
  check(cudaFuncGetAttributes(&attributes, registration->entry), launch.op, registration->name);
  int most = 0;
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, index_), launch.op,
        "cudaDeviceGetAttribute");
  const size_t dynamic = static_cast<size_t>(most) - attributes.sharedSizeBytes;
  if (dynamic > kDefaultShared) {
    check(cudaFuncSetAttribute(registration->entry, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(dynamic)),
          launch.op, registration->name);
  }
  return {registration->name, registration->entry, dynamic,
          static_cast<uint32_t>(attributes.maxThreadsPerBlock), attributes.ptxVersion >= 90};
}

}  // namespace mlxn::backends::cuda
