// SPDX-License-Identifier: Apache-2.0
#include "mlxn/stream.h"

#include <utility>

#include "backends/backend.h"
#include "base/no_memory.h"

namespace mlxn {
namespace backends {
namespace {

void check_not_capturing(const char* where, const StreamImpl& stream) {
  if (!stream.is_capturing()) return;
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{where, "state", "capturing", "a copy outside the capture"});
}

// Work that fails may not have run to its end, or not at all.
template <class Call>
void call_or_count(StreamImpl& stream, const Call& call) try {
  call();
} catch (...) {
  stream.device().impl()->count_discard();
  throw;
}

}  // namespace
}  // namespace backends

Stream::Stream(const Device& device) try : impl_(device.impl()->create_stream(device)) {
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}
Stream::Stream(std::unique_ptr<StreamImpl> impl) : impl_(std::move(impl)) {}
Stream::~Stream() {
  if (impl_ && impl_->has_recorded()) impl_->device().impl()->count_discard();
}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

Stream Stream::on(const Device& device, void* native) try {
  return Stream(device.impl()->create_stream_on(device, native));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

const Device& Stream::device() const { return impl_->device(); }

Stream& Stream::commit() try {
  backends::call_or_count(*impl_, [&] { impl_->commit(); });
  return *this;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void Stream::wait() try {
  ++impl_->counters().waits;
  backends::call_or_count(*impl_, [&] { impl_->wait(); });
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}
void Stream::discard() {
  if (impl_->has_recorded()) device().impl()->count_discard();
  impl_->discard();
}
void Stream::barrier() { impl_->barrier(); }

void Stream::upload(const Buffer& to, const void* data) try {
  backends::check_copy("Stream::upload", to, *device().impl(), true);
  backends::check_not_capturing("Stream::upload", *impl_);
  impl_->upload(to, data);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void Stream::download(const Buffer& from, void* data) try {
  backends::check_copy("Stream::download", from, *device().impl(), false);
  backends::check_not_capturing("Stream::download", *impl_);
  impl_->download(from, data);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void Stream::begin_capture() try { impl_->begin_capture(); } catch (const std::bad_alloc&) {
  base::throw_no_memory();
}
Graph Stream::end_capture(const GraphOptions& options) try {
  if (impl_->is_capturing() && (options.fuse || options.reorder)) impl_->optimise_capture(options);
  return Graph(impl_->end_capture());
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}
bool Stream::is_capturing() const { return impl_->is_capturing(); }

void Stream::replay(const Graph& graph) try {
  if (!graph.data()) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::replay", "graph", "a graph nothing was captured into",
                            "the result of end_capture()"});
  }
  impl_->replay(graph.data());
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

const StreamCounters& Stream::counters() const { return impl_->counters(); }
void Stream::reset_counters() { impl_->counters() = StreamCounters{}; }
void Stream::set_profiling(bool on) try {
  impl_->set_profiling(on);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}
std::vector<ProfileEvent> Stream::take_profile() { return impl_->take_profile(); }

Graph::Graph() = default;
Graph::Graph(std::shared_ptr<const GraphData> data) : data_(std::move(data)) {}
size_t Graph::dispatch_count() const { return data_ ? data_->dispatch_count() : 0; }
size_t Graph::barrier_count() const { return data_ ? data_->barrier_count() : 0; }
GraphStats Graph::stats() const { return data_ ? data_->stats : GraphStats{}; }

}  // namespace mlxn
