// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/rms_norm.h"

#include <utility>

#include "base/no_memory.h"
#include "kernels/rms_norm/params.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

// The union of the three forms.
struct Call {
  Buffer x, add_before, add_after, weight, sum, out;
  float eps, weight_offset, scale;
};

void check(const char* op, const Device& device, const Call& c) {
  const auto floats = {f32, f16, bf16};
  check_buffer(op, "x", c.x, device, floats);
  check_output(op, "out", c.out, device, floats);
  check_like(op, "out", c.out, c.x, "x");
  const Rows rows = fold_rows(c.x);
  if (c.weight) {
    check_buffer(op, "weight", c.weight, device, floats);
    if (c.weight.element_count() < rows.dim) {
      fail(op, "weight", std::to_string(c.weight.element_count()) + " elements",
           "at least " + std::to_string(rows.dim));
    }
    check_overlap(op, "out", c.out, "weight", c.weight);
    check_overlap(op, "sum", c.sum, "weight", c.weight);
  }
  check_overlap(op, "out", c.out, "x", c.x, true);
  check_eps(op, "eps", c.eps);
  check_finite(op, "weight_offset", c.weight_offset);
  check_finite(op, "scale", c.scale);
}

void check_residual(const char* op, const Device& device, const Buffer& residual, const Buffer& x) {
  check_buffer(op, "residual", residual, device, {f32, f16, bf16});
  check_like(op, "residual", residual, x, "x");
}

void run(const char* op, Stream& stream, const Call& c) {
  const Rows rows = fold_rows(c.x);
  const kernels::RmsNormParams params{
      .x = c.x.data(),
      .add_before = c.add_before.data(),
      .add_after = c.add_after.data(),
      .weight = c.weight.data(),
      .sum = c.sum.data(),
      .out = c.out.data(),
      .rows = rows.rows,
      .dim = rows.dim,
      .dtype = c.x.dtype(),
      .weight_dtype = c.weight.dtype(),
      .eps = c.eps,
      .weight_offset = c.weight_offset,
      .scale = c.scale,
  };
  backends::Access access;
  for (const Buffer* input : {&c.x, &c.add_before, &c.add_after, &c.weight}) access.read(*input);
  access.write(c.sum);
  access.write(c.out);
  const auto& entry = kernels::choose(op, kernels::rms_norm_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
}

}  // namespace

void rms_norm(Stream& stream, const RmsNormArgs& args) try {
  const Call call{args.x, {}, {}, args.weight, {}, args.out, args.eps, args.weight_offset, 1.0f};
  check("rms_norm", stream.device(), call);
  run("rms_norm", stream, call);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void add_rms_norm(Stream& stream, const AddRmsNormArgs& args) try {
  const char* op = "add_rms_norm";
  const Call call{args.x,   args.residual,      {},  args.weight, args.sum, args.out,
                  args.eps, args.weight_offset, 1.0f};
  check(op, stream.device(), call);
  check_residual(op, stream.device(), args.residual, args.x);
  check_overlap(op, "out", args.out, "residual", args.residual);
  if (args.sum) {
    check_output(op, "sum", args.sum, stream.device(), {f32, f16, bf16});
    check_like(op, "sum", args.sum, args.x, "x");
    check_overlap(op, "sum", args.sum, "x", args.x, true);
    check_overlap(op, "sum", args.sum, "residual", args.residual, true);
    check_overlap(op, "sum", args.sum, "out", args.out);
  }
  run(op, stream, call);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void rms_norm_add(Stream& stream, const RmsNormAddArgs& args) try {
  const char* op = "rms_norm_add";
  const Call call{args.x,   {},       args.residual,      args.weight, {},
                  args.out, args.eps, args.weight_offset, args.scale};
  check(op, stream.device(), call);
  check_residual(op, stream.device(), args.residual, args.x);
  check_overlap(op, "out", args.out, "residual", args.residual, true);
  run(op, stream, call);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
