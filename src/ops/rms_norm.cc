// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/rms_norm.h"

#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

void check(const char* op, const Device& device, const NormCall& c) {
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

void check_like_x(const char* op, const char* parameter, const Device& device, const Buffer& buffer,
                  const Buffer& x) {
  check_buffer(op, parameter, buffer, device, {f32, f16, bf16});
  check_like(op, parameter, buffer, x, "x");
}

}  // namespace

kernels::RmsNormParams params_of(const NormCall& c) {
  const Rows rows = fold_rows(c.x);
  return {
      .x = c.x.data(),
      .add_before = c.add_before.data(),
      .add_after = c.add_after.data(),
      .factor = c.factor.data(),
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
}

backends::Access access_of(const NormCall& c) {
  backends::Access access;
  for (const Buffer* input : {&c.x, &c.add_before, &c.add_after, &c.factor, &c.weight}) {
    access.read(*input);
  }
  access.write(c.sum);
  access.write(c.out);
  return access;
}

void record_norm(const char* op, StreamImpl& stream, const NormCall& c) {
  const kernels::RmsNormParams params = params_of(c);
  backends::Access access = access_of(c);
  const auto& entry = kernels::choose(op, kernels::rms_norm_entries(), stream.device(), params);
  if (stream.is_capturing()) access.fusible = fusible(c);
  entry.launch(stream, params, std::move(access));
}

NormCall norm_call(const char* op, const Device& device, const RmsNormArgs& args) {
  NormCall call{.x = args.x,
                .weight = args.weight,
                .out = args.out,
                .eps = args.eps,
                .weight_offset = args.weight_offset};
  check(op, device, call);
  return call;
}

void rms_norm(Stream& stream, const RmsNormArgs& args) try {
  record_norm("rms_norm", stream.impl(), norm_call("rms_norm", stream.device(), args));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void add_rms_norm(Stream& stream, const AddRmsNormArgs& args) try {
  const char* op = "add_rms_norm";
  const NormCall call{.x = args.x,
                      .add_before = args.residual,
                      .weight = args.weight,
                      .sum = args.sum,
                      .out = args.out,
                      .eps = args.eps,
                      .weight_offset = args.weight_offset};
  check(op, stream.device(), call);
  check_like_x(op, "residual", stream.device(), args.residual, args.x);
  check_overlap(op, "out", args.out, "residual", args.residual);
  if (args.sum) {
    check_output(op, "sum", args.sum, stream.device(), {f32, f16, bf16});
    check_like(op, "sum", args.sum, args.x, "x");
    check_overlap(op, "sum", args.sum, "x", args.x, true);
    check_overlap(op, "sum", args.sum, "residual", args.residual, true);
    check_overlap(op, "sum", args.sum, "out", args.out);
  }
  record_norm(op, stream.impl(), call);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

NormCall norm_call(const char* op, const Device& device, const RmsNormAddArgs& args) {
  NormCall call{.x = args.x,
                .add_after = args.residual,
                .weight = args.weight,
                .out = args.out,
                .eps = args.eps,
                .weight_offset = args.weight_offset,
                .scale = args.scale};
  check(op, device, call);
  check_like_x(op, "residual", device, args.residual, args.x);
  check_overlap(op, "out", args.out, "residual", args.residual, true);
  return call;
}

void rms_norm_add(Stream& stream, const RmsNormAddArgs& args) try {
  record_norm("rms_norm_add", stream.impl(), norm_call("rms_norm_add", stream.device(), args));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void rms_norm_mul(Stream& stream, const RmsNormMulArgs& args) try {
  const char* op = "rms_norm_mul";
  const NormCall call{.x = args.x,
                      .factor = args.factor,
                      .weight = args.weight,
                      .out = args.out,
                      .eps = args.eps,
                      .weight_offset = args.weight_offset};
  check(op, stream.device(), call);
  check_like_x(op, "factor", stream.device(), args.factor, args.x);
  check_overlap(op, "out", args.out, "factor", args.factor, true);
  record_norm(op, stream.impl(), call);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
