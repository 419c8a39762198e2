// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "mlxn/export.h"

#define MLXN_VERSION_MAJOR 0
#define MLXN_VERSION_MINOR 1
#define MLXN_VERSION_PATCH 0

namespace mlxn {

// The version of the library that is linked, such as "0.1.0".
MLXN_API std::string_view version();

}  // namespace mlxn
