// SPDX-License-Identifier: Apache-2.0
// What the CUDA backend does on the host alone; runs without a GPU.
#include <gtest/gtest.h>

#include <cstdlib>

#include "backends/cuda/cuda_check.h"
#include "backends/cuda/memory_cache.h"

namespace mlxn::backends::cuda {
namespace {

static_assert(kind_of(cudaErrorMemoryAllocation) == ErrorKind::kBufferAllocation);
static_assert(kind_of(cudaErrorNoKernelImageForDevice) == ErrorKind::kKernelCompilation);
static_assert(kind_of(cudaErrorInvalidKernelImage) == ErrorKind::kKernelCompilation);
static_assert(kind_of(cudaErrorInvalidPtx) == ErrorKind::kKernelCompilation);
static_assert(kind_of(cudaErrorUnsupportedPtxVersion) == ErrorKind::kKernelCompilation);
static_assert(kind_of(cudaErrorJitCompilerNotFound) == ErrorKind::kKernelCompilation);
static_assert(kind_of(cudaErrorIllegalAddress) == ErrorKind::kCommandBuffer);
static_assert(kind_of(cudaErrorLaunchFailure) == ErrorKind::kCommandBuffer);

void expect_failure(cudaError_t status, ErrorKind kind, bool is_transient) {
  try {
    check(status, "Stream::commit", "cudaEventCreate");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_EQ(error.is_transient(), is_transient);
    EXPECT_EQ(error.detail().where, "Stream::commit");
    EXPECT_EQ(error.detail().parameter, "cudaEventCreate");
    EXPECT_EQ(error.detail().found, to_text(status));
  }
}

TEST(CudaCheck, FailuresHaveTheKindOfTheirStatus) {
  EXPECT_NO_THROW(check(cudaSuccess, "Stream::commit", "cudaEventCreate"));
  expect_failure(cudaErrorMemoryAllocation, ErrorKind::kBufferAllocation, false);
  expect_failure(cudaErrorInvalidPtx, ErrorKind::kKernelCompilation, false);
  expect_failure(cudaErrorLaunchFailure, ErrorKind::kCommandBuffer, true);
}

// A device of kRoom bytes.
constexpr size_t kRoom = size_t{8} << 20;
size_t used = 0;

cudaError_t allocate(void** address, size_t byte_len) {
  if (byte_len > kRoom - used) return cudaErrorMemoryAllocation;
  size_t* const block = static_cast<size_t*>(std::malloc(byte_len));
  *block = byte_len;
  used += byte_len;
  *address = block;
  return cudaSuccess;
}

cudaError_t release(void* address) {
  used -= *static_cast<size_t*>(address);
  std::free(address);
  return cudaSuccess;
}

TEST(MemoryCache, WhatItKeepsCanStillBeHad) {
  {
    MemoryCache cache(allocate, release, true);
    constexpr size_t kHalf = kRoom / 2;
    void* const first = cache.take(kHalf);
    void* const second = cache.take(kHalf);
    ASSERT_NE(first, nullptr);
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(cache.kept_bytes(), 0u);
    EXPECT_EQ(cache.take(1), nullptr);
    cache.give_back(first, kHalf);
    cache.give_back(second, kHalf);
    EXPECT_EQ(used, kRoom);
    EXPECT_EQ(cache.kept_bytes(), kRoom);
    void* const whole = cache.take(kRoom);  // of another size class
    ASSERT_NE(whole, nullptr);
    EXPECT_EQ(cache.kept_bytes(), 0u);
    cache.give_back(whole, kRoom);
  }
  EXPECT_EQ(used, 0u);
}

}  // namespace
}  // namespace mlxn::backends::cuda
