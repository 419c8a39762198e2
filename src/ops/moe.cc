// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/moe.h"

#include <algorithm>
#include <utility>

#include "base/no_memory.h"
#include "kernels/moe_route/params.h"
#include "ops/calls.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

void check_count(const char* op, const char* parameter, const Buffer& buffer, int64_t count) {
  if (buffer.element_count() != count) {
    fail(op, parameter, std::to_string(buffer.element_count()) + " elements",
         std::to_string(count));
  }
}

void check_route(const char* op, const Device& device, const MoeRouteArgs& args) {
  check_buffer(op, "logits", args.logits, device, {f32});
  check_output(op, "ids", args.ids, device, {u32});
  check_output(op, "weights", args.weights, device, {f32});
  if (args.logits.rank() != 2) {
    fail(op, "logits", "shape " + to_string(args.logits.shape()), "[T, E]");
  }
  const int64_t tokens = args.logits.dim(0), experts = args.logits.dim(1);
  check_range(op, "logits: experts", experts, 1, kernels::kMaxExperts);
  if (args.ids.rank() != 2 || args.ids.dim(0) != tokens) {
    fail(op, "ids", "shape " + to_string(args.ids.shape()),
         "[" + std::to_string(tokens) + ", top_k]");
  }
  check_range(op, "ids: top_k", args.ids.dim(1), 1,
              std::min(experts, kernels::kMaxSelectedExperts));
  check_shape(op, "weights", args.weights, args.ids.shape());
  if (args.expert_scale) {
    check_buffer(op, "expert_scale", args.expert_scale, device, {f32});
    check_count(op, "expert_scale", args.expert_scale, experts);
  }
  if (args.mode > RouteMode::kTopKSoftmax) {
    fail(op, "mode", std::to_string(static_cast<int>(args.mode)), "a RouteMode");
  }
  check_overlap(op, "weights", args.weights, "ids", args.ids);
  check_overlap(op, "ids", args.ids, "logits", args.logits);
  check_overlap(op, "ids", args.ids, "expert_scale", args.expert_scale);
  check_overlap(op, "weights", args.weights, "logits", args.logits);
  check_overlap(op, "weights", args.weights, "expert_scale", args.expert_scale);
}

void check_combine(const char* op, const Device& device, const MoeCombineArgs& args) {
  const auto floats = {f32, f16, bf16};
  check_buffer(op, "y", args.y, device, floats);
  check_buffer(op, "weights", args.weights, device, {f32});
  check_output(op, "out", args.out, device, floats);
  if (args.y.rank() != 3) fail(op, "y", "shape " + to_string(args.y.shape()), "[T, top_k, D]");
  const int64_t tokens = args.y.dim(0), dim = args.y.dim(2);
  const auto check_row_operand = [&](const char* parameter, const Buffer& buffer) {
    if (buffer.dtype() != args.y.dtype() || buffer.element_count() != tokens * dim) {
      fail(op, parameter, std::string(name(buffer.dtype())) + " " + to_string(buffer.shape()),
           std::string(name(args.y.dtype())) + " " + to_string({tokens, dim}));
    }
  };
  check_row_operand("out", args.out);
  check_count(op, "weights", args.weights, tokens * args.y.dim(1));
  check_overlap(op, "out", args.out, "y", args.y);
  check_overlap(op, "out", args.out, "weights", args.weights);
  if (args.shared) {
    check_buffer(op, "shared", args.shared, device, floats);
    check_row_operand("shared", args.shared);
    check_overlap(op, "out", args.out, "shared", args.shared, true);
  }
  if (args.shared_gate) {
    if (!args.shared) fail(op, "shared_gate", "a gate", "none without `shared`");
    check_buffer(op, "shared_gate", args.shared_gate, device, {f32});
    check_count(op, "shared_gate", args.shared_gate, tokens);
    check_overlap(op, "out", args.out, "shared_gate", args.shared_gate);
  }
  if (args.residual) {
    check_buffer(op, "residual", args.residual, device, floats);
    check_row_operand("residual", args.residual);
    check_overlap(op, "out", args.out, "residual", args.residual, true);
  }
}

const float* floats_of(const Buffer& buffer) {
  return reinterpret_cast<const float*>(buffer.data());
}

}  // namespace

void moe_route(Stream& stream, const MoeRouteArgs& args) try {
  check_route("moe_route", stream.device(), args);
  const kernels::MoeRouteParams params{
      .logits = floats_of(args.logits),
      .expert_scale = floats_of(args.expert_scale),
      .ids = reinterpret_cast<uint32_t*>(args.ids.data()),
      .weights = reinterpret_cast<float*>(args.weights.data()),
      .tokens = args.logits.dim(0),
      .experts = args.logits.dim(1),
      .top_k = args.ids.dim(1),
      .mode = args.mode,
      .renormalize = args.renormalize,
  };
  backends::Access access;
  access.read(args.logits);
  access.read(args.expert_scale);
  access.write(args.ids);
  access.write(args.weights);
  const auto& entry =
      kernels::choose("moe_route", kernels::moe_route_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Call<kernels::MoeCombineParams> moe_combine_call(const char* op, const Device& device,
                                                 const MoeCombineArgs& args) {
  check_combine(op, device, args);
  const kernels::MoeCombineParams params{
      .y = args.y.data(),
      .weights = floats_of(args.weights),
      .shared = args.shared.data(),
      .shared_gate = floats_of(args.shared_gate),
      .residual = args.residual.data(),
      .out = args.out.data(),
      .tokens = args.y.dim(0),
      .top_k = args.y.dim(1),
      .dim = args.y.dim(2),
      .dtype = args.y.dtype(),
  };
  backends::Access access;
  for (const Buffer* input :
       {&args.y, &args.weights, &args.shared, &args.shared_gate, &args.residual}) {
    access.read(*input);
  }
  access.write(args.out);
  return {params, std::move(access)};
}

void moe_combine(Stream& stream, const MoeCombineArgs& args) try {
  kernels::record("moe_combine", kernels::moe_combine_entries(), stream.impl(),
                  moe_combine_call("moe_combine", stream.device(), args));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
