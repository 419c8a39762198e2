// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/cuda_profile.h"

#include <cmath>
#include <new>

#include "backends/cuda/cuda_check.h"

namespace mlxn::backends::cuda {
namespace {

int64_t ns_between(cudaEvent_t from, cudaEvent_t to) {
  float ms = 0.0f;
  check(cudaEventElapsedTime(&ms, from, to), "Stream::wait", "cudaEventElapsedTime");
  return std::llround(static_cast<double>(ms) * 1e6);
}

}  // namespace

CudaProfile::~CudaProfile() {
  drop();
  if (base_ != nullptr) free_.push_back(base_);
  for (const cudaEvent_t event : free_) cudaEventDestroy(event);
}

cudaEvent_t CudaProfile::new_event() {
  cudaEvent_t event = nullptr;
  if (free_.empty()) {
    check(cudaEventCreate(&event), "Stream::commit", "cudaEventCreate");
  } else {
    event = free_.back();
    free_.pop_back();
  }
  return event;
}

void CudaProfile::start(cudaStream_t stream) {
  drop();
  events_.clear();
  if (base_ == nullptr) base_ = new_event();
  base_ns_ = 0;
  check(cudaEventRecord(base_, stream), "Stream::set_profiling", "cudaEventRecord");
  check(cudaEventSynchronize(base_), "Stream::set_profiling", "cudaEventSynchronize");
  host_start_ = std::chrono::steady_clock::now();
}

// Without memory the span is lost: destructors call this.
void CudaProfile::add_host_span(const char* name,
                                std::chrono::steady_clock::time_point begin) noexcept try {
  const auto since_start = [this](std::chrono::steady_clock::time_point time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time - host_start_).count();
  };
  events_.push_back(
      {name, "host", 0, since_start(begin), since_start(std::chrono::steady_clock::now()), false});
} catch (const std::bad_alloc&) {
}

void CudaProfile::begin(cudaStream_t stream) {
  begin_ = new_event();
  check(cudaEventRecord(begin_, stream), "Stream::commit", "cudaEventRecord");
}

void CudaProfile::end(cudaStream_t stream, const char* op, std::string entry) {
  timed_.push_back({op, std::move(entry), std::exchange(begin_, nullptr), new_event()});
  check(cudaEventRecord(timed_.back().end, stream), "Stream::commit", "cudaEventRecord");
}

void CudaProfile::resolve() {
  for (Timed& timed : timed_) {
    const int64_t begin = base_ns_ + ns_between(base_, timed.begin);
    const int64_t end = begin + ns_between(timed.begin, timed.end);
    events_.push_back({timed.op, std::move(timed.entry), 0, begin, end, true});
    free_.push_back(std::exchange(base_, timed.end));
    free_.push_back(timed.begin);
    base_ns_ = end;
  }
  timed_.clear();
}

void CudaProfile::drop() {
  for (const Timed& timed : timed_) {
    free_.push_back(timed.begin);
    free_.push_back(timed.end);
  }
  timed_.clear();
  if (begin_ != nullptr) free_.push_back(std::exchange(begin_, nullptr));
}

}  // namespace mlxn::backends::cuda
