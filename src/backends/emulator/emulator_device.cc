// SPDX-License-Identifier: Apache-2.0
#include "backends/emulator/emulator_device.h"

#include <stdexcept>
#include <utility>

#include "backends/emulator/emulator.h"

namespace mlxn::backends::emulator {
namespace {

DeviceOptions one_thread(DeviceOptions options) {
  options.num_threads = 1;
  return options;
}

// The operand that holds `address`: of those that the op has declared, the one that reaches
// farthest. What is written must lie in a range that the op has declared as written.
Binding find_operand(const Access& access, const void* address, bool written) {
  Binding found;
  for (const Buffer& buffer : access.keep) {
    const auto* const at = static_cast<const std::byte*>(address);
    if (at < buffer.data() || at >= buffer.data() + buffer.byte_len()) continue;
    const MemoryRange range = range_of(buffer);
    bool declared = !written;
    for (const MemoryRange& write : access.writes) {
      declared = declared || (write.allocation == range.allocation && write.begin == range.begin &&
                              write.end == range.end);
    }
    const size_t bytes = static_cast<size_t>(buffer.data() + buffer.byte_len() - at);
    if (declared && bytes > found.bytes) found = {const_cast<void*>(address), bytes};
  }
  return found;
}

[[noreturn]] void fail(const GpuLaunch& launch, const std::string& found,
                       const std::string& required) {
  throw Error(ErrorKind::kInvalidArgument, ErrorDetail{launch.op, launch.kernel, found, required});
}

Launch bind(const GpuLaunch& gpu, const Kernel& kernel, const Access& access) {
  Launch launch{.kernel = &kernel,
                .bindings = {},
                .groups = {gpu.groups[0], gpu.groups[1], gpu.groups[2]},
                .threads = gpu.threads,
                .spec = gpu.spec};
  if (gpu.args.size() != kernel.params.size()) {
    fail(gpu, std::to_string(gpu.args.size()) + " arguments", std::to_string(kernel.params.size()));
  }
  for (size_t i = 0; i < gpu.args.size(); ++i) {
    const GpuArg& arg = gpu.args[i];
    const Param& param = kernel.params[i];
    const GpuArg::Kind expected = param.kind == ParamKind::kParams  ? GpuArg::Kind::kParams
                                  : param.kind == ParamKind::kTgBuf ? GpuArg::Kind::kThreadgroup
                                                                    : GpuArg::Kind::kBuffer;
    if (arg.kind != expected) fail(gpu, "another kind of argument", "one for " + param.name);
    Binding binding{nullptr, arg.bytes};
    if (arg.kind == GpuArg::Kind::kBuffer && arg.address != nullptr) {
      const bool written = param.kind == ParamKind::kOut || param.kind == ParamKind::kInOut;
      binding = find_operand(access, arg.address, written);
      if (binding.data == nullptr) {
        fail(gpu, param.name + " in no buffer that the op has declared",
             written ? "a written buffer" : "a buffer");
      }
    }
    launch.bindings.push_back(binding);
  }
  return launch;
}

struct Opener {
  Opener() {
    register_backend("emulator", [](DeviceOptions options) -> std::shared_ptr<DeviceImpl> {
      return std::make_shared<EmulatorDevice>(options);
    });
  }
};
const Opener opener;

}  // namespace

EmulatorDevice::EmulatorDevice(const DeviceOptions& options)
    : CpuDevice(DeviceKind::kEmulator, "SIMT emulator", one_thread(options)),
      schedule_(options.num_threads > 1 ? static_cast<uint32_t>(options.num_threads) : 0) {}

std::shared_ptr<Allocation> EmulatorDevice::wrap(const void* data, size_t byte_len,
                                                 std::shared_ptr<void> owner, bool writable) {
  auto allocation = CpuDevice::wrap(data, byte_len, std::move(owner), writable);
  allocation->host_visible = host_visible();
  return allocation;
}

std::unique_ptr<StreamImpl> EmulatorDevice::create_stream(const Device& device) {
  return std::make_unique<EmulatorStream>(device, *this);
}

EmulatorStream::EmulatorStream(const Device& device, EmulatorDevice& emulator)
    : CpuStream(device, emulator), schedule_(emulator.schedule()) {}

void EmulatorStream::launch(GpuLaunch gpu, Access access) {
  const Kernel* const kernel = find_kernel(gpu.kernel);
  if (kernel == nullptr) {
    throw Error(ErrorKind::kKernelNotFound,
                ErrorDetail{gpu.op, "kernel", gpu.kernel, "a kernel of this build"});
  }
  Launch launch = bind(gpu, *kernel, access);
  dispatch(gpu.op, "emulator", std::move(access), 1,
           [launch = std::move(launch), params = std::move(gpu.params),
            schedule = schedule_](uint32_t) mutable {
             for (size_t i = 0; i < launch.bindings.size(); ++i) {
               if (launch.kernel->params[i].kind == ParamKind::kParams) {
                 launch.bindings[i].data = params.data();
               }
             }
             const std::string defect = run(launch, {.schedule = schedule});
             if (!defect.empty()) throw std::runtime_error(defect);
           });
}

}  // namespace mlxn::backends::emulator
