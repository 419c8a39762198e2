// SPDX-License-Identifier: Apache-2.0
// Recorded GPU work. Dispatches are kept until commit, which encodes them into one command buffer
// with one concurrent compute encoder; a barrier stands only where the hazard tracker wants one. A
// captured graph is such a list, kept. Copies are dispatches too.
#pragma once

#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "backends/barrier_plan.h"
#include "backends/gpu.h"
#include "backends/metal/metal_device.h"

namespace mlxn::backends::metal {

// An argument of a dispatch that is a buffer.
struct Operand {
  MTL::Buffer* buffer = nullptr;  // null: the argument is none
  size_t offset = 0;
};

struct Dispatch {
  GpuLaunch launch;
  const Pipeline* pipeline = nullptr;
  std::vector<Operand> operands = {};  // one per argument
  Access access = {};                  // keeps the memory alive, too
  bool barrier_before = false;
};

struct MetalGraph final : GraphData {
  explicit MetalGraph(std::shared_ptr<MetalDevice> device) : gpu(std::move(device)) {}
  size_t dispatch_count() const override { return dispatches.size(); }
  size_t barrier_count() const override { return barriers; }

  std::shared_ptr<MetalDevice> gpu;  // the pipelines are its
  std::vector<Dispatch> dispatches;
  size_t barriers = 0;
};

class MetalStream final : public StreamImpl, public GpuStream {
 public:
  MetalStream(const Device& device, MetalDevice& gpu);
  ~MetalStream() override;

  void launch(GpuLaunch launch, Access access) override;

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
  // With profiling every dispatch gets a command buffer of its own: Apple's GPUs tell the times of
  // those, not of dispatches.
  void set_profiling(bool on) override;
  std::vector<ProfileEvent> take_profile() override;
  Buffer scratch(size_t byte_len) override;

 private:
  struct Item {  // a dispatch, or a graph to replay
    Dispatch dispatch;
    std::shared_ptr<const MetalGraph> graph;
    bool barrier_before = false;  // of the graph
  };
  // Staging memory on its way to `data`.
  struct Download {
    Buffer staging;
    void* data;
  };
  struct Timed {
    NS::SharedPtr<MTL::CommandBuffer> commands;
    const char* op;
    std::string entry;
  };
  // Work that the GPU may still be busy with, and all that it needs.
  struct Commit {
    std::vector<Item> items;
    std::vector<Download> downloads;
    std::vector<NS::SharedPtr<MTL::CommandBuffer>> commands;
    std::vector<Timed> timed;
  };

  void record_copy(const char* op, const Buffer& from, const Buffer& to);
  void encode(Commit& commit);
  NS::SharedPtr<MTL::CommandBuffer> new_commands();
  void retire(Commit& commit);
  void retire_finished();
  std::string ops_of(const Commit& commit) const;
  void add_host_span(const char* name, int64_t begin_ns);

  MetalDevice& gpu_;
  BufferPool scratch_pool_;
  NS::SharedPtr<MTL::CommandQueue> queue_;
  BarrierPlan barriers_;

  std::vector<Item> items_;
  std::vector<Download> downloads_;
  std::unique_ptr<MetalGraph> capture_;

  std::deque<Commit> in_flight_;
  std::exception_ptr failure_;

  bool profiling_ = false;
  int64_t profile_start_ns_ = 0;
  std::vector<ProfileEvent> profile_;
};

}  // namespace mlxn::backends::metal
