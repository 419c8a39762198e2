// SPDX-License-Identifier: Apache-2.0
// Profiles for people and for Perfetto.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "base/no_memory.h"
#include "mlxn/stream.h"

namespace mlxn {
namespace {

// The trace's processes: what the host's clock timed, and what the GPU's did.
constexpr int kHost = 1, kGpu = 2;

int process_of(const ProfileEvent& event) { return event.on_gpu ? kGpu : kHost; }

std::string label(const char* kind, int process, int thread, const std::string& text) {
  return fmt::format(R"({{"name":"{}","ph":"M","pid":{},"tid":{},"args":{{"name":"{}"}}}})", kind,
                     process, thread, text);
}

}  // namespace

std::string chrome_trace_json(const std::vector<ProfileEvent>& events) try {
  int last_thread = 0;
  bool has_gpu = false;
  for (const ProfileEvent& event : events) {
    if (!event.on_gpu) last_thread = std::max(last_thread, event.thread);
    has_gpu = has_gpu || event.on_gpu;
  }
  std::vector<std::string> lines = {label("process_name", kHost, 0, "host")};
  for (int thread = 0; thread <= last_thread; ++thread) {
    lines.push_back(label("thread_name", kHost, thread, fmt::format("worker {}", thread)));
  }
  if (has_gpu) {
    lines.push_back(label("process_name", kGpu, 0, "GPU"));
    lines.push_back(label("thread_name", kGpu, 0, "kernels"));
  }
  for (const ProfileEvent& event : events) {
    lines.push_back(fmt::format(
        R"({{"name":"{}","cat":"{}","ph":"X","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f}}})",
        event.name, event.entry, process_of(event), event.thread,
        static_cast<double>(event.begin_ns) / 1e3,
        static_cast<double>(event.end_ns - event.begin_ns) / 1e3));
  }
  return fmt::format("{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{}\n]}}\n",
                     fmt::join(lines, ",\n"));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::vector<ProfileRow> summarise_profile(const std::vector<ProfileEvent>& events) try {
  std::map<std::pair<std::string, std::string>, ProfileRow> rows;
  for (const ProfileEvent& event : events) {
    const int64_t ns = event.end_ns - event.begin_ns;
    ProfileRow& row = rows[{event.name, event.entry}];
    row.min_ns = row.count == 0 ? ns : std::min(row.min_ns, ns);
    row.max_ns = std::max(row.max_ns, ns);
    row.total_ns += ns;
    ++row.count;
  }
  std::vector<ProfileRow> list;
  for (auto& [key, row] : rows) {
    std::tie(row.name, row.entry) = key;
    list.push_back(std::move(row));
  }
  std::stable_sort(list.begin(), list.end(), [](const ProfileRow& a, const ProfileRow& b) {
    return a.total_ns > b.total_ns;
  });
  return list;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
