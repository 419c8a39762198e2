// SPDX-License-Identifier: Apache-2.0
// Records work for one device, in order. Reads and writes of every dispatch are tracked, and a
// barrier is inserted exactly where a dispatch touches bytes that an earlier one since the last
// barrier wrote (RAW, WAW) or read and this one writes (WAR). Dispatches between two barriers may
// run at the same time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mlxn/device.h"
#include "mlxn/export.h"

namespace mlxn {

struct StreamCounters {
  uint64_t dispatches = 0;          // recorded (captured ones too; replays are not counted)
  uint64_t barriers = 0;            // really inserted, those of a graph by each replay
  uint64_t automatic_barriers = 0;  // of these, by hazard tracking outside graphs
  uint64_t concurrent = 0;          // dispatches outside graphs that needed no barrier
  uint64_t commits = 0;
  uint64_t waits = 0;
};

// A part of a finished commit, as measured: on the CPU a worker's share of a dispatch; on a GPU a
// kernel, and beside them what the host did meanwhile ("commit", "wait").
struct ProfileEvent {
  std::string name;      // op
  std::string entry;     // kernel entry that ran
  int thread = 0;        // worker
  int64_t begin_ns = 0;  // since the profile was started
  int64_t end_ns = 0;
  bool on_gpu = false;  // timed by the GPU, whose clock started with the host's
};

// All events of one op and entry.
struct ProfileRow {
  std::string name;
  std::string entry;
  uint64_t count = 0;
  int64_t total_ns = 0;
  int64_t min_ns = 0;
  int64_t max_ns = 0;
};

// What end_capture does to the dispatches it has captured. Results are the same bits.
struct GraphOptions {
  // Joins dispatches that follow one another into one where f32 arithmetic stays the same: rms_norm
  // and the mul, add or scale of its output; add and the rms_norm of its output.
  bool fuse = false;
  // Moves dispatches ahead of others on which they do not depend, so that fewer barriers are
  // needed; barriers that were asked for go. With a dispatch without any memory both stay.
  bool reorder = false;
  // Buffers that nobody but the graph reads: joining may leave their bytes unwritten.
  std::vector<Buffer> temporaries = {};
};

struct GraphStats {
  size_t fused = 0;        // dispatches that became part of another
  size_t moved = 0;        // dispatches whose place in the order changed
  size_t unannotated = 0;  // dispatches without any memory; with one of them nothing moves
  // Groups of dispatches that may run at the same time, by size: 1, 2, .. 7, 8 and more.
  std::array<size_t, 8> groups = {};
};

class StreamImpl;
class Graph;

class MLXN_API Stream {
 public:
  explicit Stream(const Device& device);
  ~Stream();
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;

  // Work joins what the caller puts on `native`, a cudaStream_t of the device (null: the default
  // stream), which must outlive this object. Without wait() a commit only queues, and throws what
  // goes wrong there. It may lie inside a capture of the caller's: kernels must have run once
  // before, and what they need lives as long as this object. Throws kInvalidArgument for devices
  // that have no such streams.
  static Stream on(const Device& device, void* native);

  const Device& device() const;

  // Runs what was recorded. On the CPU the work is done when commit returns.
  Stream& commit();
  // Waits for committed work; throws kCommandBuffer if it failed. Recording may go on afterwards.
  void wait();
  // Drops what was recorded but not committed, a capture in progress too: for callers that fail
  // half-way through a recording.
  void discard();
  // Orders everything recorded before against everything after.
  void barrier();

  // Copies between host memory and a whole view, in order with the dispatches around them. `data`
  // has been read when upload returns; download has written it when wait() returns, and it must
  // stay until then. Not between begin_capture and end_capture.
  void upload(const Buffer& to, const void* data);
  void download(const Buffer& from, void* data);

  // Between begin_capture and end_capture dispatches are kept in the graph instead of being queued.
  void begin_capture();
  Graph end_capture(const GraphOptions& options = {});
  bool is_capturing() const;
  // Queues all dispatches of the graph; it may be replayed any number of times.
  void replay(const Graph& graph);

  const StreamCounters& counters() const;
  void reset_counters();

  // Timing of every dispatch of later commits; off by default.
  void set_profiling(bool on);
  std::vector<ProfileEvent> take_profile();

  StreamImpl& impl() const { return *impl_; }

 private:
  explicit Stream(std::unique_ptr<StreamImpl> impl);
  std::unique_ptr<StreamImpl> impl_;
};

struct GraphData;

// Recorded dispatches with their barriers, ready to replay. Values that change between replays live
// in buffers (the step state), so that one captured decode step serves every step.
class MLXN_API Graph {
 public:
  Graph();
  size_t dispatch_count() const;
  size_t barrier_count() const;
  GraphStats stats() const;
  bool empty() const { return dispatch_count() == 0; }
  const std::shared_ptr<const GraphData>& data() const { return data_; }

 private:
  friend class Stream;
  explicit Graph(std::shared_ptr<const GraphData> data);
  std::shared_ptr<const GraphData> data_;
};

// By name and entry, those that took longest first.
MLXN_API std::vector<ProfileRow> summarise_profile(const std::vector<ProfileEvent>& events);

// The events as Chrome trace JSON, which Perfetto opens (Trace Event Format, "X" events in us): the
// host's threads as one process, a GPU's kernels as another, on one axis of time.
MLXN_API std::string chrome_trace_json(const std::vector<ProfileEvent>& events);

}  // namespace mlxn
