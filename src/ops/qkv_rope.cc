// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/check.h"

namespace mlxn::ops {

void qkv_rope(Stream& stream, const QkvRopeArgs& args) try {
  constexpr const char* kOp = "qkv_rope";
  const Device& device = stream.device();
  std::vector<Call<kernels::RopeParams>> ropes;  // in the order of the calls
  if (args.v.x) ropes.push_back(rope_call(kOp, device, args.v));
  ropes.push_back(rope_call(kOp, device, args.k));
  if (args.q.x) ropes.push_back(rope_call(kOp, device, args.q));
  const auto append = kv_append_call(stream, args.append);
  if (append) {
    kernels::QkvRopeParams params{.v = std::nullopt,
                                  .k = ropes[args.v.x ? 1 : 0].params,
                                  .q = std::nullopt,
                                  .append = append->params};
    if (args.v.x) params.v = ropes.front().params;
    if (args.q.x) params.q = ropes.back().params;
    backends::Access access = append->access;
    for (const Call<kernels::RopeParams>& rope : ropes) access.add(rope.access);
    if (const auto* entry = kernels::find(kernels::qkv_rope_entries(), device, params)) {
      return entry->launch(stream.impl(), params, std::move(access));
    }
  }
  for (const Call<kernels::RopeParams>& rope : ropes) {
    kernels::record("head_norm_rope", kernels::rope_entries(), stream.impl(), rope);
  }
  if (append) kernels::record("kv_append", kernels::kv_append_entries(), stream.impl(), *append);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
