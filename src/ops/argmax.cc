// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "kernels/argmax/params.h"
#include "mlxn/ops/sampling.h"
#include "ops/check.h"

namespace mlxn::ops {

void argmax(Stream& stream, const ArgmaxArgs& args) try {
  const char* op = "argmax";
  const Device& device = stream.device();
  check_buffer(op, "x", args.x, device, {f32});
  check_output(op, "indices", args.indices, device, {u32});
  const Rows rows = fold_rows(args.x);
  check_range(op, "x: row length", rows.dim, 1, std::numeric_limits<uint32_t>::max());
  if (args.indices.element_count() != rows.rows) {
    fail(op, "indices", to_string(args.indices.shape()), to_string({rows.rows}));
  }
  check_overlap(op, "indices", args.indices, "x", args.x);
  if (args.values) {
    check_output(op, "values", args.values, device, {f32});
    if (args.values.element_count() != rows.rows) {
      fail(op, "values", to_string(args.values.shape()), to_string({rows.rows}));
    }
    check_overlap(op, "values", args.values, "x", args.x);
    check_overlap(op, "values", args.values, "indices", args.indices);
  }

  const kernels::ArgmaxParams params{
      .x = reinterpret_cast<const float*>(args.x.data()),
      .indices = reinterpret_cast<uint32_t*>(args.indices.data()),
      .values = reinterpret_cast<float*>(args.values.data()),
      .rows = rows.rows,
      .count = rows.dim,
  };
  backends::Access access;
  access.read(args.x);
  access.write(args.indices);
  access.write(args.values);
  const auto& entry = kernels::choose(op, kernels::argmax_entries(), device, params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
