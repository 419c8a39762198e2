// SPDX-License-Identifier: Apache-2.0
// The CUDA backend as the rest of the library sees it.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backends/backend.h"

namespace mlxn::backends::cuda {

// One row per GPU; without a driver or a GPU one row that says so.
std::vector<DeviceInfo> list_devices();
// id: "cuda" (the first) or "cuda:N". Throws kDeviceNotFound with the reason.
std::shared_ptr<DeviceImpl> open_device(std::string_view id, DeviceOptions options);

}  // namespace mlxn::backends::cuda
