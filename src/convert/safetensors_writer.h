// SPDX-License-Identifier: Apache-2.0
// Where the arrays of a model directory go: shards, their headers, the index.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "convert/plan.h"

namespace mlxn::convert {

struct Shard {
  std::string name;    // "model.safetensors", "model-00001-of-00003.safetensors"
  std::string header;  // with its length in front
  uint64_t file_bytes = 0;
};

// Sets file and offsets of every tensor. A shard takes tensors in order until it has
// max_shard_bytes; one tensor is never divided. In a shard arrays of larger elements come first, so
// that every array is aligned.
std::vector<Shard> plan_shards(std::vector<PlannedTensor>& tensors, uint64_t max_shard_bytes);

// model.safetensors.index.json.
std::string shard_index(const std::vector<PlannedTensor>& tensors,
                        const std::vector<Shard>& shards);

}  // namespace mlxn::convert
