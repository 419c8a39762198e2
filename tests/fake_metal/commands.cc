// SPDX-License-Identifier: Apache-2.0
// Queues, command buffers, encoders, traces. Work runs when somebody waits for it, and what a
// concurrent encoder may run in any order runs last first, so that a barrier that is missing shows.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>

#include "fake_metal/fake_metal.h"
#include "fake_metal/objects.h"

namespace fake_metal {

namespace emulator = mlxn::backends::emulator;

namespace {

constexpr UInt kSlots = 31;
constexpr UInt kMaxBytes = 4096;  // of setBytes

struct Binding {
  Ref<Buffer> buffer;
  size_t offset = 0;
  std::vector<char> bytes;  // of setBytes
  bool set = false;
};
struct Command {
  Ref<Function> pipeline;
  Binding bindings[kSlots];
  size_t threadgroup_bytes = 0;
  emulator::Uint3 groups;
  uint32_t threads = 0;
  bool barrier = false;  // in front
};

}  // namespace

struct CommandBuffer : Object {
  Ref<Queue> queue;
  std::vector<Command> commands;
  bool encoding = false, committed = false, done = false;
  double begin = 0.0, end = 0.0;  // seconds
  long code = 0;                  // of the error
  std::string error;
};

namespace {

struct Encoder : Object {
  CommandBuffer* commands = nullptr;
  Command state;
  bool ended = false;
};
struct CaptureManager : Object {
  std::string path;
  size_t before = 0;  // command buffers made before the trace
};
struct CaptureDescriptor : Object {
  Object* object = nullptr;
  long destination = 0;
  Ref<String> url;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool is_written(emulator::ParamKind kind) {
  return kind == emulator::ParamKind::kOut || kind == emulator::ParamKind::kInOut;
}

// Metal knows where an operand begins; it ends with its buffer, or where an operand begins that the
// kernel promises not to share with it.
size_t bytes_of(const Command& command, size_t index) {
  const auto& params = command.pipeline->kernel->params;
  const Binding& own = command.bindings[index];
  size_t end = own.buffer->length;
  for (size_t i = 0; i < params.size(); ++i) {
    const Binding& other = command.bindings[i];
    if (other.buffer.get() != own.buffer.get() || other.offset <= own.offset) continue;
    const auto kind = params[index].kind, other_kind = params[i].kind;
    const bool apart = (kind == emulator::ParamKind::kIn && is_written(other_kind)) ||
                       (is_written(kind) && other_kind == emulator::ParamKind::kIn);
    if (apart) end = std::min(end, other.offset);
  }
  return end - own.offset;
}

// The defect that the emulator found; empty if none.
std::string run(const Command& command) {
  const emulator::Kernel& kernel = *command.pipeline->kernel;
  emulator::Launch launch{.kernel = &kernel,
                          .bindings = {},
                          .groups = command.groups,
                          .threads = command.threads,
                          .spec = command.pipeline->spec};
  for (size_t i = 0; i < kernel.params.size(); ++i) {
    const Binding& binding = command.bindings[i];
    const emulator::Param& param = kernel.params[i];
    emulator::Binding bound;
    if (param.kind == emulator::ParamKind::kTgBuf) {
      bound.bytes = command.threadgroup_bytes;
    } else if (!binding.set) {
      return kernel.name + ": nothing is bound to " + param.name;
    } else if (param.kind == emulator::ParamKind::kParams) {
      bound = {const_cast<char*>(binding.bytes.data()), binding.bytes.size()};
    } else if (binding.buffer.get() == nullptr) {
      return kernel.name + ": bytes are bound to the buffer " + param.name;
    } else if (binding.buffer->label != "absent operand") {  // else null: nothing may touch it
      bound = {binding.buffer->data + binding.offset, bytes_of(command, i)};
    }
    launch.bindings.push_back(bound);
  }
  // Races are found by the emulator's own runs.
  return emulator::run(launch, {.races = false, .uninitialised = false});
}

void run(CommandBuffer& buffer) {
  buffer.begin = now();
  if (behaviour().command_buffer_error != 0) {
    buffer.code = behaviour().command_buffer_error;
    buffer.error = "a failure that the test asked for";
  }
  for (size_t i = 0; i < buffer.commands.size() && buffer.error.empty();) {
    size_t end = i + 1;
    while (end < buffer.commands.size() && !buffer.commands[end].barrier) ++end;
    for (size_t j = end; j-- > i && buffer.error.empty();) buffer.error = run(buffer.commands[j]);
    i = end;
  }
  if (!buffer.error.empty() && buffer.code == 0) buffer.code = MTL::CommandBufferErrorPageFault;
  buffer.end = now();
  buffer.done = true;
  buffer.commands.clear();
}

void wait(CommandBuffer* buffer) {
  require(buffer->committed, "waiting for a command buffer that was not committed");
  const Ref<Queue> queue(buffer->queue);
  while (!buffer->done) {
    CommandBuffer* const first = queue->committed.front();
    queue->committed.erase(queue->committed.begin());
    run(*first);
    release(first);
  }
}

MTL::CommandBufferStatus status_of(const CommandBuffer* buffer) {
  if (!buffer->committed) return MTL::CommandBufferStatusNotEnqueued;
  if (!buffer->done) return MTL::CommandBufferStatusCommitted;
  return buffer->error.empty() ? MTL::CommandBufferStatusCompleted : MTL::CommandBufferStatusError;
}

Encoder* new_encoder(CommandBuffer* buffer, MTL::DispatchType type) {
  require(type == MTL::DispatchTypeConcurrent, "a serial encoder");
  require(!buffer->encoding && !buffer->committed, "an encoder beside another, or after commit");
  ++log().encoders;
  buffer->encoding = true;
  Encoder* const encoder = create<Encoder>("MTLComputeCommandEncoder");
  encoder->commands = buffer;
  return autorelease(encoder);
}

void bind(Encoder* encoder, UInt index, Binding binding) {
  require(!encoder->ended, "encoding after endEncoding");
  require(index < kSlots, "a buffer index above 30");
  binding.set = true;
  encoder->state.bindings[index] = std::move(binding);
}

void dispatch(Encoder* encoder, MTL::Size groups, MTL::Size threads) {
  Command& state = encoder->state;
  require(!encoder->ended && state.pipeline.get() != nullptr,
          "a dispatch without a pipeline or after endEncoding");
  require(groups.width * groups.height * groups.depth > 0, "a dispatch of no threadgroups");
  require(threads.width <= state.pipeline->max_threads && threads.height == 1 && threads.depth == 1,
          "threadgroups larger than the pipeline allows");
  ++log().dispatches;
  state.groups = {static_cast<uint32_t>(groups.width), static_cast<uint32_t>(groups.height),
                  static_cast<uint32_t>(groups.depth)};
  state.threads = static_cast<uint32_t>(threads.width);
  encoder->commands->commands.push_back(state);
  state.barrier = false;
}

void add_command_buffer() {
  method(
      "MTLCommandQueue", "commandBuffer", +[](Queue* queue, SEL) {
        ++log().command_buffers;
        CommandBuffer* const buffer = create<CommandBuffer>("MTLCommandBuffer");
        buffer->queue = Ref<Queue>(queue);
        return autorelease(buffer);
      });
  const char* const name = "MTLCommandBuffer";
  method(
      name, "computeCommandEncoderWithDispatchType:",
      +[](CommandBuffer* b, SEL, MTL::DispatchType type) { return new_encoder(b, type); });
  method(
      name, "commit", +[](CommandBuffer* b, SEL) {
        require(!b->encoding && !b->committed, "commit while encoding, or for the second time");
        b->committed = true;
        retain(b);
        b->queue->committed.push_back(b);
      });
  method(
      name, "waitUntilCompleted", +[](CommandBuffer* b, SEL) { wait(b); });
  method(
      name, "status", +[](CommandBuffer* b, SEL) { return status_of(b); });
  method(
      name, "error", +[](CommandBuffer* b, SEL) -> Error* {
        return b->error.empty() ? nullptr : new_error(b->code, b->error);
      });
  method(
      name, "GPUStartTime", +[](CommandBuffer* b, SEL) { return b->begin; });
  method(
      name, "GPUEndTime", +[](CommandBuffer* b, SEL) { return b->end; });
}

void add_encoder() {
  const char* const name = "MTLComputeCommandEncoder";
  method(
      name, "setComputePipelineState:", +[](Encoder* e, SEL, Function* p) {
        e->state.pipeline = Ref<Function>(p);
      });
  method(
      name,
      "setBuffer:offset:atIndex:", +[](Encoder* e, SEL, Buffer* buffer, UInt offset, UInt index) {
        require(buffer != nullptr, "setBuffer: nil");
        require(offset < buffer->length, "setBuffer: an offset outside the buffer");
        bind(e, index, {Ref<Buffer>(buffer), offset, {}, true});
      });
  method(
      name,
      "setBytes:length:atIndex:", +[](Encoder* e, SEL, const char* bytes, UInt length, UInt index) {
        require(length > 0 && length <= kMaxBytes, "setBytes: not 1 to 4096 bytes");
        bind(e, index, {{}, 0, std::vector<char>(bytes, bytes + length), true});
      });
  method(
      name, "setThreadgroupMemoryLength:atIndex:", +[](Encoder* e, SEL, UInt length, UInt index) {
        require(length % 16 == 0 && index == 0, "threadgroup memory of no multiple of 16 bytes");
        e->state.threadgroup_bytes = length;
      });
  method(
      name, "memoryBarrierWithScope:", +[](Encoder* e, SEL, MTL::BarrierScope scope) {
        require((scope & MTL::BarrierScopeBuffers) != 0, "a barrier that orders no buffers");
        ++log().barriers;
        e->state.barrier = true;
      });
  method(
      name, "dispatchThreadgroups:threadsPerThreadgroup:",
      +[](Encoder* e, SEL, MTL::Size groups, MTL::Size threads) { dispatch(e, groups, threads); });
  method(
      name, "endEncoding", +[](Encoder* e, SEL) {
        require(!e->ended, "endEncoding for the second time");
        e->ended = true;
        e->commands->encoding = false;
      });
}

bool start_capture(CaptureManager* manager, const CaptureDescriptor* d, Error** error) {
  require(d->object != nullptr && d->destination == MTL::CaptureDestinationGPUTraceDocument,
          "a trace of nothing, or not to a document");
  require(manager->path.empty(), "a trace within a trace");
  if (!behaviour().may_trace) {
    *error = new_error(MTL::CaptureErrorNotSupported, "capturing is not supported");
    return false;
  }
  manager->path = d->url->text;
  manager->before = log().command_buffers;
  return true;
}

void add_capture() {
  class_method(
      "MTLCaptureManager", "sharedCaptureManager", +[](Object*, SEL) {
        static CaptureManager manager;  // lives as long as the process
        manager.isa = class_named("MTLCaptureManager");
        return &manager;
      });
  const char* const name = "MTLCaptureManager";
  method(
      name, "supportsDestination:", +[](Object*, SEL, MTL::CaptureDestination) {
        return behaviour().may_trace;
      });
  method(
      name, "startCaptureWithDescriptor:error:",
      +[](CaptureManager* m, SEL, CaptureDescriptor* d, Error** error) {
        return start_capture(m, d, error);
      });
  method(
      name, "stopCapture", +[](CaptureManager* m, SEL) {
        log().traces.push_back(m->path + ": " + std::to_string(log().command_buffers - m->before) +
                               " command buffers");
        std::filesystem::create_directory(m->path);
        m->path.clear();
      });
  allocatable<CaptureDescriptor>("MTLCaptureDescriptor");
  method(
      "MTLCaptureDescriptor",
      "setCaptureObject:", +[](CaptureDescriptor* d, SEL, Object* object) { d->object = object; });
  method(
      "MTLCaptureDescriptor", "setDestination:", +[](CaptureDescriptor* d, SEL, long destination) {
        d->destination = destination;
      });
  method(
      "MTLCaptureDescriptor",
      "setOutputURL:", +[](CaptureDescriptor* d, SEL, String* url) { d->url = Ref<String>(url); });
}

const bool added = [] {
  add_command_buffer();
  add_encoder();
  add_capture();
  return true;
}();

}  // namespace
}  // namespace fake_metal
