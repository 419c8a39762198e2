// SPDX-License-Identifier: Apache-2.0
// One run: what is read, what it becomes, and the files that are ready to take values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_impl.h"
#include "convert/output.h"
#include "convert/plan.h"
#include "convert/types.h"

namespace mlxn::convert {

constexpr uint64_t kMaxShardBytes = uint64_t{5} << 30;

struct Conversion {
  const Checkpoint& checkpoint;
  const CheckpointImpl& source;
  const TypeChooser& types;
};

// Files with everything but the tensors' values.
struct WrittenFiles {
  std::vector<PlannedTensor> tensors;
  std::vector<FileWriter> files;  // PlannedTensor::file counts them
};

// directory: exists and is empty.
WrittenFiles prepare_mlx(const Conversion& conversion, const std::string& directory,
                         uint64_t max_shard_bytes, std::vector<std::string>& notes);
// model_name: general.name of a model that came without one.
WrittenFiles prepare_gguf(const Conversion& conversion, const std::string& path,
                          const std::string& model_name, std::vector<std::string>& notes);

// quantize() with a choice of shard size.
QuantizeResult quantize(const std::string& input, const std::string& output,
                        const QuantizeOptions& options, uint64_t max_shard_bytes);

}  // namespace mlxn::convert
