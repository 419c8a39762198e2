// SPDX-License-Identifier: Apache-2.0
// Values that pass between the host and buffers of any device. Where the host sees the memory they
// are copied at once: the caller has waited for the work that uses them.
#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "mlxn/stream.h"

namespace mlxn::models {

// Writes the whole view, before whatever is recorded next.
inline void copy_in(Stream& stream, const Buffer& to, const void* data) {
  if (to.host_visible()) {
    std::memcpy(to.data(), data, to.byte_len());
  } else {
    stream.upload(to, data);
  }
}

// The values of a view; work on it has been waited for.
template <typename T>
std::vector<T> copy_out(const Device& device, const Buffer& from) {
  std::vector<T> values(from.byte_len() / sizeof(T));
  device.download(from, values.data());
  return values;
}

// A buffer with what `fill` writes into a span of T.
template <typename T, typename Fill>
Buffer filled_buffer(const Device& device, DType dtype, const Shape& shape, Fill fill) {
  const Buffer buffer = device.alloc(dtype, shape);
  if (buffer.host_visible()) {
    fill(buffer.span<T>());
    return buffer;
  }
  std::vector<T> values(buffer.byte_len() / sizeof(T));
  fill(std::span<T>(values));
  device.upload(buffer, values.data());
  return buffer;
}

}  // namespace mlxn::models
