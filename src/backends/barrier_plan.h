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
  // Takes the next dispatch; true if it needs a barrier in front.
  bool before(const Access& access, StreamCounters& counters) {
    bool needed = std::exchange(pending_, false) || (serial_ && !tracker_.empty());
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
    return needed;
  }
  // A barrier that the caller asks for.
  void request() { pending_ = pending_ || !tracker_.empty(); }
  // Forgets what came before. With `pending` the next dispatch gets a barrier all the same.
  void restart(bool pending) {
    tracker_.reset();
    pending_ = pending;
  }

 private:
  bool serial_;
  HazardTracker tracker_;
  bool pending_ = false;
};

}  // namespace mlxn::backends
