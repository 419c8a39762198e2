// SPDX-License-Identifier: Apache-2.0
#include "backends/metal/metal_stream.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "backends/gpu_copy.h"
#include "backends/graph_plan.h"
#include "backends/metal/encode.h"

namespace mlxn::backends::metal {
namespace {

constexpr uint32_t kCopyThreads = 256;
constexpr size_t kPiece = 16;  // bytes that a thread copies

// A command buffer with one concurrent encoder, from the first dispatch to the commit.
class Encoding {
 public:
  explicit Encoding(NS::SharedPtr<MTL::CommandBuffer> commands)
      : commands_(std::move(commands)),
        encoder_(NS::RetainPtr(commands_->computeCommandEncoder(MTL::DispatchTypeConcurrent))) {}
  ~Encoding() {
    if (encoder_) encoder_->endEncoding();
  }
  Encoding(const Encoding&) = delete;
  Encoding& operator=(const Encoding&) = delete;

  void add(const Dispatch& dispatch, bool barrier_before) {
    if (barrier_before && !empty_) encoder_->memoryBarrier(MTL::BarrierScopeBuffers);
    encode_dispatch(dispatch, *encoder_.get());
    empty_ = false;
  }
  NS::SharedPtr<MTL::CommandBuffer> commit() {
    encoder_->endEncoding();
    encoder_.reset();
    commands_->commit();
    return std::move(commands_);
  }

 private:
  NS::SharedPtr<MTL::CommandBuffer> commands_;
  NS::SharedPtr<MTL::ComputeCommandEncoder> encoder_;
  bool empty_ = true;
};

// Command buffers tell their times by this clock.
int64_t now_ns() {
#if defined(__APPLE__)
  return static_cast<int64_t>(::clock_gettime_nsec_np(CLOCK_UPTIME_RAW));
#else
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
#endif
}

}  // namespace

MetalStream::MetalStream(const Device& device, MetalDevice& gpu)
    : StreamImpl(device),
      gpu_(gpu),
      scratch_pool_(device),
      queue_(NS::TransferPtr(gpu.metal()->newCommandQueue())),
      barriers_(device.options().serial) {
  if (!queue_) {
    throw Error(ErrorKind::kCommandBuffer,
                ErrorDetail{"Stream", "command queue", "none", "a queue of the GPU"});
  }
}

MetalStream::~MetalStream() {
  // Buffers must outlive the work on them. Errors are lost: nobody waited for them.
  for (const Commit& commit : in_flight_) {
    for (const auto& commands : commit.commands) commands->waitUntilCompleted();
  }
}

void MetalStream::launch(GpuLaunch launch, Access access) {
  const AutoreleaseScope scope;
  Dispatch dispatch = resolve(gpu_, std::move(launch), std::move(access));
  dispatch.barrier_before = capture_ ? barriers_.before_captured(dispatch.access, counters_)
                                     : barriers_.before(dispatch.access, counters_);
  if (capture_) {
    capture_->barriers += dispatch.barrier_before ? 1 : 0;
    capture_->dispatches.push_back(std::move(dispatch));
  } else {
    items_.push_back({std::move(dispatch), nullptr});
  }
}

void MetalStream::record_copy(const char* op, const Buffer& from, const Buffer& to) {
  const auto address = [](const Buffer& b) { return reinterpret_cast<uintptr_t>(b.data()); };
  const size_t pieces = (to.byte_len() + kPiece - 1) / kPiece;
  if (pieces > UINT32_MAX) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{op, "bytes", std::to_string(to.byte_len()), "at most 64 GiB"});
  }
  Access access;
  access.read(from);
  access.write(to);
  GpuLaunch launch{
      .op = op,
      .kernel = "copy_bytes",
      .groups = {static_cast<uint32_t>((pieces + kCopyThreads - 1) / kCopyThreads), 1, 1},
      .threads = kCopyThreads};
  launch.buffer(from.data()).buffer(to.data());
  launch.constants(GpuCopy{.pieces = static_cast<uint32_t>(pieces),
                           .tail = static_cast<uint32_t>(to.byte_len() - (pieces - 1) * kPiece),
                           .vectors = (address(from) | address(to)) % kPiece == 0 ? 1u : 0u});
  this->launch(std::move(launch), std::move(access));
}

void MetalStream::upload(const Buffer& to, const void* data) {
  const Buffer staging = scratch(to.byte_len());
  std::memcpy(staging.data(), data, to.byte_len());
  record_copy("upload", staging, to);
}

void MetalStream::download(const Buffer& from, void* data) {
  const Buffer staging = scratch(from.byte_len());
  record_copy("download", from, staging);
  downloads_.push_back({staging, data});
}

NS::SharedPtr<MTL::CommandBuffer> MetalStream::new_commands() {
  auto commands = NS::RetainPtr(queue_->commandBuffer());
  if (!commands) {
    throw Error(ErrorKind::kCommandBuffer,
                ErrorDetail{"Stream::commit", "command buffer", "none", "one of the queue"});
  }
  return commands;
}

void MetalStream::encode(Commit& commit) {
  std::vector<std::pair<const Dispatch*, bool>> order;  // with the barrier in front
  for (const Item& item : commit.items) {
    if (!item.graph) {
      order.emplace_back(&item.dispatch, item.dispatch.barrier_before);
      continue;
    }
    for (size_t i = 0; i < item.graph->dispatches.size(); ++i) {
      const Dispatch& dispatch = item.graph->dispatches[i];
      order.emplace_back(&dispatch, dispatch.barrier_before || (i == 0 && item.barrier_before));
    }
  }
  if (!profiling_) {
    Encoding encoding(new_commands());
    for (const auto& [dispatch, barrier_before] : order) encoding.add(*dispatch, barrier_before);
    commit.commands.push_back(encoding.commit());
    return;
  }
  for (const auto& [dispatch, barrier_before] : order) {
    Encoding encoding(new_commands());
    encoding.add(*dispatch, false);  // command buffers run in order
    commit.commands.push_back(encoding.commit());
    commit.timed.push_back(
        {commit.commands.back(), dispatch->launch.op, dispatch->pipeline->kernel});
  }
}

void MetalStream::commit() {
  if (capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::commit", "state", "capturing", "end_capture() first"});
  }
  ++counters_.commits;
  if (items_.empty()) return;
  const AutoreleaseScope scope;
  const int64_t begin_ns = now_ns();
  retire_finished();
  Commit commit{std::move(items_), std::move(downloads_), {}, {}};
  discard();
  bool traced = false;
  try {
    traced = gpu_.trace().begin(gpu_.metal());
    encode(commit);
  } catch (...) {
    if (!failure_) failure_ = std::current_exception();
    commit.downloads.clear();
  }
  if (traced) gpu_.trace().end();
  in_flight_.push_back(std::move(commit));
  add_host_span("commit", begin_ns);
}

// "rms_norm, rope, ..." for errors: a GPU does not say which kernel has failed.
std::string MetalStream::ops_of(const Commit& commit) const {
  std::vector<std::string> ops;
  const auto add = [&ops](const Dispatch& dispatch) {
    if (std::find(ops.begin(), ops.end(), dispatch.launch.op) == ops.end()) {
      ops.emplace_back(dispatch.launch.op);
    }
  };
  for (const Item& item : commit.items) {
    if (!item.graph) add(item.dispatch);
    if (item.graph) {
      std::for_each(item.graph->dispatches.begin(), item.graph->dispatches.end(), add);
    }
  }
  constexpr size_t kMost = 8;
  std::string text;
  for (size_t i = 0; i < std::min(ops.size(), kMost); ++i) text += (i > 0 ? ", " : "") + ops[i];
  return ops.size() > kMost ? text + ", ..." : text;
}

// The GPU is done with the commit: its results, its times, or its failure.
void MetalStream::retire(Commit& commit) {
  for (const auto& commands : commit.commands) {
    if (commands->status() == MTL::CommandBufferStatusCompleted) continue;
    commit.downloads.clear();
    if (failure_) continue;
    failure_ = std::make_exception_ptr(
        Error(ErrorKind::kCommandBuffer,
              ErrorDetail{"Stream::wait", ops_of(commit), failure_of(*commands.get()), ""}));
  }
  for (const Download& download : commit.downloads) {
    std::memcpy(download.data, download.staging.data(), download.staging.byte_len());
  }
  for (Timed& timed : commit.timed) {
    if (timed.commands->status() != MTL::CommandBufferStatusCompleted) continue;
    const auto since_start = [this](double seconds) {
      return std::llround(seconds * 1e9) - profile_start_ns_;
    };
    profile_.push_back({timed.op, std::move(timed.entry), 0,
                        since_start(timed.commands->GPUStartTime()),
                        since_start(timed.commands->GPUEndTime()), true});
  }
}

void MetalStream::retire_finished() {
  const auto finished = [](const auto& commands) {
    return commands->status() >= MTL::CommandBufferStatusCompleted;
  };
  while (!in_flight_.empty() && std::all_of(in_flight_.front().commands.begin(),
                                            in_flight_.front().commands.end(), finished)) {
    retire(in_flight_.front());
    in_flight_.pop_front();
  }
}

// What the host did since then, beside the GPU's times.
void MetalStream::add_host_span(const char* name, int64_t begin_ns) {
  if (!profiling_) return;
  profile_.push_back({name, "host", 0, begin_ns - profile_start_ns_, now_ns() - profile_start_ns_});
}

void MetalStream::wait() {
  const AutoreleaseScope scope;
  const int64_t begin_ns = now_ns();
  for (Commit& commit : in_flight_) {
    for (const auto& commands : commit.commands) commands->waitUntilCompleted();
    retire(commit);
  }
  in_flight_.clear();
  add_host_span("wait", begin_ns);
  if (const std::exception_ptr failure = std::exchange(failure_, nullptr)) {
    std::rethrow_exception(failure);
  }
}

void MetalStream::discard() {
  capture_.reset();
  items_.clear();
  downloads_.clear();
  barriers_.restart(false);
}

void MetalStream::begin_capture() {
  if (capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::begin_capture", "state", "capturing", "not capturing"});
  }
  capture_ =
      std::make_unique<MetalGraph>(std::static_pointer_cast<MetalDevice>(gpu_.shared_from_this()));
  barriers_.restart(false);
}

void MetalStream::optimise_capture(const GraphOptions& options) {
  backends::optimise_capture(*this, capture_->dispatches, capture_->barriers, options,
                             capture_->stats);
}

std::shared_ptr<const GraphData> MetalStream::end_capture() {
  if (!capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::end_capture", "state", "not capturing", "capturing"});
  }
  count_groups(capture_->dispatches, capture_->stats);
  barriers_.restart(!items_.empty());
  return std::shared_ptr<const MetalGraph>(std::move(capture_));
}

void MetalStream::replay(std::shared_ptr<const GraphData> graph) {
  auto metal_graph = std::dynamic_pointer_cast<const MetalGraph>(std::move(graph));
  if (!metal_graph || metal_graph->gpu.get() != &gpu_ || capture_) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Stream::replay", "graph",
                            capture_ ? "a stream that is capturing" : "a graph of another device",
                            "a graph captured on this device, outside a capture"});
  }
  const bool barrier_before = !items_.empty();
  counters_.barriers += metal_graph->barriers + (barrier_before ? 1 : 0);
  items_.push_back({{}, std::move(metal_graph), barrier_before});
  barriers_.restart(true);
}

void MetalStream::set_profiling(bool on) {
  if (on) {
    profile_start_ns_ = now_ns();
    profile_.clear();
  }
  profiling_ = on;
}

std::vector<ProfileEvent> MetalStream::take_profile() { return std::exchange(profile_, {}); }

Buffer MetalStream::scratch(size_t byte_len) {
  Buffer buffer = scratch_pool_.alloc(DType::kU8, {static_cast<int64_t>(byte_len)});
  // Released at once: the pool hands it out again only when no work holds it.
  scratch_pool_.release(buffer);
  return buffer;
}

}  // namespace mlxn::backends::metal
