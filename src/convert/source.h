// SPDX-License-Identifier: Apache-2.0
// The tensors of a checkpoint that belong to its text decoder.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint_impl.h"

namespace mlxn::convert {

struct SourceTensor {
  const checkpoint::NameRow* row;  // its line in the family's table of names
  std::string layer;               // "12"; empty: a tensor of the whole model
  std::string name;                // as stored
  const checkpoint::StoredTensor* stored;

  bool is_matrix() const { return row->kind == checkpoint::NameKind::kMatrix; }
};

// In the order of the table, the model's own first, then layer by layer. Left out are tensors that
// the decoder does not use: heads that are tied, keys and values of layers that use those of
// another layer, vision and audio towers, GGUF's rope_freqs. A note says how many and which. Throws
// kSafetensors or kGguf if a tensor is missing.
std::vector<SourceTensor> decoder_tensors(const CheckpointImpl& source,
                                          std::vector<std::string>& notes);

}  // namespace mlxn::convert
