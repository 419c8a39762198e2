// SPDX-License-Identifier: Apache-2.0
// Ops for models that stand for several calls of public ones: one kernel where a device has one for
// the whole, else the calls one after the other, with the same bits. What one call writes for
// another is working memory, whose contents are lost.
#pragma once

#include <functional>
#include <vector>

#include "mlxn/ops/attention.h"
#include "mlxn/ops/elementwise.h"
#include "mlxn/ops/matmul.h"
#include "mlxn/ops/moe.h"
#include "mlxn/ops/rms_norm.h"
#include "mlxn/ops/rope.h"
#include "mlxn/ops/turboquant.h"

namespace mlxn::ops {

// What lies between two layers' matmuls: a branch joins the residual stream through a norm, and the
// stream is normed for what reads it next.
struct ResidualNormsArgs {
  // A branch of two, x and experts; left empty, join.x is the branch.
  MoeCombineArgs combine = {};
  RmsNormArgs x_norm = {};
  RmsNormAddArgs experts_norm = {};  // of combine.out, with x_norm.out as residual
  RmsNormAddArgs join;               // of experts_norm.out
  std::vector<RmsNormArgs> normed;   // of join.out; at most 3
};

// The calls in this order, to the bit; outs that a later call reads are working memory, but for
// join.out. One kernel on GPUs if all is f32, dim at most 8192 and the calls are linked as above.
// Throws as they do, for more than 3 normed, and for a join.out or normed.out that overlaps what
// is read, but for join.residual and the operand of its own norm.
void residual_norms(Stream& stream, const ResidualNormsArgs& args);

// kv_append, and tq_encode of a layer's keys and of its values, which are of as many tokens.
// `ready` is called when all has been checked and nothing recorded, and may throw.
void kv_append(Stream& stream, const KvAppendArgs& args, const std::function<void()>& ready);
void tq_encode_kv(Stream& stream, const TqEncodeArgs& k, const TqEncodeArgs& v,
                  const std::function<void()>& ready);

// A layer's projections on their way to attention.
struct QkvRopeArgs {
  HeadNormRopeArgs v = {};  // V's norm; left empty, V is appended as it is
  HeadNormRopeArgs k;
  HeadNormRopeArgs q = {};     // may be left empty
  KvAppendArgs append = {};    // of k.out and v.out
  TqEncodeArgs k_encode = {};  // or these, of a coded cache
  TqEncodeArgs v_encode = {};
};

// The calls in this order, to the bit; k.out and v.out are working memory, and v.x, append.v or
// v_encode.src may be k.x: V is then K before its norm. One kernel on GPUs for f32 projections and
// weights and rows of K and V of one length, in coded or head-major caches.
// Throws as the calls do.
void qkv_rope(Stream& stream, const QkvRopeArgs& args);

// Products of the same x, which a kernel makes together.
struct JointMatmulArgs {
  std::vector<MatmulArgs> parts = {};               // 1 to 3
  std::vector<ExpertMatmulArgs> expert_parts = {};  // or these
  GluArgs glu = {};  // of the parts' outs, which are then working memory; may be left empty
};

// The calls one after the other, to the bit. One kernel on CUDA for weights of codes and scales of
// one format; glu joins it for gelu_tanh and silu. Throws as they do, for other numbers of parts,
// and for outs that overlap another part's operands.
void joint_matmul(Stream& stream, const JointMatmulArgs& args);

}  // namespace mlxn::ops
