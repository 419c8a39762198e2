// SPDX-License-Identifier: Apache-2.0
// Device, memory, libraries and pipelines. A library is not compiled: its kernels are those that
// the build compiled for the emulator. Its text is looked through for what a launch by name needs.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "fake_metal/fake_metal.h"
#include "fake_metal/objects.h"

namespace fake_metal {
namespace {

namespace emulator = mlxn::backends::emulator;

constexpr long kCompileFailure = 3;  // MTLLibraryErrorCompileFailure

struct Device : Object {};
struct Options : Object {
  UInt version = 0;
  bool fast_math = true;
};
struct Constants : Object {
  uint32_t set = 0, values = 0;
};
struct Library : Object {
  std::string text;
};
struct Descriptor : Object {
  Ref<Function> function;
  UInt max_threads = 0;
};

std::atomic<size_t> allocated{0};

size_t page_size() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

Buffer* new_buffer(UInt length) {
  require(length > 0, "newBufferWithLength: no bytes");
  if (length > behaviour().longest_buffer || allocated + length > behaviour().working_set) {
    return nullptr;
  }
  const size_t bytes = (length + page_size() - 1) / page_size() * page_size();
  char* const memory = static_cast<char*>(std::aligned_alloc(page_size(), bytes));
  if (memory == nullptr) return nullptr;
  std::memset(memory, 0, length);
  std::memset(memory + length, 0xff, bytes - length);
  allocated += length;
  Buffer* const buffer = create<Buffer>("MTLBuffer");
  buffer->data = memory;
  buffer->length = length;
  buffer->owned = {memory, [length](char* p) {
                     allocated -= length;
                     std::free(p);
                   }};
  return buffer;
}

Buffer* new_buffer_over(void* memory, UInt length) {
  require(reinterpret_cast<uintptr_t>(memory) % page_size() == 0,
          "newBufferWithBytesNoCopy: the address is not that of a page");
  require(length > 0 && length % page_size() == 0,
          "newBufferWithBytesNoCopy: the length is no multiple of the page size");
  if (!behaviour().maps_foreign_memory || length > behaviour().longest_buffer) return nullptr;
  Buffer* const buffer = create<Buffer>("MTLBuffer");
  buffer->data = static_cast<char*>(memory);
  buffer->length = length;
  return buffer;
}

Library* new_library(const String* source, const Options* options, Error** error) {
  require(options != nullptr && options->version >= MTL::LanguageVersion3_1,
          "bfloat needs Metal 3.1");
  require(!options->fast_math, "kernels promise NaN: fast math must be off");
  ++log().libraries;
  const std::string& text = source->text;
  const size_t at = text.find("#error ");
  if (at != std::string::npos) {
    *error = new_error(kCompileFailure, "program_source: " + text.substr(at, text.find('\n', at)));
    return nullptr;
  }
  require(text.find("#include \"") == std::string::npos, "a library includes what it cannot find");
  Library* const library = create<Library>("MTLLibrary");
  library->text = text;
  return library;
}

bool has_kernel(const std::string& text, const std::string& name) {
  return text.find("host_name(\"" + name + "\")") != std::string::npos ||
         text.find("kernel void " + name + "(") != std::string::npos;
}

Function* new_function(const Library* library, const String* name, const Constants* constants,
                       Error** error) {
  const emulator::Kernel* const kernel = emulator::find_kernel(name->text);
  if (kernel == nullptr || !has_kernel(library->text, name->text)) {
    *error = new_error(kCompileFailure, "no function named " + name->text);
    return nullptr;
  }
  for (uint32_t i = 0; i < 32; ++i) {
    const bool wanted =
        library->text.find("function_constant(" + std::to_string(i) + ")") != std::string::npos;
    if (wanted && (constants->set >> i & 1) == 0) {
      *error =
          new_error(kCompileFailure, "function constant " + std::to_string(i) + " has no value");
      return nullptr;
    }
  }
  Function* const function = create<Function>("MTLFunction");
  function->kernel = kernel;
  function->spec = constants->values;
  return function;
}

Function* new_pipeline(const Descriptor* descriptor) {
  require(descriptor->function.get() != nullptr, "a pipeline of no function");
  ++log().pipelines;
  Function* const pipeline = create<Function>("MTLComputePipelineState");
  pipeline->kernel = descriptor->function->kernel;
  pipeline->spec = descriptor->function->spec;
  pipeline->max_threads = descriptor->max_threads != 0
                              ? static_cast<unsigned>(descriptor->max_threads)
                              : behaviour().threads_by_registers;
  return pipeline;
}

void add_device() {
  const char* const device = "MTLDevice";
  method(
      device, "name", +[](Device*, SEL) { return new_string("Metal stand-in"); });
  method(
      device, "supportsFamily:", +[](Device*, SEL, MTL::GPUFamily) { return true; });
  method(
      device, "hasUnifiedMemory", +[](Device*, SEL) { return true; });
  method(
      device, "recommendedMaxWorkingSetSize",
      +[](Device*, SEL) -> uint64_t { return behaviour().working_set; });
  method(
      device, "currentAllocatedSize", +[](Device*, SEL) -> UInt { return allocated; });
  method(
      device, "maxBufferLength", +[](Device*, SEL) -> UInt { return behaviour().longest_buffer; });
  method(
      device, "maxThreadgroupMemoryLength", +[](Device*, SEL) -> UInt { return 32768; });
  method(
      device, "newCommandQueue", +[](Device*, SEL) { return create<Queue>("MTLCommandQueue"); });
  method(
      device, "newBufferWithLength:options:", +[](Device*, SEL, UInt length, MTL::ResourceOptions) {
        return new_buffer(length);
      });
  method(
      device, "newBufferWithBytesNoCopy:length:options:deallocator:",
      +[](Device*, SEL, void* memory, UInt length, MTL::ResourceOptions, void* deallocator) {
        require(deallocator == nullptr, "a deallocator, which the stand-in never calls");
        return new_buffer_over(memory, length);
      });
  method(
      device, "newLibraryWithSource:options:error:",
      +[](Device*, SEL, String* source, Options* options, Error** error) {
        return new_library(source, options, error);
      });
  method(
      device, "newComputePipelineStateWithDescriptor:options:reflection:error:",
      +[](Device*, SEL, Descriptor* descriptor, MTL::PipelineOption, void*, Error**) {
        return new_pipeline(descriptor);
      });
  method(
      "MTLBuffer", "setLabel:", +[](Buffer* b, SEL, String* label) { b->label = label->text; });
  method(
      "MTLBuffer", "contents", +[](Buffer* b, SEL) -> void* { return b->data; });
}

void add_library() {
  allocatable<Options>("MTLCompileOptions");
  method(
      "MTLCompileOptions",
      "setLanguageVersion:", +[](Options* o, SEL, UInt version) { o->version = version; });
  method(
      "MTLCompileOptions",
      "setFastMathEnabled:", +[](Options* o, SEL, bool on) { o->fast_math = on; });
  allocatable<Constants>("MTLFunctionConstantValues");
  method(
      "MTLFunctionConstantValues", "setConstantValue:type:atIndex:",
      +[](Constants* c, SEL, const void* value, MTL::DataType type, UInt i) {
        require(type == MTL::DataTypeBool && i < 32, "a function constant of another type");
        c->set |= 1u << i;
        c->values |= (*static_cast<const bool*>(value) ? 1u : 0u) << i;
      });
  method(
      "MTLLibrary", "newFunctionWithName:constantValues:error:",
      +[](Library* library, SEL, String* name, Constants* constants, Error** error) {
        return new_function(library, name, constants, error);
      });
  allocatable<Descriptor>("MTLComputePipelineDescriptor");
  method(
      "MTLComputePipelineDescriptor", "setComputeFunction:", +[](Descriptor* d, SEL, Function* f) {
        d->function = Ref<Function>(f);
      });
  method(
      "MTLComputePipelineDescriptor", "setLabel:", +[](Descriptor*, SEL, String*) {});
  method(
      "MTLComputePipelineDescriptor", "setMaxTotalThreadsPerThreadgroup:",
      +[](Descriptor* d, SEL, UInt threads) { d->max_threads = threads; });
  const char* const pipeline = "MTLComputePipelineState";
  method(
      pipeline, "maxTotalThreadsPerThreadgroup",
      +[](Function* p, SEL) -> UInt { return p->max_threads; });
  method(
      pipeline, "threadExecutionWidth", +[](Function*, SEL) -> UInt { return 32; });
  method(
      pipeline, "staticThreadgroupMemoryLength", +[](Function*, SEL) -> UInt { return 0; });
}

const bool added = [] {
  add_device();
  add_library();
  return true;
}();

}  // namespace

Behaviour& behaviour() {
  static Behaviour state;
  return state;
}

Log& log() {
  static Log state;
  return state;
}

}  // namespace fake_metal

extern "C" MTL::Device* MTLCreateSystemDefaultDevice() {
  return reinterpret_cast<MTL::Device*>(fake_metal::create<fake_metal::Device>("MTLDevice"));
}
