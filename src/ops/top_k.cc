// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "kernels/top_k/params.h"
#include "mlxn/ops/sampling.h"
#include "ops/check.h"

namespace mlxn::ops {

void top_k(Stream& stream, const TopKArgs& args) try {
  const char* op = "top_k";
  const Device& device = stream.device();
  check_buffer(op, "x", args.x, device, {f32});
  check_output(op, "indices", args.indices, device, {u32});
  check_output(op, "values", args.values, device, {f32});
  const Rows in = fold_rows(args.x), out = fold_rows(args.indices);
  check_range(op, "x: row length", in.dim, 1, std::numeric_limits<uint32_t>::max());
  if (out.rows != in.rows) {
    fail(op, "indices", "shape " + to_string(args.indices.shape()),
         "[" + std::to_string(in.rows) + ", k]");
  }
  check_range(op, "indices: k", out.dim, 1, in.dim);
  check_shape(op, "values", args.values, args.indices.shape());
  check_overlap(op, "indices", args.indices, "x", args.x);
  check_overlap(op, "values", args.values, "x", args.x);
  check_overlap(op, "values", args.values, "indices", args.indices);

  const kernels::TopKParams params{
      .x = reinterpret_cast<const float*>(args.x.data()),
      .indices = reinterpret_cast<uint32_t*>(args.indices.data()),
      .values = reinterpret_cast<float*>(args.values.data()),
      .rows = in.rows,
      .count = in.dim,
      .k = out.dim,
  };
  backends::Access access;
  access.read(args.x);
  access.write(args.indices);
  access.write(args.values);
  const auto& entry = kernels::choose(op, kernels::top_k_entries(), device, params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
