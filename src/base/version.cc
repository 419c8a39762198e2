// SPDX-License-Identifier: Apache-2.0
#include "mlxn/version.h"

namespace mlxn {

std::string_view version() { return MLXN_VERSION; }

}  // namespace mlxn
