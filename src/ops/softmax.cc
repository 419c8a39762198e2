// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "base/no_memory.h"
#include "kernels/softmax/params.h"
#include "mlxn/ops/elementwise.h"
#include "ops/check.h"

namespace mlxn::ops {

void softmax(Stream& stream, const SoftmaxArgs& args) try {
  const char* op = "softmax";
  const Device& device = stream.device();
  check_buffer(op, "x", args.x, device, {f32, f16, bf16});
  check_output(op, "out", args.out, device, {f32, f16, bf16});
  check_like(op, "out", args.out, args.x, "x");
  check_overlap(op, "out", args.out, "x", args.x, true);

  const Rows rows = fold_rows(args.x);
  const kernels::SoftmaxParams params{
      .x = args.x.data(),
      .out = args.out.data(),
      .rows = rows.rows,
      .cols = rows.dim,
      .dtype = args.x.dtype(),
  };
  backends::Access access;
  access.read(args.x);
  access.write(args.out);
  const auto& entry = kernels::choose(op, kernels::softmax_entries(), device, params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
