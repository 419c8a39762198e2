// SPDX-License-Identifier: Apache-2.0
#pragma once

struct GpuCount {
  unsigned int count;  // elements
};
static_assert(sizeof(GpuCount) == 4, "4-byte scalars only");
