// SPDX-License-Identifier: Apache-2.0
// One row of an op's table of implementations. The table drives dispatch, tests, benchmarks and
// `mlxn doctor`; the first row that accepts a call runs it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "backends/hazard_tracker.h"

namespace mlxn::kernels {

// Params is the op's plain struct of raw pointers and sizes (params.h).
template <typename Params>
struct Entry {
  const char* name;  // "avx512", "avx2", "baseline"; unique within a device kind
  DeviceKind device;
  Isa isa;  // CPU: the instruction set the entry needs
  // Why the entry cannot serve these params; empty if it can. Null means it serves all.
  std::optional<std::string_view> (*refuses)(const Params&);
  // Records the work. `access` lists what the op reads and writes.
  void (*launch)(StreamImpl&, const Params&, backends::Access);
  // Why calls of this kind are another entry's business, as for an integer kernel and dense
  // weights; empty if they are this one's. Unlike a refusal this does not make the entry that runs
  // a fallback.
  std::optional<std::string_view> (*leaves)(const Params&) = nullptr;
};

// The kind of entries written in the shared GPU text, which every GPU backend and the emulator run.
inline constexpr DeviceKind kSharedGpu = DeviceKind::kEmulator;

// The emulator runs Metal's own text too.
inline bool is_for(DeviceKind entry, DeviceKind device) {
  return entry == device || (entry == kSharedGpu && device != DeviceKind::kCpu) ||
         (entry == DeviceKind::kMetal && device == DeviceKind::kEmulator);
}

// Why an entry cannot run on this device whatever the params; empty if it can.
template <typename Params>
std::string refusal_of_device(const Entry<Params>& entry, const Device& device) {
  if (!is_for(entry.device, device.kind())) {
    return "is for " + std::string(name(entry.device)) + " devices";
  }
  if (entry.isa > device.isa()) return "needs " + std::string(name(entry.isa));
  const std::string& forced = device.options().kernel;
  if (!forced.empty() && forced != entry.name) return "kernel " + forced + " was asked for";
  return {};
}

// The first entry that accepts. With DeviceOptions::strict only the best entry may run: the first
// one that the device can run and that does not leave the call to others. Throws kKernelNotFound
// with every refusal.
template <typename Params>
const Entry<Params>& choose(const char* op, std::span<const Entry<Params>> table,
                            const Device& device, const Params& params) {
  std::string refusals;
  bool best_seen = false;
  for (const Entry<Params>& entry : table) {
    std::string why = refusal_of_device(entry, device);
    if (why.empty() && entry.leaves != nullptr) {
      if (const auto reason = entry.leaves(params)) why = std::string(*reason);
    }
    if (why.empty()) {
      if (entry.refuses != nullptr) {
        if (const auto reason = entry.refuses(params)) why = std::string(*reason);
      }
      const bool is_best = !std::exchange(best_seen, true);
      if (why.empty() && device.options().strict && !is_best) why = "is not the best (strict)";
    }
    if (why.empty()) return entry;
    // On the CPU nobody needs to hear of the emulator's entries.
    if (entry.device == kSharedGpu && device.kind() == DeviceKind::kCpu) continue;
    refusals += (refusals.empty() ? "" : "; ") + std::string(entry.name) + " " + why;
  }
  throw Error(
      ErrorKind::kKernelNotFound,
      ErrorDetail{op, "", refusals.empty() ? "no entries" : refusals, "an entry that accepts"});
}

// A checked call of an op.
template <typename Params>
struct Call {
  Params params;
  backends::Access access;
};

// Records the call; `op` names it in errors.
template <typename Params>
void record(const char* op, std::span<const Entry<Params>> table, StreamImpl& stream,
            const Call<Params>& call) {
  choose(op, table, stream.device(), call.params).launch(stream, call.params, call.access);
}

// The first entry that accepts, for ops that can run as others in its stead; null if none does.
template <typename Params>
const Entry<Params>* find(std::span<const Entry<Params>> table, const Device& device,
                          const Params& params) {
  for (const Entry<Params>& entry : table) {
    const bool leaves = entry.leaves != nullptr && entry.leaves(params);
    const bool refuses = entry.refuses != nullptr && entry.refuses(params);
    if (refusal_of_device(entry, device).empty() && !leaves && !refuses) return &entry;
  }
  return nullptr;
}

// A table without its types, for `doctor`.
struct EntryReport {
  std::string name;
  DeviceKind device;
  std::string refusal;  // empty: runs on this device
};

template <typename Params>
std::vector<EntryReport> report(std::span<const Entry<Params>> table, const Device& device) {
  std::vector<EntryReport> reports;
  for (const Entry<Params>& entry : table) {
    const DeviceKind kind = is_for(entry.device, device.kind()) ? device.kind() : entry.device;
    reports.push_back({entry.name, kind, refusal_of_device(entry, device)});
  }
  return reports;
}

}  // namespace mlxn::kernels
