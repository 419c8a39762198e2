// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/dequantize.h"

#include <utility>

#include "base/no_memory.h"
#include "kernels/dequantize/params.h"
#include "ops/check.h"
#include "ops/weight_operand.h"

namespace mlxn::ops {

void dequantize(Stream& stream, const DequantizeArgs& args) try {
  const char* op = "dequantize";
  check_weight_operand(op, "weight", args.weight, stream.device());
  check_output(op, "out", args.out, stream.device(), {f32, f16, bf16});
  check_shape(op, "out", args.out, args.weight.shape);
  check_weight_overlap(op, "out", args.out, "weight", args.weight);

  const kernels::DequantizeParams params{
      .weight = quant::view_of(args.weight),
      .out = args.out.data(),
      .out_dtype = args.out.dtype(),
  };
  backends::Access access;
  read_weight(access, args.weight);
  access.write(args.out);
  const auto& entry = kernels::choose(op, kernels::dequantize_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
