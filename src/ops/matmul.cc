// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/matmul.h"

#include <utility>

#include "base/no_memory.h"
#include "kernels/matmul/params.h"
#include "ops/check.h"
#include "ops/weight_operand.h"
#include "quant/weight_view.h"

namespace mlxn::ops {

void matmul(Stream& stream, const MatmulArgs& args) try {
  constexpr const char* kOp = "matmul";
  const Device& device = stream.device();
  check_buffer(kOp, "x", args.x, device, {f32, f16, bf16});
  check_weight_operand(kOp, "weight", args.weight, device);
  if (args.weight.is_expert_stack()) {
    fail(kOp, "weight", to_string(args.weight.shape), "[N, K]; expert_matmul takes stacks");
  }
  check_output(kOp, "out", args.out, device, {f32, args.x.dtype()});
  const auto [m, k] = fold_rows(args.x);
  const int64_t n = args.weight.rows();
  if (k != args.weight.cols()) {
    fail(kOp, "x", to_string(args.x.shape()),
         "rows of " + std::to_string(args.weight.cols()) + " elements");
  }
  const Rows out = fold_rows(args.out);
  if (out.rows != m || out.dim != n) {
    fail(kOp, "out", to_string(args.out.shape()),
         std::to_string(m) + " rows of " + std::to_string(n) + " elements");
  }
  check_overlap(kOp, "out", args.out, "x", args.x);
  check_weight_overlap(kOp, "out", args.out, "weight", args.weight);
  if (args.residual) {
    check_buffer(kOp, "residual", args.residual, device, {f32, f16, bf16});
    check_like(kOp, "residual", args.residual, args.out, "out");
    check_overlap(kOp, "out", args.out, "residual", args.residual, true);
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
  const auto& entry = kernels::choose(kOp, kernels::matmul_entries(), device, params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
