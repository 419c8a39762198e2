// SPDX-License-Identifier: Apache-2.0
// Decides where recorded work needs a barrier.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "mlxn/buffer.h"

namespace mlxn::backends {

// Bytes [begin, end) of one allocation.
struct MemoryRange {
  uint64_t allocation;
  uint64_t begin;
  uint64_t end;
};

MemoryRange range_of(const Buffer& buffer);

class Fusible;

// What a dispatch touches. The buffers are kept alive until the work has run.
struct Access {
  std::vector<MemoryRange> reads;
  std::vector<MemoryRange> writes;
  std::vector<Buffer> keep;
  // How a graph may join the dispatch with the next one; null if it may not.
  std::shared_ptr<const Fusible> fusible = nullptr;
  // Whether the caller has put a barrier in front of the dispatch. Set as it is recorded.
  bool after_barrier = false;

  // Empty buffers (optional operands) are ignored.
  void read(const Buffer& buffer);
  void write(const Buffer& buffer);
  // What another dispatch touches besides.
  void add(const Access& other);
  // What is read, without what is written: for the first of several dispatches of one op.
  Access inputs() const;
};

// Remembers the ranges touched since the last barrier. Two ranges conflict iff they belong to the
// same allocation, intersect as half-open intervals, and at least one is a write.
class HazardTracker {
 public:
  // True if the dispatch may run beside everything recorded since the last reset.
  bool check(std::span<const MemoryRange> reads, std::span<const MemoryRange> writes);
  // check, and if it is true add.
  bool check_and_record(std::span<const MemoryRange> reads, std::span<const MemoryRange> writes);
  void add(std::span<const MemoryRange> reads, std::span<const MemoryRange> writes);
  // Forgets the ranges, keeps the counters.
  void reset();

  size_t len() const { return ranges_.size(); }
  bool empty() const { return ranges_.empty(); }
  uint64_t checks() const { return checks_; }
  uint64_t barriers_forced() const { return barriers_forced_; }

 private:
  struct Entry {
    MemoryRange range;
    bool is_write;
  };
  bool conflicts(const MemoryRange& range, bool is_write) const;

  std::vector<Entry> ranges_;
  uint64_t checks_ = 0;
  uint64_t barriers_forced_ = 0;
};

}  // namespace mlxn::backends
