// SPDX-License-Identifier: Apache-2.0
// What stands behind mlxn::Checkpoint.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/gguf.h"
#include "checkpoint/names.h"
#include "checkpoint/quant_config.h"
#include "checkpoint/tensor_table.h"
#include "mlxn/checkpoint.h"

namespace mlxn {

struct CheckpointImpl {
  CheckpointKind kind = CheckpointKind::kSafetensors;
  std::string path;
  ModelConfig config;
  checkpoint::TensorTable tensors;
  checkpoint::QuantConfig quant;
  std::shared_ptr<const checkpoint::GgufFile> gguf;  // null for safetensors
  std::unique_ptr<checkpoint::NameMap> names;
  std::vector<std::string> warnings;
};

}  // namespace mlxn
