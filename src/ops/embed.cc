// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/embed.h"

#include <utility>

#include "base/no_memory.h"
#include "kernels/embed/params.h"
#include "ops/check.h"
#include "ops/weight_operand.h"

namespace mlxn::ops {

void embed(Stream& stream, const EmbedArgs& args) try {
  const char* op = "embed";
  check_weight_operand(op, "table", args.table, stream.device());
  if (args.table.is_expert_stack()) fail(op, "table", to_string(args.table.shape), "[V, D]");
  check_buffer(op, "ids", args.ids, stream.device(), {i32, u32});
  check_output(op, "out", args.out, stream.device(), {f32, f16, bf16});
  const int64_t count = args.ids.element_count();
  const Rows out = fold_rows(args.out);
  if (out.rows != count || out.dim != args.table.cols()) {
    fail(op, "out", to_string(args.out.shape()), to_string(Shape{count, args.table.cols()}));
  }
  check_finite(op, "scale", args.scale);
  check_weight_overlap(op, "out", args.out, "table", args.table);
  check_overlap(op, "out", args.out, "ids", args.ids);

  const kernels::EmbedParams params{
      .table = quant::view_of(args.table),
      .ids = reinterpret_cast<const int32_t*>(args.ids.data()),
      .out = args.out.data(),
      .count = count,
      .out_dtype = args.out.dtype(),
      .scale = args.scale,
  };
  backends::Access access;
  read_weight(access, args.table);
  access.read(args.ids);
  access.write(args.out);
  const auto& entry = kernels::choose(op, kernels::embed_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
