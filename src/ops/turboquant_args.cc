// SPDX-License-Identifier: Apache-2.0
#include "ops/turboquant_args.h"

#include <cmath>
#include <limits>
#include <string>

namespace mlxn::ops {

void check_tq_format(const char* op, const char* name, const TqFormat& format, int64_t dim) {
  const std::string base = std::string(name) + ".format.";
  const auto require = [&](bool ok, const char* field, std::string found, std::string required) {
    if (!ok) fail(op, (base + field).c_str(), std::move(found), std::move(required));
  };
  check_head_dim(op, name, dim);
  require(format.bits >= 2 && format.bits <= 8 && format.bits != 7, "bits",
          std::to_string(format.bits), "2, 3, 4, 5, 6 or 8");
  require(format.packing == TqPacking::kDense || format.packing == TqPacking::kBytes, "packing",
          std::to_string(static_cast<int>(format.packing)), "kDense or kBytes");
  const auto signs = static_cast<int64_t>(format.signs.size());
  require(signs == 0 || signs >= dim / 8, "signs", std::to_string(signs) + " bytes",
          "none or at least " + std::to_string(dim / 8));
  const float f = format.scale_factor;
  require(std::isfinite(f) && f >= 0.0f, "scale_factor", std::to_string(f), "finite, at least 0");
  require(dim == quant::kTqMaxDim || f == 0.0f || f == 1.0f, "scale_factor", std::to_string(f),
          "1 unless head dim is 512");
  const size_t levels = size_t{1} << format.bits;
  const auto& book = format.codebook;
  if (book.empty()) return;
  require(book.size() == levels, "codebook", std::to_string(book.size()) + " levels",
          std::to_string(levels));
  for (size_t i = 0; i < levels; ++i) {
    const bool ascends = i == 0 || book[i] > book[i - 1];
    require(std::isfinite(book[i]) && ascends, "codebook",
            std::to_string(book[i]) + " at index " + std::to_string(i), "finite ascending levels");
  }
}

int64_t check_tq_rows(const char* op, const char* name, const Device& device, const TqRows& rows,
                      int64_t batch, int64_t kv_heads, int64_t dim) {
  check_tq_format(op, name, rows.format, dim);
  const std::string codes = std::string(name) + ".codes", norms = std::string(name) + ".norms";
  check_buffer(op, codes.c_str(), rows.codes, device, {u8});
  check_buffer(op, norms.c_str(), rows.norms, device, {f32});
  if (rows.codes.rank() != 4) {
    fail(op, codes.c_str(), "shape " + to_string(rows.codes.shape()), "4 extents");
  }
  if (batch == 0) batch = rows.codes.dim(0);
  if (kv_heads == 0) kv_heads = rows.codes.dim(1);
  const int64_t capacity = rows.codes.dim(2);
  check_shape(op, codes.c_str(), rows.codes,
              {batch, kv_heads, capacity, tq_row_bytes(rows.format, dim)});
  check_shape(op, norms.c_str(), rows.norms, {batch, kv_heads, capacity, tq_norm_count(dim)});
  check_range(op, (codes + ": capacity").c_str(), capacity, 1, std::numeric_limits<int32_t>::max());
  return capacity;
}

}  // namespace mlxn::ops
