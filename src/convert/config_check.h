// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "mlxn/model_config.h"

namespace mlxn::convert {

// Throws kConfig naming the field if what was written would build another decoder than the source.
// `what` is the written file in the error. May differ: how norms, float types and the ends of a
// turn are stored.
void check_same_model(const ModelConfig& source, const ModelConfig& written, const char* what);

}  // namespace mlxn::convert
