// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/rope.h"

#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

// The head_norm_rope form of both ops; rope is the one with norm false.
void check(const char* op, const Device& device, const HeadNormRopeArgs& args, bool norm) {
  const auto floats = {f32, f16, bf16};
  check_buffer(op, "x", args.x, device, floats);
  check_output(op, "out", args.out, device, floats);
  check_like(op, "out", args.out, args.x, "x");
  if (args.x.rank() != 3) fail(op, "x", "shape " + to_string(args.x.shape()), "[T, H, D]");
  check_overlap(op, "out", args.out, "x", args.x, true);
  const int64_t tokens = args.x.dim(0), head_dim = args.x.dim(2);
  if (head_dim % 2 != 0 && (!norm || args.inv_freq)) {
    fail(op, "x", "head dim " + std::to_string(head_dim), "an even head dim");
  }
  if (args.weight) {
    check_buffer(op, "weight", args.weight, device, floats);
    if (args.weight.element_count() < head_dim) {
      fail(op, "weight", std::to_string(args.weight.element_count()) + " elements",
           "at least " + std::to_string(head_dim));
    }
    check_overlap(op, "out", args.out, "weight", args.weight);
  }
  check_eps(op, "eps", args.eps);
  check_finite(op, "weight_offset", args.weight_offset);
  if (!args.inv_freq) return;

  check_buffer(op, "inv_freq", args.inv_freq, device, {f32});
  if (args.inv_freq.element_count() > head_dim / 2) {
    fail(op, "inv_freq", std::to_string(args.inv_freq.element_count()) + " frequencies",
         "at most " + std::to_string(head_dim / 2));
  }
  check_buffer(op, "positions", args.positions, device, {i32, u32});
  if (args.positions.element_count() != tokens) {
    fail(op, "positions", std::to_string(args.positions.element_count()) + " positions",
         std::to_string(tokens));
  }
  check_overlap(op, "out", args.out, "inv_freq", args.inv_freq);
  check_overlap(op, "out", args.out, "positions", args.positions);
}

}  // namespace

Call<kernels::RopeParams> rope_call(const char* op, const Device& device,
                                    const HeadNormRopeArgs& args, bool norm) {
  check(op, device, args, norm);
  const kernels::RopeParams params{
      .x = args.x.data(),
      .weight = args.weight.data(),
      .positions = reinterpret_cast<const int32_t*>(args.positions.data()),
      .inv_freq = reinterpret_cast<const float*>(args.inv_freq.data()),
      .out = args.out.data(),
      .tokens = args.x.dim(0),
      .heads = args.x.dim(1),
      .head_dim = args.x.dim(2),
      .pairs = args.inv_freq ? args.inv_freq.element_count() : 0,
      .pairing = args.pairing,
      .norm = norm,
      .dtype = args.x.dtype(),
      .weight_dtype = args.weight.dtype(),
      .eps = args.eps,
      .weight_offset = args.weight_offset,
  };
  backends::Access access;
  access.read(args.x);
  access.read(args.weight);
  if (args.inv_freq) {
    access.read(args.positions);
    access.read(args.inv_freq);
  }
  access.write(args.out);
  return {params, std::move(access)};
}

void rope(Stream& stream, const RopeArgs& args) try {
  const HeadNormRopeArgs call{.x = args.x,
                              .positions = args.positions,
                              .inv_freq = args.inv_freq,
                              .out = args.out,
                              .pairing = args.pairing};
  kernels::record("rope", kernels::rope_entries(), stream.impl(),
                  rope_call("rope", stream.device(), call, false));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void head_norm_rope(Stream& stream, const HeadNormRopeArgs& args) try {
  kernels::record("head_norm_rope", kernels::rope_entries(), stream.impl(),
                  rope_call("head_norm_rope", stream.device(), args));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
