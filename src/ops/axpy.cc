// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/axpy.h"

#include <utility>

#include "base/no_memory.h"
#include "kernels/skeleton/params.h"
#include "ops/check.h"

namespace mlxn::ops {

void axpy(Stream& stream, const AxpyArgs& args) try {
  const char* op = "axpy";
  const Device& device = stream.device();
  const auto floats = {f32, f16, bf16};
  check_buffer(op, "x", args.x, device, floats);
  check_buffer(op, "y", args.y, device, floats);
  check_output(op, "out", args.out, device, floats);
  check_like(op, "y", args.y, args.x, "x");
  check_like(op, "out", args.out, args.x, "x");
  check_finite(op, "a", args.a);
  check_overlap(op, "out", args.out, "x", args.x, true);
  check_overlap(op, "out", args.out, "y", args.y, true);

  const kernels::AxpyParams params{
      .x = args.x.data(),
      .y = args.y.data(),
      .out = args.out.data(),
      .count = args.x.element_count(),
      .a = args.a,
      .dtype = args.x.dtype(),
  };
  backends::Access access;
  access.read(args.x);
  access.read(args.y);
  access.write(args.out);
  const auto& entry = kernels::choose(op, kernels::axpy_entries(), device, params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
