// SPDX-License-Identifier: Apache-2.0
// Per-sequence integers such as kv_len or a position: host values, or a device buffer of the step
// state whose contents may change between replays of a graph.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "mlxn/buffer.h"

namespace mlxn {

struct Lengths {
  std::vector<int64_t> host;  // one value for all sequences, or one each; unused if device is set
  Buffer device;              // i32 [B]

  Lengths() = default;
  Lengths(int64_t value) : host{value} {}  // NOLINT
  Lengths(std::initializer_list<int64_t> values) : host(values) {}
  Lengths(std::vector<int64_t> values) : host(std::move(values)) {}  // NOLINT
  Lengths(Buffer buffer) : device(std::move(buffer)) {}              // NOLINT

  bool empty() const { return host.empty() && !device.valid(); }
};

}  // namespace mlxn
