// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/check.h"
#include "ops/weight_operand.h"

namespace mlxn::ops {
namespace {

constexpr const char* kOp = "joint_matmul";

using Parts = std::vector<Call<kernels::MatmulParams>>;

// No part writes what another one reads or writes.
template <typename Args>
Parts check_parts(const Device& device, const std::vector<Args>& parts) {
  Parts calls;
  for (const Args& part : parts) {
    calls.push_back(matmul_call(kOp, device, part));
    for (const Args& other : parts) {
      if (&other == &part) continue;
      check_overlap(kOp, "parts.out", part.out, "the x of another part", other.x);
      check_overlap(kOp, "parts.out", part.out, "the out of another part", other.out);
      check_weight_overlap(kOp, "parts.out", part.out, "the weight of another part", other.weight);
    }
  }
  return calls;
}

}  // namespace

void joint_matmul(Stream& stream, const JointMatmulArgs& args) try {
  const Device& device = stream.device();
  const size_t count = args.parts.size() + args.expert_parts.size();
  if (count < 1 || count > kernels::kMaxJointParts ||
      (!args.parts.empty() && !args.expert_parts.empty())) {
    fail(kOp, "parts",
         std::to_string(args.parts.size()) + " and " + std::to_string(args.expert_parts.size()) +
             " of experts",
         "1 to 3 of one kind");
  }
  const bool experts = args.parts.empty();
  const Parts parts =
      experts ? check_parts(device, args.expert_parts) : check_parts(device, args.parts);
  kernels::JointMatmulParams params;
  backends::Access access;
  for (const Call<kernels::MatmulParams>& part : parts) {
    params.parts.push_back(part.params);
    access.add(part.access);
  }
  std::optional<Call<kernels::GluParams>> glu;
  if (args.glu.out) {
    glu = glu_call(kOp, device, args.glu);
    params.glu = glu->params;
    access.add(glu->access);
  }
  if (const auto* entry = kernels::find(kernels::joint_matmul_entries(), device, params)) {
    return entry->launch(stream.impl(), params, std::move(access));
  }
  for (const Call<kernels::MatmulParams>& part : parts) {
    kernels::record(experts ? "expert_matmul" : "matmul",
                    experts ? kernels::expert_matmul_entries() : kernels::matmul_entries(),
                    stream.impl(), part);
  }
  if (glu) kernels::record("glu", kernels::glu_entries(), stream.impl(), *glu);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
