// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/cuda_stream.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "backends/graph_plan.h"

namespace mlxn::backends::cuda {
namespace {

constexpr uint32_t kSimd = 32;
constexpr uint32_t kMaxGroupsX = 0x7fffffff;
constexpr uint32_t kMaxGroupsYZ = 65535;

[[noreturn]] void refuse(const GpuLaunch& launch, const char* what, const std::string& found,
                         const std::string& required) {
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{launch.op, launch.kernel + ": " + what, found, required});
}

void check_launch(const GpuLaunch& launch, const Kernel& kernel) {
  if (launch.threads == 0 || launch.threads % kSimd != 0 || launch.threads > kernel.max_threads) {
    refuse(launch, "threads", std::to_string(launch.threads),
           "a multiple of 32, at most " + std::to_string(kernel.max_threads));
  }
  const std::array<uint32_t, 3> most = {kMaxGroupsX, kMaxGroupsYZ, kMaxGroupsYZ};
  for (size_t i = 0; i < 3; ++i) {
    if (launch.groups[i] == 0 || launch.groups[i] > most[i]) {
      refuse(launch, "groups", std::to_string(launch.groups[i]), "1 to " + std::to_string(most[i]));
    }
  }
  if (const size_t bytes = launch.threadgroup_bytes(); bytes > kernel.max_dynamic_shared) {
    refuse(launch, "threadgroup memory", std::to_string(bytes),
           "at most " + std::to_string(kernel.max_dynamic_shared));
  }
  if (launch.args.size() > kMaxGpuArgs) {
    refuse(launch, "arguments", std::to_string(launch.args.size()),
           "at most " + std::to_string(kMaxGpuArgs));
  }
}

// With `overlap` the kernel may start while the one in front of it still runs, if both are kernels;
// it waits for that one's writes itself.
void enqueue_kernel(const GpuLaunch& launch, const Kernel& kernel, bool overlap,
                    cudaStream_t stream) {
  static const char nothing = 0;  // threadgroup memory is an empty struct among the parameters
  std::array<const void*, kMaxGpuArgs> args = {};
  for (size_t i = 0; i < launch.args.size(); ++i) {
    const GpuArg& arg = launch.args[i];
    args[i] = arg.kind == GpuArg::Kind::kBuffer   ? static_cast<const void*>(&arg.address)
              : arg.kind == GpuArg::Kind::kParams ? launch.params.data()
                                                  : static_cast<const void*>(&nothing);
  }
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(launch.groups[0], launch.groups[1], launch.groups[2]);
  config.blockDim = dim3(launch.threads);
  config.dynamicSmemBytes = launch.threadgroup_bytes();
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = overlap && kernel.awaits ? 1 : 0;
  check(cudaLaunchKernelExC(&config, kernel.entry, const_cast<void**>(args.data())), launch.op,
        kernel.name);
}

}  // namespace

CudaGraph::~CudaGraph() {
  if (exec != nullptr) cudaGraphExecDestroy(exec);
}

CudaStream::CudaStream(const Device& device, CudaDevice& gpu)
    : StreamImpl(device), gpu_(gpu), scratch_pool_(device), barriers_(device.options().serial) {
  const CurrentDevice current(gpu_.index());
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "Stream", "cudaStreamCreate");
}

CudaStream::CudaStream(const Device& device, CudaDevice& gpu, cudaStream_t stream)
    : StreamImpl(device),
      gpu_(gpu),
      scratch_pool_(device),
      stream_(stream),
      owned_(false),
      barriers_(device.options().serial) {}

CudaStream::~CudaStream() {
  // Buffers must outlive the work on them. Errors are lost: nobody waited for them.
  if (!is_in_callers_capture()) cudaStreamSynchronize(stream_);
  for (const Commit& commit : in_flight_) {
    if (commit.done != nullptr) cudaEventDestroy(commit.done);
  }
  for (const cudaEvent_t event : free_events_) cudaEventDestroy(event);
  if (owned_) cudaStreamDestroy(stream_);
}

bool CudaStream::is_in_callers_capture() const {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return !owned_ && cudaStreamIsCapturing(stream_, &status) == cudaSuccess &&
         status == cudaStreamCaptureStatusActive;
}

void CudaStream::launch(GpuLaunch launch, Access access) {
  const Kernel& kernel = gpu_.kernel(launch);
  check_launch(launch, kernel);
  const char* const op = launch.op;
  // On a caller's stream neighbours are not ours, and a graph of the caller's gets plain edges.
  const bool overlap = owned_ && !gpu_.options().serial;
  record(op, kernel.name, std::move(access),
         [launch = std::move(launch), &kernel, overlap](cudaStream_t stream) {
           enqueue_kernel(launch, kernel, overlap, stream);
         });
}

void CudaStream::record(const char* op, std::string entry, Access access, Enqueue enqueue) {
  const bool barrier_before =
      capture_ ? barriers_.before_captured(access, counters_) : barriers_.before(access, counters_);
  Call call{op, std::move(entry), std::move(enqueue), std::move(access), barrier_before};
  if (capture_) {
    capture_->barriers += barrier_before ? 1 : 0;
    capture_->calls.push_back(std::move(call));
  } else {
    items_.push_back({std::move(call), nullptr});
  }
}

std::shared_ptr<void> CudaStream::take_staging(size_t byte_len, const char* where) {
  const CurrentDevice current(gpu_.index());
  void* const block = gpu_.staging().take(byte_len);
  if (block == nullptr) {
    throw Error(ErrorKind::kBufferAllocation,
                ErrorDetail{where, "bytes", std::to_string(byte_len), "free page-locked memory"});
  }
  auto gpu = std::static_pointer_cast<CudaDevice>(gpu_.shared_from_this());
  return {block,
          [gpu = std::move(gpu), byte_len](void* p) { gpu->staging().give_back(p, byte_len); }};
}

void CudaStream::upload(const Buffer& to, const void* data) {
  std::shared_ptr<void> staging = take_staging(to.byte_len(), "Stream::upload");
  std::memcpy(staging.get(), data, to.byte_len());
  Access access;
  access.write(to);
  record("upload", "copy", std::move(access),
         [staging = std::move(staging), to = to.data(), bytes = to.byte_len()](cudaStream_t s) {
           check(cudaMemcpyAsync(to, staging.get(), bytes, cudaMemcpyHostToDevice, s),
                 "Stream::upload", "cudaMemcpyAsync");
         });
}

void CudaStream::download(const Buffer& from, void* data) {
  const std::shared_ptr<void> staging = take_staging(from.byte_len(), "Stream::download");
  Access access;
  access.read(from);
  record("download", "copy", std::move(access),
         [staging, from = from.data(), bytes = from.byte_len()](cudaStream_t s) {
           check(cudaMemcpyAsync(staging.get(), from, bytes, cudaMemcpyDeviceToHost, s),
                 "Stream::download", "cudaMemcpyAsync");
         });
  downloads_.push_back({staging, data, from.byte_len()});
}

void CudaStream::enqueue_call(const Call& call) {
  if (profiling_) profile_.begin(stream_);
  call.enqueue(stream_);
  if (profiling_) profile_.end(stream_, call.op, call.entry);
}

void CudaStream::enqueue(const Item& item) {
  if (!item.graph) {
    enqueue_call(item.call);
  } else if (profiling_) {
    for (const Call& call : item.graph->calls) enqueue_call(call);
  } else if (item.graph->exec != nullptr) {
    check(cudaGraphLaunch(item.graph->exec, stream_), "Stream::replay", "cudaGraphLaunch");
  }
}

void CudaStream::commit() {
  if (capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::commit", "state", "capturing", "end_capture() first"});
  }
  ++counters_.commits;
  if (items_.empty()) return;
  const CudaProfile::HostSpan span(profiling_ ? &profile_ : nullptr, "commit");
  const CurrentDevice current(gpu_.index());
  if (is_in_callers_capture()) return commit_to_callers_graph();
  retire_finished();
  Commit commit{std::move(items_), std::move(downloads_), nullptr};
  discard();
  try {
    for (const Item& item : commit.items) enqueue(item);
    if (free_events_.empty()) {
      check(cudaEventCreateWithFlags(&commit.done, cudaEventDisableTiming), "Stream::commit",
            "cudaEventCreate");
    } else {
      commit.done = free_events_.back();
      free_events_.pop_back();
    }
    check(cudaEventRecord(commit.done, stream_), "Stream::commit", "cudaEventRecord");
  } catch (...) {
    if (!failure_) failure_ = std::current_exception();
    commit.downloads.clear();
  }
  in_flight_.push_back(std::move(commit));
  if (!owned_ && failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// Nothing may be asked of such a stream, so that its work never counts as done.
void CudaStream::commit_to_callers_graph() {
  if (!downloads_.empty()) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::commit", "download", "inside a capture of the caller's",
                            "a download outside of it"});
  }
  const size_t first = in_callers_graphs_.size();
  for (Item& item : items_) in_callers_graphs_.push_back(std::move(item));
  discard();
  for (size_t i = first; i < in_callers_graphs_.size(); ++i) enqueue(in_callers_graphs_[i]);
}

void CudaStream::retire(Commit& commit) {
  for (const Download& download : commit.downloads) {
    std::memcpy(download.data, download.staging.get(), download.byte_len);
  }
  if (commit.done != nullptr) free_events_.push_back(commit.done);
}

void CudaStream::retire_finished() {
  while (!in_flight_.empty() && in_flight_.front().done != nullptr &&
         cudaEventQuery(in_flight_.front().done) == cudaSuccess) {
    retire(in_flight_.front());
    in_flight_.pop_front();
  }
}

// "rms_norm, rope, ..." for errors: a GPU does not say which kernel has failed.
std::string CudaStream::ops_in_flight() const {
  std::vector<std::string> ops;
  const auto add = [&ops](const Call& call) {
    if (std::find(ops.begin(), ops.end(), call.op) == ops.end()) ops.emplace_back(call.op);
  };
  for (const Commit& commit : in_flight_) {
    for (const Item& item : commit.items) {
      if (!item.graph) add(item.call);
      if (item.graph) std::for_each(item.graph->calls.begin(), item.graph->calls.end(), add);
    }
  }
  constexpr size_t kMost = 8;
  std::string text;
  for (size_t i = 0; i < std::min(ops.size(), kMost); ++i) text += (i > 0 ? ", " : "") + ops[i];
  return ops.size() > kMost ? text + ", ..." : text;
}

void CudaStream::wait() {
  const CudaProfile::HostSpan span(profiling_ ? &profile_ : nullptr, "wait");
  const CurrentDevice current(gpu_.index());
  if (is_in_callers_capture()) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::wait", "state", "inside a capture of the caller's",
                            "a wait outside of it"});
  }
  const cudaError_t status = cudaStreamSynchronize(stream_);
  const std::string ops = status == cudaSuccess ? "" : ops_in_flight();
  if (status != cudaSuccess) {
    for (Commit& commit : in_flight_) commit.downloads.clear();
  }
  for (Commit& commit : in_flight_) retire(commit);
  in_flight_.clear();
  if (const std::exception_ptr failure = std::exchange(failure_, nullptr)) {
    profile_.drop();
    std::rethrow_exception(failure);
  }
  if (status != cudaSuccess) {
    profile_.drop();
    fail(status, "Stream::wait", ops);
  }
  profile_.resolve();
}

void CudaStream::discard() {
  capture_.reset();
  items_.clear();
  downloads_.clear();
  barriers_.restart(false);
}

void CudaStream::begin_capture() {
  if (capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::begin_capture", "state", "capturing", "not capturing"});
  }
  capture_ =
      std::make_unique<CudaGraph>(std::static_pointer_cast<CudaDevice>(gpu_.shared_from_this()));
  barriers_.restart(false);
}

// Kernels were loaded when they were recorded: nothing in here may wait for the device.
void CudaStream::instantiate(CudaGraph& graph) {
  const char* const where = "Stream::end_capture";
  const CurrentDevice current(gpu_.index());
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), where,
        "cudaStreamBeginCapture");
  std::exception_ptr failure;
  try {
    for (const Call& call : graph.calls) call.enqueue(stream_);
  } catch (...) {
    failure = std::current_exception();
  }
  cudaGraph_t captured = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream_, &captured);
  const std::unique_ptr<CUgraph_st, decltype(&cudaGraphDestroy)> owner(captured, cudaGraphDestroy);
  if (failure) {
    cudaGetLastError();
    std::rethrow_exception(failure);
  }
  check(ended, where, "cudaStreamEndCapture");
  check(cudaGraphInstantiate(&graph.exec, captured, 0), where, "cudaGraphInstantiate");
  check(cudaGraphUpload(graph.exec, stream_), where, "cudaGraphUpload");
}

void CudaStream::optimise_capture(const GraphOptions& options) {
  backends::optimise_capture(*this, capture_->calls, capture_->barriers, options, capture_->stats);
}

std::shared_ptr<const GraphData> CudaStream::end_capture() {
  if (!capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::end_capture", "state", "not capturing", "capturing"});
  }
  count_groups(capture_->calls, capture_->stats);
  std::shared_ptr<CudaGraph> graph = std::move(capture_);
  barriers_.restart(!items_.empty());
  if (!graph->calls.empty()) instantiate(*graph);
  return graph;
}

void CudaStream::replay(std::shared_ptr<const GraphData> graph) {
  auto cuda_graph = std::dynamic_pointer_cast<const CudaGraph>(std::move(graph));
  if (!cuda_graph || cuda_graph->gpu.get() != &gpu_ || capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::replay", "graph",
                            capture_ ? "a stream that is capturing" : "a graph of another device",
                            "a graph captured on this device, outside a capture"});
  }
  counters_.barriers += cuda_graph->barriers + (items_.empty() ? 0 : 1);
  items_.push_back({{}, std::move(cuda_graph)});
  barriers_.restart(true);
}

void CudaStream::set_profiling(bool on) {
  const CurrentDevice current(gpu_.index());
  if (on) {
    check(cudaStreamSynchronize(stream_), "Stream::set_profiling", "cudaStreamSynchronize");
    profile_.start(stream_);
  }
  profiling_ = on;
}

std::vector<ProfileEvent> CudaStream::take_profile() { return profile_.take(); }

Buffer CudaStream::scratch(size_t byte_len) {
  Buffer buffer = scratch_pool_.alloc(DType::kU8, {static_cast<int64_t>(byte_len)});
  // Released at once: the pool hands it out again only when no work holds it.
  scratch_pool_.release(buffer);
  return buffer;
}

double CudaStream::timed_commit() {
  const CurrentDevice current(gpu_.index());
  const char* const where = "Stream::commit";
  cudaEvent_t events[2] = {};
  for (cudaEvent_t& event : events) check(cudaEventCreate(&event), where, "cudaEventCreate");
  check(cudaEventRecord(events[0], stream_), where, "cudaEventRecord");
  commit();
  check(cudaEventRecord(events[1], stream_), where, "cudaEventRecord");
  wait();
  float ms = 0.0f;
  check(cudaEventElapsedTime(&ms, events[0], events[1]), where, "cudaEventElapsedTime");
  for (const cudaEvent_t event : events) cudaEventDestroy(event);
  return static_cast<double>(ms);
}

}  // namespace mlxn::backends::cuda
