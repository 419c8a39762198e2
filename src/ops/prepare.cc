// SPDX-License-Identifier: Apache-2.0
// Repacking of weights. The CPU kernels transpose codes on the way from the file's layout to the
// registers, so no format has a packed form there.
#include <string>

#include "mlxn/weight.h"
#include "ops/weight_operand.h"

namespace mlxn {

Weight prepare(const Device& device, const Weight& weight) {
  ops::check_weight_operand("prepare", "weight", weight, device);
  return weight;
}

size_t prepared_bytes(const Device& device, const Weight& weight) {
  ops::check_weight_operand("prepared_bytes", "weight", weight, device);
  return 0;
}

}  // namespace mlxn
