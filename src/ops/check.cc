// SPDX-License-Identifier: Apache-2.0
#include "ops/check.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "backends/backend.h"
#include "base/checked.h"

namespace mlxn::ops {
namespace {

std::string names(std::initializer_list<DType> dtypes) {
  std::string text;
  for (DType dtype : dtypes) text += (text.empty() ? "" : ", ") + std::string(name(dtype));
  return text;
}

}  // namespace

void fail(const char* op, const char* parameter, std::string found, std::string required) {
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{op, parameter, std::move(found), std::move(required)});
}

void check_buffer(const char* op, const char* parameter, const Buffer& buffer, const Device& device,
                  std::initializer_list<DType> dtypes) {
  if (!buffer) fail(op, parameter, "an empty buffer", "a buffer");
  if (buffer.allocation()->device_id != device.impl()->id()) {
    fail(op, parameter, "a buffer of another device", "a buffer of the stream's device");
  }
  if (std::find(dtypes.begin(), dtypes.end(), buffer.dtype()) == dtypes.end()) {
    fail(op, parameter, std::string(name(buffer.dtype())), names(dtypes));
  }
  const auto count = base::checked_product(buffer.shape());
  if (!count || *count <= 0) {
    fail(op, parameter, "shape " + to_string(buffer.shape()), "positive extents");
  }
  const auto bytes = base::checked_mul(*count, static_cast<int64_t>(size_of(buffer.dtype())));
  if (!bytes || static_cast<uint64_t>(*bytes) > buffer.byte_len()) {
    fail(op, parameter, std::to_string(buffer.byte_len()) + " bytes",
         "enough for shape " + to_string(buffer.shape()));
  }
  if (reinterpret_cast<uintptr_t>(buffer.data()) % size_of(buffer.dtype()) != 0) {
    fail(op, parameter, "byte offset " + std::to_string(buffer.byte_offset()),
         "alignment to " + std::to_string(size_of(buffer.dtype())));
  }
}

void check_output(const char* op, const char* parameter, const Buffer& buffer, const Device& device,
                  std::initializer_list<DType> dtypes) {
  check_buffer(op, parameter, buffer, device, dtypes);
  if (!buffer.allocation()->writable) fail(op, parameter, "read-only memory", "writable memory");
}

void check_shape(const char* op, const char* parameter, const Buffer& buffer, const Shape& shape) {
  if (buffer.shape() != shape) fail(op, parameter, to_string(buffer.shape()), to_string(shape));
}

void check_like(const char* op, const char* parameter, const Buffer& buffer, const Buffer& like,
                const char* like_name) {
  if (buffer.dtype() != like.dtype() || buffer.element_count() != like.element_count()) {
    fail(op, parameter, std::string(name(buffer.dtype())) + " " + to_string(buffer.shape()),
         std::string(name(like.dtype())) + " " + to_string(like.shape()) + " like " + like_name);
  }
}

void check_min(const char* op, const char* parameter, int64_t found, int64_t min) {
  if (found < min) fail(op, parameter, std::to_string(found), "at least " + std::to_string(min));
}

void check_range(const char* op, const char* parameter, int64_t found, int64_t min, int64_t max) {
  if (found < min || found > max) {
    fail(op, parameter, std::to_string(found), std::to_string(min) + " to " + std::to_string(max));
  }
}

void check_finite(const char* op, const char* parameter, float value) {
  if (!std::isfinite(value)) fail(op, parameter, std::to_string(value), "a finite number");
}

void check_eps(const char* op, const char* parameter, float value) {
  if (!std::isfinite(value) || value < 0.0f) {
    fail(op, parameter, std::to_string(value), "a finite number, at least 0");
  }
}

void check_overlap(const char* op, const char* output_name, const Buffer& output,
                   const char* input_name, const Buffer& input, bool in_place_ok) {
  if (!output || !input) return;
  // By address: memory of the caller may have been wrapped more than once.
  const auto a = reinterpret_cast<uintptr_t>(output.data()), a_end = a + output.byte_len();
  const auto b = reinterpret_cast<uintptr_t>(input.data()), b_end = b + input.byte_len();
  if (a >= b_end || b >= a_end) return;
  if (in_place_ok && a == b && a_end == b_end) return;
  fail(op, output_name, std::string("memory that overlaps ") + input_name,
       in_place_ok ? "separate memory or exactly the same view" : "separate memory");
}

Rows fold_rows(const Buffer& buffer) {
  const int64_t dim = buffer.shape().empty() ? 1 : buffer.shape().back();
  return {buffer.element_count() / dim, dim};
}

}  // namespace mlxn::ops
