// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/mlp.h"

#include "ops/fused.h"

namespace mlxn::models {

void mlp(Stream& stream, const MlpWeights& weights, const Buffer& x, const MlpScratch& scratch,
         const Buffer& out) {
  ops::joint_matmul(stream, {.parts = {{.x = x, .weight = weights.gate, .out = scratch.gate},
                                       {.x = x, .weight = weights.up, .out = scratch.up}},
                             .glu = {.gate = scratch.gate,
                                     .up = scratch.up,
                                     .out = scratch.gate,
                                     .activation = ops::Activation::kGeluTanh}});
  ops::matmul(stream, {.x = scratch.gate, .weight = weights.down, .out = out});
}

}  // namespace mlxn::models
