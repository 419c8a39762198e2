// SPDX-License-Identifier: Apache-2.0
#include "backends/metal/metal_devices.h"

#include <string>
#include <utility>

#include "backends/metal/metal_cpp.h"
#include "backends/metal/metal_device.h"

namespace mlxn::backends::metal {
namespace {

// Why the GPU cannot run the kernels; empty if it can.
std::string refusal_of(MTL::Device* device) {
  if (device == nullptr) return "no Metal device";
  if (!device->supportsFamily(MTL::GPUFamilyApple7) || !device->hasUnifiedMemory()) {
    return to_text(device->name()) + " is no Apple GPU of the M1's family or later";
  }
  return {};
}

[[noreturn]] void not_found(std::string_view id, std::string required) {
  throw Error(ErrorKind::kDeviceNotFound,
              ErrorDetail{"Device::open", "id", std::string(id), std::move(required)});
}

}  // namespace

std::vector<DeviceInfo> list_devices() {
  const AutoreleaseScope scope;
  const auto device = NS::TransferPtr(MTL::CreateSystemDefaultDevice());
  const std::string reason = refusal_of(device.get());
  if (!reason.empty()) return {{"metal", "Apple GPU", DeviceKind::kMetal, false, reason}};
  DeviceInfo info{"metal:0", to_text(device->name()), DeviceKind::kMetal, true, ""};
  info.memory = memory_of(*device.get());
  return {info};
}

std::shared_ptr<DeviceImpl> open_device(std::string_view id, DeviceOptions options) {
  const AutoreleaseScope scope;
  auto device = NS::TransferPtr(MTL::CreateSystemDefaultDevice());
  if (const std::string reason = refusal_of(device.get()); !reason.empty()) {
    not_found(id, "another device: " + reason);
  }
  if (id != "metal" && id != "metal:0") not_found(id, "metal:0");
  return std::make_shared<MetalDevice>(std::move(device), std::move(options));
}

}  // namespace mlxn::backends::metal
