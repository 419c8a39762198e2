// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "kernels/attn_merge/params.h"
#include "mlxn/ops/attention.h"
#include "ops/attention_args.h"

namespace mlxn::ops {
namespace {

constexpr const char* kOp = "attn_merge";

void check(const Device& device, const AttnMergeArgs& args) {
  check_buffer(kOp, "parts", args.parts, device, {f32, f16, bf16});
  if (args.parts.rank() < 3) {
    fail(kOp, "parts", "shape " + to_string(args.parts.shape()), "at least 3 extents");
  }
  const Shape& shape = args.parts.shape();
  check_buffer(kOp, "lse", args.lse, device, {f32});
  check_shape(kOp, "lse", args.lse, Shape(shape.begin(), shape.end() - 1));
  check_output(kOp, "out", args.out, device, {f32, f16, bf16});
  check_shape(kOp, "out", args.out, Shape(shape.begin() + 1, shape.end()));
  if (args.out.dtype() != args.parts.dtype()) {
    fail(kOp, "out", std::string(name(args.out.dtype())),
         std::string(name(args.parts.dtype())) + ", the dtype of parts");
  }
  if (args.out_lse) {
    check_output(kOp, "out_lse", args.out_lse, device, {f32});
    check_shape(kOp, "out_lse", args.out_lse, Shape(shape.begin() + 1, shape.end() - 1));
  }
  check_disjoint(kOp, {{"out", &args.out}, {"out_lse", &args.out_lse}},
                 {{"parts", &args.parts}, {"lse", &args.lse}});
  check_range(kOp, "parts: rows", args.out.element_count() / shape.back(), 1,
              std::numeric_limits<int32_t>::max());
}

}  // namespace

void attn_merge(Stream& stream, const AttnMergeArgs& args) try {
  check(stream.device(), args);
  const int64_t dim = args.parts.shape().back();
  const kernels::AttnMergeParams params{
      .parts = args.parts.data(),
      .lse = floats_of(args.lse),
      .out = args.out.data(),
      .out_lse = floats_of(args.out_lse),
      .num_parts = args.parts.dim(0),
      .rows = args.out.element_count() / dim,
      .dim = dim,
      .dtype = args.parts.dtype(),
  };
  backends::Access access;
  access.read(args.parts);
  access.read(args.lse);
  access.write(args.out);
  access.write(args.out_lse);
  const auto& entry = kernels::choose(kOp, kernels::attn_merge_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
