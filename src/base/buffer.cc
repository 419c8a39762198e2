// SPDX-License-Identifier: Apache-2.0
#include "mlxn/buffer.h"

#include <utility>

#include "base/checked.h"
#include "base/no_memory.h"

namespace mlxn {
namespace {

[[noreturn]] void throw_invalid(const char* where, const char* parameter, std::string found,
                                std::string required) {
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{where, parameter, std::move(found), std::move(required)});
}

size_t byte_len_of(const char* where, DType dtype, const Shape& shape) {
  const auto count = base::checked_product(shape);
  const auto bytes =
      count ? base::checked_mul(*count, static_cast<int64_t>(size_of(dtype))) : std::nullopt;
  if (!bytes) throw_invalid(where, "shape", to_string(shape), "extents whose product fits 63 bits");
  return static_cast<size_t>(*bytes);
}

}  // namespace

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

Buffer::Buffer(std::shared_ptr<Allocation> allocation, size_t byte_offset, size_t byte_len,
               DType dtype, Shape shape)
    : allocation_(std::move(allocation)),
      byte_offset_(byte_offset),
      byte_len_(byte_len),
      dtype_(dtype),
      shape_(std::move(shape)) {}

int64_t Buffer::element_count() const {
  int64_t count = valid() ? 1 : 0;
  for (int64_t extent : shape_) count *= extent;
  return count;
}

std::byte* Buffer::data() const { return allocation_ ? allocation_->data + byte_offset_ : nullptr; }

Buffer Buffer::slice(size_t offset_bytes, int64_t count) const try {
  const size_t len = byte_len_of("Buffer::slice", dtype_, {count});
  if (offset_bytes > byte_len_ || len > byte_len_ - offset_bytes) {
    throw_invalid("Buffer::slice", "offset_bytes, count",
                  std::to_string(offset_bytes) + ", " + std::to_string(count),
                  "a range inside the view's " + std::to_string(byte_len_) + " bytes");
  }
  return Buffer(allocation_, byte_offset_ + offset_bytes, len, dtype_, {count});
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Buffer Buffer::rows(int64_t begin, int64_t count) const try {
  if (shape_.empty() || begin < 0 || count < 0 || begin > shape_[0] || count > shape_[0] - begin) {
    throw_invalid("Buffer::rows", "begin, count",
                  std::to_string(begin) + ", " + std::to_string(count),
                  "a range inside " + to_string(shape_));
  }
  Shape shape = shape_;
  shape[0] = count;
  const size_t row_bytes = shape_[0] > 0 ? byte_len_ / static_cast<size_t>(shape_[0]) : 0;
  return Buffer(allocation_, byte_offset_ + static_cast<size_t>(begin) * row_bytes,
                static_cast<size_t>(count) * row_bytes, dtype_, std::move(shape));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Buffer Buffer::reshape(Shape shape) const { return view_as(dtype_, std::move(shape)); }

Buffer Buffer::view_as(DType dtype, Shape shape) const try {
  const size_t len = byte_len_of("Buffer::view_as", dtype, shape);
  if (len > byte_len_) {
    throw_invalid("Buffer::view_as", "shape", to_string(shape) + " " + std::string(name(dtype)),
                  "at most the view's " + std::to_string(byte_len_) + " bytes");
  }
  return Buffer(allocation_, byte_offset_, len, dtype, std::move(shape));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void Buffer::check_span(size_t element_size, size_t alignment) const {
  if (valid() && !host_visible()) {
    throw_invalid("Buffer::span", "memory", "memory of a GPU",
                  "memory that the host may touch; Device::download copies it");
  }
  if (byte_len_ % element_size != 0) {
    throw_invalid("Buffer::span", "byte length", std::to_string(byte_len_),
                  "a multiple of " + std::to_string(element_size));
  }
  if (reinterpret_cast<uintptr_t>(data()) % alignment != 0) {
    throw_invalid("Buffer::span", "address", "byte offset " + std::to_string(byte_offset_),
                  "alignment to " + std::to_string(alignment));
  }
}

}  // namespace mlxn
