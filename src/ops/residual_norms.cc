// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

constexpr const char* kOp = "residual_norms";

// What one row's threads write must not be what another row's still read.
void check_apart(const ResidualNormsArgs& args) {
  const auto check_out = [&args](const char* name, const Buffer& out) {
    for (const Buffer* read :
         {&args.combine.y, &args.combine.weights, &args.x_norm.x, &args.x_norm.weight,
          &args.experts_norm.weight, &args.join.x, &args.join.weight}) {
      check_overlap(kOp, name, out, "an earlier operand", *read);
    }
    for (const RmsNormArgs& normed : args.normed) {
      check_overlap(kOp, name, out, "normed.weight", normed.weight);
      if (&normed.out != &out) check_overlap(kOp, name, out, "normed.out", normed.out);
    }
  };
  check_out("join.out", args.join.out);
  for (const RmsNormArgs& normed : args.normed) {
    check_out("normed.out", normed.out);
    check_overlap(kOp, "normed.out", normed.out, "join.residual", args.join.residual);
  }
}

}  // namespace

void residual_norms(Stream& stream, const ResidualNormsArgs& args) try {
  const Device& device = stream.device();
  if (args.normed.size() > kernels::kMaxNormedRows) {
    fail(kOp, "normed", std::to_string(args.normed.size()), "at most 3");
  }
  std::optional<Call<kernels::MoeCombineParams>> combine;
  std::vector<NormCall> norms;
  if (args.combine.y) {
    combine = moe_combine_call(kOp, device, args.combine);
    norms.push_back(norm_call(kOp, device, args.x_norm));
    norms.push_back(norm_call(kOp, device, args.experts_norm));
  }
  norms.push_back(norm_call(kOp, device, args.join));
  for (const RmsNormArgs& normed : args.normed) norms.push_back(norm_call(kOp, device, normed));
  check_apart(args);

  kernels::ResidualNormsParams params{.combine = std::nullopt, .norms = {}};
  backends::Access access;
  if (combine) {
    params.combine = combine->params;
    access.add(combine->access);
  }
  for (const NormCall& norm : norms) {
    params.norms.push_back(params_of(norm));
    access.add(access_of(norm));
  }
  if (const auto* entry = kernels::find(kernels::residual_norms_entries(), device, params)) {
    return entry->launch(stream.impl(), params, std::move(access));
  }
  if (combine) {
    kernels::record("moe_combine", kernels::moe_combine_entries(), stream.impl(), *combine);
  }
  for (const NormCall& norm : norms) record_norm("rms_norm", stream.impl(), norm);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
