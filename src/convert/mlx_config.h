// SPDX-License-Identifier: Apache-2.0
// config.json and generation_config.json of a written model directory.
#pragma once

#include <string>
#include <vector>

#include "convert/plan.h"
#include "mlxn/model_config.h"

namespace mlxn::convert {

// The source's config.json with the `quantization` section that fits the tensors; a section that it
// has already is replaced. Throws kConfig if the text is not an object.
std::string config_for_mlx(const std::string& source_text,
                           const std::vector<PlannedTensor>& tensors, const Encoding& file_level);

// config.json of a text decoder, in the published style, for a model that came from GGUF. Throws
// kConfig naming what the style cannot say.
std::string config_from_model(const ModelConfig& model);

// generation_config.json: token ids and sampling defaults.
std::string generation_config_from_model(const ModelConfig& model);

}  // namespace mlxn::convert
