// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/elementwise.h"

#include <utility>

#include "base/no_memory.h"
#include "kernels/elementwise/params.h"
#include "ops/check.h"
#include "ops/fusion.h"

namespace mlxn::ops {
namespace {

using kernels::ElementwiseKind;

void run(const char* op, Stream& stream, ElementwiseKind kind, const Buffer& a, const Buffer& b,
         const Buffer& out, float scalar) {
  const kernels::ElementwiseParams params{
      .kind = kind,
      .a = a.data(),
      .b = b.data(),
      .out = out.data(),
      .count = a.element_count(),
      .dtype = a.dtype(),
      .out_dtype = out.dtype(),
      .scalar = scalar,
  };
  backends::Access access;
  access.read(a);
  access.read(b);
  access.write(out);
  if (stream.is_capturing()) access.fusible = fusible(ElementwiseCall{kind, a, b, out, scalar});
  const auto& entry = kernels::choose(op, kernels::elementwise_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
}

void binary(const char* op, Stream& stream, ElementwiseKind kind, const BinaryArgs& args) {
  const Device& device = stream.device();
  check_buffer(op, "a", args.a, device, {f32, f16, bf16});
  check_buffer(op, "b", args.b, device, {f32, f16, bf16});
  check_output(op, "out", args.out, device, {f32, f16, bf16});
  check_like(op, "b", args.b, args.a, "a");
  check_like(op, "out", args.out, args.a, "a");
  check_overlap(op, "out", args.out, "a", args.a, true);
  check_overlap(op, "out", args.out, "b", args.b, true);
  run(op, stream, kind, args.a, args.b, args.out, 0.0f);
}

void check_unary(const char* op, const Device& device, const Buffer& x, const Buffer& out) {
  check_buffer(op, "x", x, device, {f32, f16, bf16});
  check_output(op, "out", out, device, {f32, f16, bf16});
  check_like(op, "out", out, x, "x");
  check_overlap(op, "out", out, "x", x, true);
}

}  // namespace

void add(Stream& stream, const BinaryArgs& args) try {
  binary("add", stream, ElementwiseKind::kAdd, args);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void mul(Stream& stream, const BinaryArgs& args) try {
  binary("mul", stream, ElementwiseKind::kMul, args);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void scale(Stream& stream, const ScaleArgs& args) try {
  check_unary("scale", stream.device(), args.x, args.out);
  check_finite("scale", "factor", args.factor);
  run("scale", stream, ElementwiseKind::kScale, args.x, {}, args.out, args.factor);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void softcap(Stream& stream, const SoftcapArgs& args) try {
  check_unary("softcap", stream.device(), args.x, args.out);
  check_finite("softcap", "cap", args.cap);
  if (args.cap <= 0.0f) fail("softcap", "cap", std::to_string(args.cap), "a number above 0");
  run("softcap", stream, ElementwiseKind::kSoftcap, args.x, {}, args.out, args.cap);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void cast(Stream& stream, const CastArgs& args) try {
  check_buffer("cast", "x", args.x, stream.device(), {f32, f16, bf16});
  check_output("cast", "out", args.out, stream.device(), {f32, f16, bf16});
  if (args.out.element_count() != args.x.element_count()) {
    fail("cast", "out", to_string(args.out.shape()), to_string(args.x.shape()) + " like x");
  }
  check_overlap("cast", "out", args.out, "x", args.x);
  run("cast", stream, ElementwiseKind::kCast, args.x, {}, args.out, 0.0f);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
