// SPDX-License-Identifier: Apache-2.0
// What ops do with an operand that is a weight.
#pragma once

#include "backends/hazard_tracker.h"
#include "mlxn/buffer.h"
#include "mlxn/device.h"
#include "mlxn/weight.h"

namespace mlxn::ops {

// check_weight() under the names of the op and the parameter, and every buffer of this device.
void check_weight_operand(const char* op, const char* parameter, const Weight& weight,
                          const Device& device);
// `output` may not overlap any buffer of the weight.
void check_weight_overlap(const char* op, const char* output_name, const Buffer& output,
                          const char* parameter, const Weight& weight);
// Adds the buffers of the weight, its packed form too, to what a dispatch reads.
void read_weight(backends::Access& access, const Weight& weight);

}  // namespace mlxn::ops
