// SPDX-License-Identifier: Apache-2.0
// Norms and the elementwise ops around them, as graphs join them (GraphOptions::fuse). What is
// joined keeps its bits: all of it is f32, and the one kernel does the same operations in the same
// order.
#pragma once

#include "backends/backend.h"
#include "backends/fusible.h"
#include "kernels/elementwise/params.h"
#include "kernels/rms_norm/params.h"
#include "mlxn/buffer.h"

namespace mlxn::ops {

// out = (rms_norm(x + add_before) * factor + add_after) * scale; sum = x + add_before.
struct NormCall {
  Buffer x;
  Buffer add_before = {}, add_after = {}, factor = {};
  Buffer weight = {};
  Buffer sum = {};
  Buffer out;
  float eps = 0.0f;
  float weight_offset = 0.0f;
  float scale = 1.0f;
};

kernels::RmsNormParams params_of(const NormCall& call);
backends::Access access_of(const NormCall& call);
// Records a call that has been checked; `op` names it in errors.
void record_norm(const char* op, StreamImpl& stream, const NormCall& call);

struct ElementwiseCall {
  kernels::ElementwiseKind kind;
  Buffer a, b, out;  // b: add and mul only
  float scalar;
};

// How the dispatch of the call can be joined with the next one; null if it never can.
std::shared_ptr<const backends::Fusible> fusible(const NormCall& call);
std::shared_ptr<const backends::Fusible> fusible(const ElementwiseCall& call);

}  // namespace mlxn::ops
