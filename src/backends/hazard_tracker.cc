// SPDX-License-Identifier: Apache-2.0
#include "backends/hazard_tracker.h"

namespace mlxn::backends {

MemoryRange range_of(const Buffer& buffer) {
  const uint64_t begin = buffer.byte_offset();
  return {buffer.allocation()->id, begin, begin + buffer.byte_len()};
}

void Access::read(const Buffer& buffer) {
  if (!buffer) return;
  reads.push_back(range_of(buffer));
  keep.push_back(buffer);
}

void Access::write(const Buffer& buffer) {
  if (!buffer) return;
  writes.push_back(range_of(buffer));
  keep.push_back(buffer);
}

void Access::add(const Access& other) {
  reads.insert(reads.end(), other.reads.begin(), other.reads.end());
  writes.insert(writes.end(), other.writes.begin(), other.writes.end());
  keep.insert(keep.end(), other.keep.begin(), other.keep.end());
}

Access Access::inputs() const { return {reads, {}, keep}; }

bool HazardTracker::conflicts(const MemoryRange& range, bool is_write) const {
  for (const Entry& entry : ranges_) {
    if (entry.range.allocation != range.allocation) continue;
    if (!is_write && !entry.is_write) continue;
    if (entry.range.begin < range.end && range.begin < entry.range.end) return true;
  }
  return false;
}

bool HazardTracker::check(std::span<const MemoryRange> reads, std::span<const MemoryRange> writes) {
  ++checks_;
  for (const MemoryRange& range : writes) {
    if (conflicts(range, true)) {
      ++barriers_forced_;
      return false;
    }
  }
  for (const MemoryRange& range : reads) {
    if (conflicts(range, false)) {
      ++barriers_forced_;
      return false;
    }
  }
  return true;
}

bool HazardTracker::check_and_record(std::span<const MemoryRange> reads,
                                     std::span<const MemoryRange> writes) {
  const bool may_run = check(reads, writes);
  if (may_run) add(reads, writes);
  return may_run;
}

void HazardTracker::add(std::span<const MemoryRange> reads, std::span<const MemoryRange> writes) {
  for (const MemoryRange& range : reads) ranges_.push_back({range, false});
  for (const MemoryRange& range : writes) ranges_.push_back({range, true});
}

void HazardTracker::reset() { ranges_.clear(); }

}  // namespace mlxn::backends
