// SPDX-License-Identifier: Apache-2.0
// Gated MLP: down(gelu_tanh(gate(x)) * up(x)).
#pragma once

#include "mlxn/ops/elementwise.h"
#include "mlxn/stream.h"
#include "mlxn/weight.h"

namespace mlxn::models {

struct MlpWeights {
  Weight gate;  // [I, H]
  Weight up;    // [I, H]
  Weight down;  // [H, I]
};

struct MlpScratch {
  Buffer gate;  // [T, I]
  Buffer up;    // [T, I]
};

// x [T, H] -> out [T, H]; out may not be x.
void mlp(Stream& stream, const MlpWeights& weights, const Buffer& x, const MlpScratch& scratch,
         const Buffer& out);

}  // namespace mlxn::models
