// SPDX-License-Identifier: Apache-2.0
// config.json, its quantization section included, and, behind a zero byte, generation_config.json.
#include "checkpoint/config.h"

#include <string>

#include "checkpoint/json.h"
#include "checkpoint/quant_config.h"
#include "mlxn/model_config.h"
#include "tests/fuzz/harness.h"

namespace mlxn::fuzz {
namespace {

// What a model may rely on once its configuration was accepted.
void check_promises(const ModelConfig& config) {
  require(config.num_layers() >= 1 && config.num_heads >= 1, "layers and heads");
  for (const LayerConfig& layer : config.layers) {
    require(layer.num_kv_heads >= 1 && config.num_heads % layer.num_kv_heads == 0,
            "query heads in whole groups");
    require(layer.head_dim >= 8 && layer.head_dim <= 512 && layer.head_dim % 8 == 0, "a head dim");
    require(layer.kv_shared_from < config.num_layers(), "a layer to share with");
    rope_divisors(config.rope(layer.type), layer.head_dim);
  }
  require(config.moe.num_experts == 0 || config.moe.top_k <= config.moe.num_experts,
          "fewer chosen experts than experts");
}

}  // namespace
}  // namespace mlxn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mlxn;
  const fuzz::Limits limits(size);
  const auto [config_text, generation_text] = fuzz::split_input(data, size);
  fuzz::expect_typed({ErrorKind::kConfig, ErrorKind::kQuantConfig, ErrorKind::kUnsupportedDtype},
                     [&, &config_text = config_text, &generation_text = generation_text] {
                       const auto config = checkpoint::Json::parse(config_text, "config.json");
                       const auto generation =
                           generation_text.empty()
                               ? checkpoint::Json()
                               : checkpoint::Json::parse(generation_text, "generation_config.json");
                       const auto quant = checkpoint::QuantConfig::read(config);
                       quant.describe();
                       for (const char* path : {"language_model.model.embed_tokens",
                                                "model.layers.0.mlp.down_proj", "lm_head"}) {
                         if (const auto params = quant.find(path)) quant.check(*params, path);
                       }
                       fuzz::check_promises(checkpoint::config_from_json(config, generation));
                     });
  limits.check();
  return 0;
}
