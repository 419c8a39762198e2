// SPDX-License-Identifier: Apache-2.0
// Checks that ops share. Each throws kInvalidArgument (op, parameter, found, required) and is done
// before anything is recorded.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/device.h"
#include "mlxn/weight.h"

namespace mlxn::ops {

[[noreturn]] void fail(const char* op, const char* parameter, std::string found,
                       std::string required);

// Not empty, of this device (host memory that was wrapped counts as such), all extents positive,
// dtype in the list, address aligned to the element, bytes enough for the shape.
void check_buffer(const char* op, const char* parameter, const Buffer& buffer, const Device& device,
                  std::initializer_list<DType> dtypes);
// check_buffer, and writable.
void check_output(const char* op, const char* parameter, const Buffer& buffer, const Device& device,
                  std::initializer_list<DType> dtypes);
void check_shape(const char* op, const char* parameter, const Buffer& buffer, const Shape& shape);
// Same element count (rows may be folded differently) and dtype as `like`.
void check_like(const char* op, const char* parameter, const Buffer& buffer, const Buffer& like,
                const char* like_name);
void check_min(const char* op, const char* parameter, int64_t found, int64_t min);
void check_range(const char* op, const char* parameter, int64_t found, int64_t min, int64_t max);
// Finite, and at least min.
void check_finite(const char* op, const char* parameter, float value);
void check_eps(const char* op, const char* parameter, float value);

// `output` may not overlap `input`, unless both are exactly the same view and in_place_ok.
// An empty input passes.
void check_overlap(const char* op, const char* output_name, const Buffer& output,
                   const char* input_name, const Buffer& input, bool in_place_ok = false);

// The last extent, and the product of all others.
struct Rows {
  int64_t rows;
  int64_t dim;
};
Rows fold_rows(const Buffer& buffer);

}  // namespace mlxn::ops
