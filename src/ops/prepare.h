// SPDX-License-Identifier: Apache-2.0
// What prepare() would add, asked without the device.
#pragma once

#include <cstddef>

#include "mlxn/weight.h"

namespace mlxn::ops {

// Bytes of the repacked copy on a device of this kind, whichever device the weight is on.
size_t prepared_bytes(DeviceKind kind, const Weight& weight);

}  // namespace mlxn::ops
