// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

// The rows of both, without their caches.
kernels::KvAppendParams rows_of(const kernels::TqEncodeParams& k,
                                const kernels::TqEncodeParams& v) {
  kernels::KvAppendParams rows{};
  rows.k = k.src;
  rows.v = v.src;
  rows.pos = k.pos;
  rows.batch = k.batch;
  rows.n_src = k.n_src;
  rows.src_offset = k.src_offset;
  rows.n = k.n;
  rows.pos_skip = k.pos_skip;
  rows.num_kv_heads = k.num_kv_heads;
  rows.capacity = k.capacity;
  rows.dim = k.to.dim;
  rows.v_dim = v.to.dim;
  rows.src_dtype = k.src_dtype;
  rows.ring = k.ring;
  rows.pages = k.pages;
  return rows;
}

}  // namespace

void qkv_rope(Stream& stream, const QkvRopeArgs& args) try {
  constexpr const char* kOp = "qkv_rope";
  const Device& device = stream.device();
  std::vector<Call<kernels::RopeParams>> ropes;  // in the order of the calls
  if (args.v.x) ropes.push_back(rope_call(kOp, device, args.v));
  ropes.push_back(rope_call(kOp, device, args.k));
  if (args.q.x) ropes.push_back(rope_call(kOp, device, args.q));
  std::vector<Call<kernels::TqEncodeParams>> encode;
  for (const TqEncodeArgs* some : {&args.k_encode, &args.v_encode}) {
    auto call = some->src ? tq_encode_call(stream, *some) : std::nullopt;
    if (call) encode.push_back(*std::move(call));
  }
  std::optional<Call<kernels::KvAppendParams>> append;
  if (!args.k_encode.src) append = kv_append_call(stream, args.append);
  const Lengths &k_pos = args.k_encode.pos, &v_pos = args.v_encode.pos;
  const bool is_pair =
      encode.size() == 2 && k_pos.host == v_pos.host && k_pos.device.data() == v_pos.device.data();
  if (append || is_pair) {
    kernels::QkvRopeParams params{.v = std::nullopt,
                                  .k = ropes[args.v.x ? 1 : 0].params,
                                  .q = std::nullopt,
                                  .append = {},
                                  .codes = {}};
    if (args.v.x) params.v = ropes.front().params;
    if (args.q.x) params.q = ropes.back().params;
    params.append = append ? append->params : rows_of(encode[0].params, encode[1].params);
    backends::Access access;
    if (append) access.add(append->access);
    for (const auto& call : encode) {
      params.codes.push_back(call.params);
      access.add(call.access);
    }
    for (const auto& rope : ropes) access.add(rope.access);
    if (const auto* entry = kernels::find(kernels::qkv_rope_entries(), device, params)) {
      return entry->launch(stream.impl(), params, std::move(access));
    }
  }
  for (const auto& rope : ropes) {
    kernels::record("head_norm_rope", kernels::rope_entries(), stream.impl(), rope);
  }
  if (append) kernels::record("kv_append", kernels::kv_append_entries(), stream.impl(), *append);
  for (const auto& call : encode) {
    kernels::record("tq_encode", kernels::tq_encode_entries(), stream.impl(), call);
  }
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
