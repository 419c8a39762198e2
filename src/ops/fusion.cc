// SPDX-License-Identifier: Apache-2.0
#include "ops/fusion.h"

#include <utility>

#include "backends/hazard_tracker.h"

namespace mlxn::ops {
namespace {

using backends::Fusible;
using backends::Joined;
using kernels::ElementwiseKind;

bool same_view(const Buffer& a, const Buffer& b) {
  return a && b && a.allocation() == b.allocation() && a.byte_offset() == b.byte_offset() &&
         a.dtype() == b.dtype() && a.element_count() == b.element_count();
}

bool overlap(const Buffer& a, const Buffer& b) {
  return a && b && a.allocation() == b.allocation() &&
         a.byte_offset() < b.byte_offset() + b.byte_len() &&
         b.byte_offset() < a.byte_offset() + a.byte_len();
}

// An output may lie on what is read element by element only if it is the very view.
bool is_safe_over(const Buffer& out, const Buffer& in) {
  return same_view(out, in) || !overlap(out, in);
}

bool is_safe(const NormCall& call) {
  return is_safe_over(call.out, call.x) && is_safe_over(call.out, call.factor) &&
         is_safe_over(call.out, call.add_after) && !overlap(call.out, call.add_before) &&
         !overlap(call.out, call.weight) && !overlap(call.out, call.sum) &&
         is_safe_over(call.sum, call.x) && is_safe_over(call.sum, call.add_before) &&
         !overlap(call.sum, call.factor) && !overlap(call.sum, call.add_after) &&
         !overlap(call.sum, call.weight);
}

class FusibleElementwise;

class FusibleNorm final : public Fusible {
 public:
  explicit FusibleNorm(NormCall call) : call_(std::move(call)) {}
  std::optional<Joined> join(const Fusible& next) const override;
  const NormCall& call() const { return call_; }

 private:
  NormCall call_;
};

class FusibleElementwise final : public Fusible {
 public:
  explicit FusibleElementwise(ElementwiseCall call) : call_(std::move(call)) {}
  std::optional<Joined> join(const Fusible& next) const override;
  const ElementwiseCall& call() const { return call_; }

 private:
  ElementwiseCall call_;
};

std::optional<Joined> joined(NormCall call, Buffer unwritten) {
  if (!is_safe(call)) return std::nullopt;
  return Joined{
      [call = std::move(call)](StreamImpl& stream) { record_norm("rms_norm", stream, call); },
      std::move(unwritten)};
}

// The operand of an add or mul that is not `known`; empty unless exactly one is.
Buffer other_operand(const ElementwiseCall& call, const Buffer& known) {
  if (same_view(call.a, known) == same_view(call.b, known)) return {};
  return same_view(call.a, known) ? call.b : call.a;
}

// norm, then norm.out times or plus something.
std::optional<Joined> FusibleNorm::join(const Fusible& next) const {
  const auto* const behind = dynamic_cast<const FusibleElementwise*>(&next);
  if (behind == nullptr) return std::nullopt;
  const ElementwiseCall& op = behind->call();
  NormCall call = call_;
  if (call.scale != 1.0f) return std::nullopt;
  if (op.kind == ElementwiseKind::kScale) {
    if (!same_view(op.a, call.out)) return std::nullopt;
    call.scale = op.scalar;
  } else {
    const Buffer other = other_operand(op, call.out);
    const bool is_mul = op.kind == ElementwiseKind::kMul;
    if (!other || call.add_after || (is_mul && call.factor)) return std::nullopt;
    if (overlap(other, call.out)) return std::nullopt;  // its bytes would be the norm's
    (is_mul ? call.factor : call.add_after) = other;
  }
  Buffer unwritten = same_view(op.out, call.out) ? Buffer() : call.out;
  call.out = op.out;
  return joined(std::move(call), std::move(unwritten));
}

// add, then the norm of the sum. Everything stays written.
std::optional<Joined> FusibleElementwise::join(const Fusible& next) const {
  const auto* const behind = dynamic_cast<const FusibleNorm*>(&next);
  if (behind == nullptr || call_.kind != ElementwiseKind::kAdd) return std::nullopt;
  NormCall call = behind->call();
  if (!same_view(call.x, call_.out) || call.add_before) return std::nullopt;
  // What the norm reads besides must not be the sum, which is written only beside it.
  for (const Buffer* other : {&call.weight, &call.factor, &call.add_after}) {
    if (overlap(*other, call_.out)) return std::nullopt;
  }
  const Shape shape = call.x.shape();
  call.x = call_.a.reshape(shape);
  call.add_before = call_.b;
  if (!same_view(call.out, call_.out)) call.sum = call_.out;
  return joined(std::move(call), {});
}

}  // namespace

std::shared_ptr<const Fusible> fusible(const NormCall& call) {
  if (call.x.dtype() != f32) return nullptr;
  return std::make_shared<FusibleNorm>(call);
}

std::shared_ptr<const Fusible> fusible(const ElementwiseCall& call) {
  const bool is_known = call.kind == ElementwiseKind::kAdd || call.kind == ElementwiseKind::kMul ||
                        call.kind == ElementwiseKind::kScale;
  if (!is_known || call.a.dtype() != f32) return nullptr;
  return std::make_shared<FusibleElementwise>(call);
}

}  // namespace mlxn::ops
