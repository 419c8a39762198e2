// SPDX-License-Identifier: Apache-2.0
// Recorded CPU work. A dispatch is a function over task numbers; tasks of all dispatches between
// two barriers are handed to the threads as they come free. A commit is one fork-join of the pool:
// inside it the threads walk the list of dispatches and meet only at barriers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "backends/backend.h"
#include "backends/barrier_plan.h"
#include "backends/cpu/cpu_device.h"
#include "backends/hazard_tracker.h"

namespace mlxn::backends::cpu {

// Runs task number `task` of a dispatch. How work is cut into tasks must depend on shapes only,
// never on the thread count, so that results do not either.
using TaskFn = std::function<void(uint32_t task)>;

struct Dispatch {
  const char* op;
  const char* entry;
  Access access;
  uint32_t num_tasks;
  TaskFn run;
  bool barrier_before;
};

struct CpuGraph final : GraphData {
  std::vector<Dispatch> dispatches;
  size_t barriers = 0;
  size_t dispatch_count() const override { return dispatches.size(); }
  size_t barrier_count() const override { return barriers; }
};

class CpuStream : public StreamImpl {
 public:
  CpuStream(const Device& device, CpuDevice& cpu);

  // Records 1 to 2^32 - 1 tasks; throws for other numbers. `op` and `entry` must outlive the
  // stream.
  void dispatch(const char* op, const char* entry, Access access, int64_t num_tasks, TaskFn run);

  void commit() override;
  void wait() override;
  void discard() override;
  bool has_recorded() const override { return !items_.empty() || capture_ != nullptr; }
  void barrier() override;
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

 private:
  struct Item {
    const Dispatch* dispatch;
    bool barrier_before;
  };
  // Dispatches begin .. end - 1 of items_, which may run at the same time.
  struct Group {
    size_t begin = 0;
    size_t end = 0;
    uint32_t num_tasks = 0;
    std::atomic<uint32_t> tasks_left{0};
  };
  void form_groups();
  void execute();
  void run_group(Group& group, int worker, std::vector<ProfileEvent>* events);
  // Runs tasks of an item until none is left to take; returns how many it ran.
  uint32_t run_tasks(size_t item, int worker, std::vector<ProfileEvent>* events);
  void remember_failure();

  CpuDevice& cpu_;
  BufferPool scratch_pool_;
  BarrierPlan barriers_;

  std::vector<Item> items_;
  std::vector<std::unique_ptr<Dispatch>> owned_;
  std::vector<std::shared_ptr<const GraphData>> replayed_;
  std::unique_ptr<CpuGraph> capture_;

  // The tasks of an item are cut into ranges. A thread works through one of them in order, so that
  // what it streams from memory is one stream, then helps with the others.
  const uint32_t num_ranges_;
  uint32_t range_begin(uint32_t num_tasks, uint32_t range) const;
  std::vector<std::atomic<uint32_t>> next_task_;  // per item, per range
  std::vector<Group> groups_;
  size_t num_groups_ = 0;
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;

  bool profiling_ = false;
  int64_t profile_start_ns_ = 0;
  std::vector<ProfileEvent> profile_;
};

// The CPU stream behind a public stream; the caller knows that the device is a CPU.
inline CpuStream& cpu_stream(StreamImpl& stream) { return static_cast<CpuStream&>(stream); }

}  // namespace mlxn::backends::cpu
