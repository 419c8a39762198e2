// SPDX-License-Identifier: Apache-2.0
// The Metal backend as the rest of the library sees it.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backends/backend.h"

namespace mlxn::backends::metal {

// One row: Macs that can run the kernels have one GPU. Without one the row says why.
std::vector<DeviceInfo> list_devices();
// id: "metal" or "metal:0". Throws kDeviceNotFound with the reason.
std::shared_ptr<DeviceImpl> open_device(std::string_view id, DeviceOptions options);

}  // namespace mlxn::backends::metal
