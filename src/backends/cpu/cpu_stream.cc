// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/cpu_stream.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <mutex>
#include <utility>

#include "backends/graph_plan.h"
#include "base/checked.h"
#include "base/no_memory.h"

namespace mlxn::backends::cpu {
namespace {

// Task counters may run past the end by one per thread; the sum over a group must fit 32 bits. More
// tasks are several at a time.
constexpr int64_t kMaxTasks = int64_t{1} << 26;
constexpr int kMaxRanges = 8;  // more threads share them

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

CpuStream::CpuStream(const Device& device, CpuDevice& cpu)
    : StreamImpl(device),
      cpu_(cpu),
      scratch_pool_(device),
      barriers_(device.options().serial),
      num_ranges_(static_cast<uint32_t>(std::clamp(cpu.num_threads(), 1, kMaxRanges))) {}

void CpuStream::dispatch(const char* op, const char* entry, Access access, int64_t num_tasks,
                         TaskFn run) {
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  if (num_tasks < 1 || num_tasks > kMost) {
    throw Error(ErrorKind::kInvalidArgument, ErrorDetail{op, "tasks", std::to_string(num_tasks),
                                                         "1 to " + std::to_string(kMost)});
  }
  if (num_tasks > kMaxTasks) {
    const int64_t each = base::ceil_div(num_tasks, kMaxTasks), all = num_tasks;
    run = [one = std::move(run), each, all](uint32_t task) {
      const int64_t end = std::min(all, (task + int64_t{1}) * each);
      for (int64_t i = task * each; i < end; ++i) one(static_cast<uint32_t>(i));
    };
    num_tasks = base::ceil_div(all, each);
  }
  const bool barrier_before =
      capture_ ? barriers_.before_captured(access, counters_) : barriers_.before(access, counters_);
  Dispatch dispatch{op,
                    entry,
                    std::move(access),
                    static_cast<uint32_t>(num_tasks),
                    std::move(run),
                    barrier_before};
  if (capture_) {
    capture_->barriers += barrier_before ? 1 : 0;
    capture_->dispatches.push_back(std::move(dispatch));
    return;
  }
  owned_.push_back(std::make_unique<Dispatch>(std::move(dispatch)));
  items_.push_back({owned_.back().get(), barrier_before});
}

void CpuStream::barrier() { barriers_.request(); }

void CpuStream::upload(const Buffer& to, const void* data) {
  std::vector<std::byte> copy(to.byte_len());
  std::memcpy(copy.data(), data, copy.size());
  Access access;
  access.write(to);
  dispatch("upload", "copy", std::move(access), 1,
           [to = to.data(), copy = std::move(copy)](uint32_t) {
             std::memcpy(to, copy.data(), copy.size());
           });
}

void CpuStream::download(const Buffer& from, void* data) {
  Access access;
  access.read(from);
  dispatch("download", "copy", std::move(access), 1,
           [from = from.data(), bytes = from.byte_len(), data](uint32_t) {
             std::memcpy(data, from, bytes);
           });
}

void CpuStream::begin_capture() {
  if (capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::begin_capture", "state", "capturing", "not capturing"});
  }
  capture_ = std::make_unique<CpuGraph>();
  barriers_.restart(false);
}

void CpuStream::optimise_capture(const GraphOptions& options) {
  backends::optimise_capture(*this, capture_->dispatches, capture_->barriers, options,
                             capture_->stats);
}

std::shared_ptr<const GraphData> CpuStream::end_capture() {
  if (!capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::end_capture", "state", "not capturing", "capturing"});
  }
  count_groups(capture_->dispatches, capture_->stats);
  // Whatever was queued before the capture may still conflict with what comes next.
  barriers_.restart(!items_.empty());
  return std::shared_ptr<const GraphData>(std::move(capture_));
}

void CpuStream::replay(std::shared_ptr<const GraphData> graph) {
  const auto* cpu_graph = dynamic_cast<const CpuGraph*>(graph.get());
  if (cpu_graph == nullptr || capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::replay", "graph",
                            cpu_graph ? "a stream that is capturing" : "a graph of another backend",
                            "a graph captured on this kind of device, outside a capture"});
  }
  bool first = true;
  for (const Dispatch& dispatch : cpu_graph->dispatches) {
    const bool barrier_before = dispatch.barrier_before || (first && !items_.empty());
    counters_.barriers += barrier_before ? 1 : 0;
    items_.push_back({&dispatch, barrier_before});
    first = false;
  }
  replayed_.push_back(std::move(graph));
  barriers_.restart(true);
}

void CpuStream::remember_failure() {
  if (!failed_.exchange(true)) failure_ = std::current_exception();
}

uint32_t CpuStream::range_begin(uint32_t num_tasks, uint32_t range) const {
  return static_cast<uint32_t>(uint64_t{num_tasks} * range / num_ranges_);
}

uint32_t CpuStream::run_tasks(size_t item, int worker, std::vector<ProfileEvent>* events) {
  const Dispatch& dispatch = *items_[item].dispatch;
  const int64_t begin = events ? now_ns() : 0;
  uint32_t ran = 0;
  for (uint32_t i = 0; i < num_ranges_; ++i) {
    const uint32_t range = (static_cast<uint32_t>(worker) + i) % num_ranges_;
    const uint32_t end = range_begin(dispatch.num_tasks, range + 1);
    std::atomic<uint32_t>& next = next_task_[item * num_ranges_ + range];
    while (next.load(std::memory_order_relaxed) < end) {
      const uint32_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= end) break;
      ++ran;
      if (failed_.load(std::memory_order_relaxed)) continue;
      try {
        dispatch.run(task);
      } catch (...) {
        remember_failure();
      }
    }
  }
  if (events && ran > 0) {
    try {
      events->push_back({dispatch.op, dispatch.entry, worker, begin - profile_start_ns_,
                         now_ns() - profile_start_ns_});
    } catch (...) {
      remember_failure();
    }
  }
  return ran;
}

void CpuStream::run_group(Group& group, int worker, std::vector<ProfileEvent>* events) {
  uint32_t ran = 0;
  for (size_t i = group.begin; i < group.end; ++i) ran += run_tasks(i, worker, events);
  uint32_t left = ran > 0 ? group.tasks_left.fetch_sub(ran, std::memory_order_acq_rel) - ran
                          : group.tasks_left.load(std::memory_order_acquire);
  if (ran > 0 && left == 0) group.tasks_left.notify_all();
  while (left != 0) {
    base::wait_while_equal(group.tasks_left, left);
    left = group.tasks_left.load(std::memory_order_acquire);
  }
}

void CpuStream::form_groups() {
  if (groups_.size() < items_.size()) {
    next_task_ = std::vector<std::atomic<uint32_t>>(items_.size() * 2 * num_ranges_);
    groups_ = std::vector<Group>(items_.size() * 2);
  }
  num_groups_ = 0;
  for (size_t i = 0; i < items_.size(); ++i) {
    for (uint32_t range = 0; range < num_ranges_; ++range) {
      next_task_[i * num_ranges_ + range].store(range_begin(items_[i].dispatch->num_tasks, range),
                                                std::memory_order_relaxed);
    }
    if (i == 0 || items_[i].barrier_before) {
      Group& group = groups_[num_groups_++];
      group.begin = i;
      group.num_tasks = 0;
    }
    Group& group = groups_[num_groups_ - 1];
    group.end = i + 1;
    group.num_tasks += items_[i].dispatch->num_tasks;
    group.tasks_left.store(group.num_tasks, std::memory_order_relaxed);
  }
}

void CpuStream::execute() {
  form_groups();
  std::vector<std::vector<ProfileEvent>> events(profiling_ ? static_cast<size_t>(cpu_.num_threads())
                                                           : 0);
  cpu_.pool().run([&](int worker) {
    std::vector<ProfileEvent>* list = profiling_ ? &events[static_cast<size_t>(worker)] : nullptr;
    for (size_t g = 0; g < num_groups_; ++g) run_group(groups_[g], worker, list);
  });
  for (auto& list : events) profile_.insert(profile_.end(), list.begin(), list.end());
}

void CpuStream::commit() {
  if (capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::commit", "state", "capturing", "end_capture() first"});
  }
  ++counters_.commits;
  if (!items_.empty()) execute();
  discard();
}

void CpuStream::discard() {
  capture_.reset();
  items_.clear();
  owned_.clear();
  replayed_.clear();
  barriers_.restart(false);
}

void CpuStream::wait() {
  if (!failed_.exchange(false)) return;
  const std::exception_ptr failure = std::exchange(failure_, nullptr);
  try {
    std::rethrow_exception(failure);
  } catch (const std::bad_alloc&) {
    base::throw_no_memory();
  } catch (const std::exception& error) {
    throw Error(ErrorKind::kCommandBuffer, ErrorDetail{"Stream::wait", "", error.what(), ""});
  } catch (...) {
    throw Error(ErrorKind::kCommandBuffer, "Stream::wait: a task threw an unknown object");
  }
}

void CpuStream::set_profiling(bool on) {
  profiling_ = on;
  profile_start_ns_ = now_ns();
  profile_.clear();
}

std::vector<ProfileEvent> CpuStream::take_profile() { return std::exchange(profile_, {}); }

Buffer CpuStream::scratch(size_t byte_len) {
  Buffer buffer = scratch_pool_.alloc(DType::kU8, {static_cast<int64_t>(byte_len)});
  // Released at once: the pool hands it out again only when no recorded work holds it.
  scratch_pool_.release(buffer);
  return buffer;
}

}  // namespace mlxn::backends::cpu
