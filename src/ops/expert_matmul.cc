// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/check.h"
#include "ops/weight_operand.h"
#include "quant/weight_view.h"

namespace mlxn::ops {

Call<kernels::MatmulParams> matmul_call(const char* op, const Device& device,
                                        const ExpertMatmulArgs& args) {
  check_buffer(op, "x", args.x, device, {f32, f16, bf16});
  check_weight_operand(op, "weight", args.weight, device);
  if (!args.weight.is_expert_stack()) {
    fail(op, "weight", to_string(args.weight.shape), "[E, N, K]");
  }
  check_buffer(op, "ids", args.ids, device, {u32});
  check_output(op, "out", args.out, device, {f32, args.x.dtype()});
  if (args.ids.rank() != 2) fail(op, "ids", to_string(args.ids.shape()), "[T, top_k]");
  const int64_t tokens = args.ids.dim(0), top_k = args.ids.dim(1);
  const int64_t n = args.weight.rows(), k = args.weight.cols();
  check_shape(op, "x", args.x, args.per_slot_input ? Shape{tokens, top_k, k} : Shape{tokens, k});
  check_shape(op, "out", args.out, {tokens, top_k, n});
  check_overlap(op, "out", args.out, "x", args.x);
  check_overlap(op, "out", args.out, "ids", args.ids);
  check_weight_overlap(op, "out", args.out, "weight", args.weight);

  const kernels::MatmulParams params{
      .weight = quant::view_of(args.weight),
      .x = args.x.data(),
      .residual = nullptr,
      .out = args.out.data(),
      .ids = reinterpret_cast<const uint32_t*>(args.ids.data()),
      .x_rows = args.per_slot_input ? tokens * top_k : tokens,
      .out_rows = tokens * top_k,
      .rows_per_x = args.per_slot_input ? 1 : top_k,
      .x_dtype = args.x.dtype(),
      .out_dtype = args.out.dtype(),
  };
  backends::Access access;
  access.read(args.x);
  access.read(args.ids);
  read_weight(access, args.weight);
  access.write(args.out);
  return {params, std::move(access)};
}

void expert_matmul(Stream& stream, const ExpertMatmulArgs& args) try {
  kernels::record("expert_matmul", kernels::expert_matmul_entries(), stream.impl(),
                  matmul_call("expert_matmul", stream.device(), args));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
