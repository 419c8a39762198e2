// SPDX-License-Identifier: Apache-2.0
// Recorded GPU work. Calls are kept until commit, which puts them on one CUDA stream; that runs
// them in order, so that barriers are only counted. A captured graph is a CUDA graph, and beside it
// the calls themselves, for profiles.
#pragma once

#include <cuda_runtime_api.h>

#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/barrier_plan.h"
#include "backends/cuda/cuda_device.h"
#include "backends/cuda/cuda_profile.h"
#include "backends/gpu.h"

namespace mlxn::backends::cuda {

// Puts work on a CUDA stream, on which a graph may be under capture. May be called several times.
using Enqueue = std::function<void(cudaStream_t)>;

struct Call {
  const char* op;
  std::string entry;
  Enqueue enqueue;
  Access access;  // keeps the memory alive, too
  bool barrier_before = false;
};

struct CudaGraph final : GraphData {
  explicit CudaGraph(std::shared_ptr<CudaDevice> device) : gpu(std::move(device)) {}
  ~CudaGraph() override;
  size_t dispatch_count() const override { return calls.size(); }
  size_t barrier_count() const override { return barriers; }

  std::shared_ptr<CudaDevice> gpu;
  std::vector<Call> calls;
  size_t barriers = 0;
  cudaGraphExec_t exec = nullptr;
};

class CudaStream final : public StreamImpl, public GpuStream {
 public:
  CudaStream(const Device& device, CudaDevice& gpu);
  // On a stream of the caller.
  CudaStream(const Device& device, CudaDevice& gpu, cudaStream_t stream);
  ~CudaStream() override;

  GpuLimits limits() const override { return gpu_.limits(); }
  void launch(GpuLaunch launch, Access access) override;
  // Records what is no kernel of the dialect: a library's work, a native kernel. `op` must outlive
  // the stream.
  void record(const char* op, std::string entry, Access access, Enqueue enqueue);

  void commit() override;
  void wait() override;
  void discard() override;
  bool has_recorded() const override { return !items_.empty() || capture_ != nullptr; }
  void barrier() override { barriers_.request(); }
  void upload(const Buffer& to, const void* data) override;
  void download(const Buffer& from, void* data) override;
  void begin_capture() override;
  void optimise_capture(const GraphOptions& options) override;
  std::shared_ptr<const GraphData> end_capture() override;
  bool is_capturing() const override { return capture_ != nullptr; }
  void replay(std::shared_ptr<const GraphData> graph) override;
  void set_profiling(bool on) override;
  std::vector<ProfileEvent> take_profile() override;
  Buffer scratch(size_t byte_len) override;

  // Commits what is recorded and waits; returns the milliseconds that the GPU took, by its clock.
  double timed_commit();

 private:
  struct Item {  // a call, or a graph to replay
    Call call;
    std::shared_ptr<const CudaGraph> graph;
  };
  // Page-locked memory on its way to `data`.
  struct Download {
    std::shared_ptr<void> staging;
    void* data;
    size_t byte_len;
  };
  // Work that the GPU may still be busy with, and all that it needs.
  struct Commit {
    std::vector<Item> items;
    std::vector<Download> downloads;
    cudaEvent_t done = nullptr;
  };

  // Whether the caller captures what is put on the stream.
  bool is_in_callers_capture() const;
  std::shared_ptr<void> take_staging(size_t byte_len, const char* where);
  void enqueue(const Item& item);
  void commit_to_callers_graph();
  void enqueue_call(const Call& call);
  void retire(Commit& commit);
  void retire_finished();
  void instantiate(CudaGraph& graph);
  std::string ops_in_flight() const;

  CudaDevice& gpu_;
  BufferPool scratch_pool_;
  cudaStream_t stream_ = nullptr;
  bool owned_ = true;
  BarrierPlan barriers_;

  std::vector<Item> items_;
  std::vector<Download> downloads_;
  std::unique_ptr<CudaGraph> capture_;

  std::deque<Commit> in_flight_;
  std::vector<Item> in_callers_graphs_;  // what graphs that the caller captured refer to
  std::vector<cudaEvent_t> free_events_;
  std::exception_ptr failure_;

  bool profiling_ = false;
  CudaProfile profile_;
};

// The CUDA stream behind a public stream; the caller knows that the device is a CUDA device.
inline CudaStream& cuda_stream(StreamImpl& stream) { return static_cast<CudaStream&>(stream); }

}  // namespace mlxn::backends::cuda
