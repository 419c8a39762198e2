// SPDX-License-Identifier: Apache-2.0
#include "ops/weight_operand.h"

#include <string>

#include "backends/backend.h"
#include "ops/check.h"

namespace mlxn::ops {

void check_weight_operand(const char* op, const char* parameter, const Weight& weight,
                          const Device& device) {
  check_weight(weight, std::string(op) + ": " + parameter);
  for (const Buffer* buffer : {&weight.data, &weight.scales, &weight.biases, &weight.packed}) {
    if (buffer->valid() && buffer->allocation()->device_id != device.impl()->id()) {
      fail(op, parameter, "a buffer of another device", "buffers of the stream's device");
    }
  }
}

void check_weight_overlap(const char* op, const char* output_name, const Buffer& output,
                          const char* parameter, const Weight& weight) {
  for (const Buffer* buffer : {&weight.data, &weight.scales, &weight.biases, &weight.packed}) {
    check_overlap(op, output_name, output, parameter, *buffer);
  }
}

void read_weight(backends::Access& access, const Weight& weight) {
  for (const Buffer* buffer : {&weight.data, &weight.scales, &weight.biases, &weight.packed}) {
    access.read(*buffer);
  }
}

}  // namespace mlxn::ops
