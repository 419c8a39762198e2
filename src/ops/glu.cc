// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

// Rows of the output with their stride in gate and up.
struct Layout {
  int64_t rows, dim, in_stride;
};

Layout check_separate(const char* op, const Device& device, const GluArgs& args) {
  check_buffer(op, "up", args.up, device, {f32, f16, bf16});
  check_like(op, "up", args.up, args.gate, "gate");
  check_like(op, "out", args.out, args.gate, "gate");
  check_overlap(op, "out", args.out, "gate", args.gate, true);
  check_overlap(op, "out", args.out, "up", args.up, true);
  return {1, args.gate.element_count(), args.gate.element_count()};
}

Layout check_packed(const char* op, const GluArgs& args) {
  const Rows in = fold_rows(args.gate), out = fold_rows(args.out);
  if (in.dim % 2 != 0) {
    fail(op, "gate", "rows of " + std::to_string(in.dim), "an even row length (gate, then up)");
  }
  if (args.out.dtype() != args.gate.dtype() || out.dim != in.dim / 2 || out.rows != in.rows) {
    fail(op, "out", std::string(name(args.out.dtype())) + " " + to_string(args.out.shape()),
         std::string(name(args.gate.dtype())) + " with " + std::to_string(in.rows) + " rows of " +
             std::to_string(in.dim / 2));
  }
  check_overlap(op, "out", args.out, "gate", args.gate);
  return {out.rows, out.dim, in.dim};
}

}  // namespace

Call<kernels::GluParams> glu_call(const char* op, const Device& device, const GluArgs& args) {
  check_buffer(op, "gate", args.gate, device, {f32, f16, bf16});
  check_output(op, "out", args.out, device, {f32, f16, bf16});
  if (args.activation > Activation::kSigmoid) {
    fail(op, "activation", std::to_string(static_cast<int>(args.activation)), "an Activation");
  }
  const Layout layout = args.up ? check_separate(op, device, args) : check_packed(op, args);
  const size_t half_row = static_cast<size_t>(layout.dim) * size_of(args.gate.dtype());
  const kernels::GluParams params{
      .gate = args.gate.data(),
      .up = args.up ? args.up.data() : args.gate.data() + half_row,
      .out = args.out.data(),
      .rows = layout.rows,
      .dim = layout.dim,
      .in_stride = layout.in_stride,
      .dtype = args.gate.dtype(),
      .activation = args.activation,
  };
  backends::Access access;
  access.read(args.gate);
  access.read(args.up);
  access.write(args.out);
  return {params, std::move(access)};
}

void glu(Stream& stream, const GluArgs& args) try {
  kernels::record("glu", kernels::glu_entries(), stream.impl(),
                  glu_call("glu", stream.device(), args));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
