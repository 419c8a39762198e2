// SPDX-License-Identifier: Apache-2.0
// Times of single kernels, taken by the GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "mlxn/stream.h"

namespace mlxn::backends::cuda {

class CudaProfile {
 public:
  ~CudaProfile();

  // Times count from here, those of the host too; the stream is idle.
  void start(cudaStream_t stream);
  // What the host does from the construction of the span to its end; null: nothing is kept.
  class HostSpan {
   public:
    HostSpan(CudaProfile* profile, const char* name) : profile_(profile), name_(name) {
      if (profile_ != nullptr) begin_ = std::chrono::steady_clock::now();
    }
    ~HostSpan() {
      if (profile_ != nullptr) profile_->add_host_span(name_, begin_);
    }
    HostSpan(const HostSpan&) = delete;
    HostSpan& operator=(const HostSpan&) = delete;

   private:
    CudaProfile* profile_;
    const char* name_;
    std::chrono::steady_clock::time_point begin_;
  };
  // Around the work that one call puts on the stream.
  void begin(cudaStream_t stream);
  void end(cudaStream_t stream, const char* op, std::string entry);
  // Reads the times of everything so far; the stream is idle.
  void resolve();
  // Forgets what was not resolved, after a failure.
  void drop();
  std::vector<ProfileEvent> take() { return std::exchange(events_, {}); }

 private:
  struct Timed {
    const char* op;
    std::string entry;
    cudaEvent_t begin, end;
  };
  cudaEvent_t new_event();
  void add_host_span(const char* name, std::chrono::steady_clock::time_point begin) noexcept;

  std::vector<Timed> timed_;
  std::vector<cudaEvent_t> free_;
  cudaEvent_t begin_ = nullptr;
  // CUDA tells milliseconds between two events in 32 bits: times are taken from a near one.
  cudaEvent_t base_ = nullptr;
  int64_t base_ns_ = 0;
  std::chrono::steady_clock::time_point host_start_;
  std::vector<ProfileEvent> events_;
};

}  // namespace mlxn::backends::cuda
