// SPDX-License-Identifier: Apache-2.0
// Which of a stream's dispatches need a barrier in front of them, and the stream's counters.
#pragma once

#include <utility>

#include "backends/hazard_tracker.h"
#include "mlxn/stream.h"

namespace mlxn::backends {

class BarrierPlan {
 public:
  // serial: every dispatch needs one (DeviceOptions::serial).
  explicit BarrierPlan(bool serial) : serial_(serial) {}
  // Takes the next dispatch; true if it needs a barrier in front. Notes in `access` whether the
  // caller has asked for that barrier.
  bool before(Access& access, StreamCounters& counters) {
    access.after_barrier = std::exchange(pending_, false);
    bool needed = access.after_barrier || (serial_ && any_);
    if (!tracker_.check(access.reads, access.writes) && !needed) {
      needed = true;
      ++counters.automatic_barriers;
    }
    if (needed) {
      tracker_.reset();
      ++counters.barriers;
    } else {
      ++counters.concurrent;
    }
    tracker_.add(access.reads, access.writes);
    ++counters.dispatches;
    any_ = true;
    return needed;
  }
  // The same for a dispatch that a graph keeps: its barrier counts whenever it is replayed.
  bool before_captured(Access& access, StreamCounters& counters) {
    StreamCounters uncounted;
    ++counters.dispatches;
    return before(access, uncounted);
  }
  // A barrier that the caller asks for: it orders dispatches without any memory, too.
  void request() { pending_ = pending_ || any_; }
  // Forgets what came before. With `pending` the next dispatch gets a barrier all the same.
  void restart(bool pending) {
    tracker_.reset();
    any_ = false;
    pending_ = pending;
  }

 private:
  bool serial_;
  HazardTracker tracker_;
  bool any_ = false;  // dispatches since the barrier or the restart
  bool pending_ = false;
};

}  // namespace mlxn::backends
