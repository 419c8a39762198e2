// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/matmul.h"

#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/check.h"
#include "ops/weight_operand.h"
#include "quant/weight_view.h"

namespace mlxn::ops {

Call<kernels::MatmulParams> matmul_call(const char* op, const Device& device,
                                        const MatmulArgs& args) {
  check_buffer(op, "x", args.x, device, {f32, f16, bf16});
  check_weight_operand(op, "weight", args.weight, device);
  if (args.weight.is_expert_stack()) {
    fail(op, "weight", to_string(args.weight.shape), "[N, K]; expert_matmul takes stacks");
  }
  check_output(op, "out", args.out, device, {f32, args.x.dtype()});
  const auto [m, k] = fold_rows(args.x);
  const int64_t n = args.weight.rows();
  if (k != args.weight.cols()) {
    fail(op, "x", to_string(args.x.shape()),
         "rows of " + std::to_string(args.weight.cols()) + " elements");
  }
  const Rows out = fold_rows(args.out);
  if (out.rows != m || out.dim != n) {
    fail(op, "out", to_string(args.out.shape()),
         std::to_string(m) + " rows of " + std::to_string(n) + " elements");
  }
  check_overlap(op, "out", args.out, "x", args.x);
  check_weight_overlap(op, "out", args.out, "weight", args.weight);
  if (args.residual) {
    check_buffer(op, "residual", args.residual, device, {f32, f16, bf16});
    check_like(op, "residual", args.residual, args.out, "out");
    check_overlap(op, "out", args.out, "residual", args.residual, true);
  }

  const kernels::MatmulParams params{
      .weight = quant::view_of(args.weight),
      .x = args.x.data(),
      .residual = args.residual ? args.residual.data() : nullptr,
      .out = args.out.data(),
      .ids = nullptr,
      .x_rows = m,
      .out_rows = m,
      .rows_per_x = 1,
      .x_dtype = args.x.dtype(),
      .out_dtype = args.out.dtype(),
  };
  backends::Access access;
  access.read(args.x);
  access.read(args.residual);
  read_weight(access, args.weight);
  access.write(args.out);
  return {params, std::move(access)};
}

void matmul(Stream& stream, const MatmulArgs& args) try {
  kernels::record("matmul", kernels::matmul_entries(), stream.impl(),
                  matmul_call("matmul", stream.device(), args));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
