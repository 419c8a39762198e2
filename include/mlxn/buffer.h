// SPDX-License-Identifier: Apache-2.0
// A cheap handle on a piece of device memory: (allocation, byte offset, byte length, dtype, shape).
// Copies and slices share the allocation, which lives until the last handle is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "mlxn/dtype.h"
#include "mlxn/error.h"
#include "mlxn/export.h"

namespace mlxn {

// Extents, outermost first; rows are contiguous, the last extent varies fastest.
using Shape = std::vector<int64_t>;

MLXN_API std::string to_string(const Shape& shape);  // "[2, 3, 256]"

// Memory that a device handed out or that a caller wrapped. Not used directly.
struct Allocation {
  std::byte* data = nullptr;  // host address, or the device's if the host cannot touch the memory
  size_t byte_len = 0;
  uint64_t id = 0;              // unique per allocation; hazard tracking compares it
  uint64_t device_id = 0;       // the device it belongs to
  bool writable = true;         // false for mapped files
  bool host_visible = true;     // false for memory of a GPU
  std::shared_ptr<void> owner;  // frees the memory, or keeps the mapped file alive
};

class MLXN_API Buffer {
 public:
  Buffer() = default;  // empty: valid() is false
  Buffer(std::shared_ptr<Allocation> allocation, size_t byte_offset, size_t byte_len, DType dtype,
         Shape shape);

  bool valid() const { return allocation_ != nullptr; }
  explicit operator bool() const { return valid(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(size_t axis) const { return shape_.at(axis); }
  size_t rank() const { return shape_.size(); }
  int64_t element_count() const;  // product of the shape
  size_t byte_len() const { return byte_len_; }
  size_t byte_offset() const { return byte_offset_; }
  const std::shared_ptr<Allocation>& allocation() const { return allocation_; }

  // Whether the host may read and write the bytes; else Device and Stream copy them.
  bool host_visible() const { return allocation_ != nullptr && allocation_->host_visible; }
  // Address of the first byte of this view: the host's, or the device's if not host_visible().
  std::byte* data() const;

  // View of `count` elements from `offset_bytes` (relative to this view), shape [count].
  // Throws kInvalidArgument if it does not lie inside this view.
  Buffer slice(size_t offset_bytes, int64_t count) const;
  // Rows [begin, begin + count) of the outermost extent, other extents kept.
  Buffer rows(int64_t begin, int64_t count) const;
  // The same bytes under another shape; the element count may shrink, never grow.
  Buffer reshape(Shape shape) const;
  // The same bytes as another dtype and shape.
  Buffer view_as(DType dtype, Shape shape) const;

  // Typed host access to exactly this view. Throws kInvalidArgument if the memory is not
  // host_visible(), the byte length not a multiple of sizeof(T) or the address not aligned to T.
  template <typename T>
  std::span<T> span() const {
    check_span(sizeof(T), alignof(T));
    return {reinterpret_cast<T*>(data()), byte_len_ / sizeof(T)};
  }

 private:
  void check_span(size_t element_size, size_t alignment) const;

  std::shared_ptr<Allocation> allocation_;
  size_t byte_offset_ = 0;
  size_t byte_len_ = 0;
  DType dtype_ = DType::kF32;
  Shape shape_;
};

}  // namespace mlxn
