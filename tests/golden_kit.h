// SPDX-License-Identifier: Apache-2.0
// Reads the goldens and builds models whose configuration or weights a test may change first.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "backends/test_kit.h"
#include "mlxn/checkpoint.h"
#include "mlxn/ops/dequantize.h"
#include "models/host_copy.h"
#include "models/model_impl.h"

namespace mlxn::golden {

// A model of tests/goldens, with a slash a path from the root of the source tree, or any absolute
// path.
inline std::string path_of(const std::string& model) {
  if (model.starts_with('/')) return model;
  const std::string folder = model.find('/') == std::string::npos ? "tests/goldens/" : "";
  return std::string(MLXN_SOURCE_DIR) + "/" + folder + model;
}

// Tensors of a golden file.
class Golden {
 public:
  explicit Golden(const std::string& model, const std::string& file = "golden.safetensors") {
    std::ifstream stream(path_of(model) + "/" + file, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(stream), {});
    if (bytes_.size() < 8) throw std::runtime_error("no golden for " + model);
    uint64_t header = 0;
    std::memcpy(&header, bytes_.data(), 8);
    json_ = nlohmann::json::parse(bytes_.begin() + 8,
                                  bytes_.begin() + 8 + static_cast<int64_t>(header));
    base_ = 8 + header;
  }

  bool has(const std::string& name) const { return json_.contains(name); }
  Shape shape(const std::string& name) const { return json_.at(name).at("shape"); }
  std::vector<float> floats(const std::string& name) const { return read<float>(name, "F32"); }
  std::vector<int32_t> ints(const std::string& name) const { return read<int32_t>(name, "I32"); }
  std::vector<int32_t> prompt(int p) const { return ints("ids_" + std::to_string(p)); }

 private:
  template <typename T>
  std::vector<T> read(const std::string& name, const char* dtype) const {
    const nlohmann::json& entry = json_.at(name);
    EXPECT_EQ(entry.at("dtype"), dtype) << name;
    const size_t begin = entry.at("data_offsets").at(0);
    const size_t end = entry.at("data_offsets").at(1);
    std::vector<T> out((end - begin) / sizeof(T));
    std::memcpy(out.data(), bytes_.data() + base_ + begin, end - begin);
    return out;
  }

  std::vector<char> bytes_;
  nlohmann::json json_;
  size_t base_ = 0;
};

struct Edits {
  std::function<void(ModelConfig&)> config = {};  // before weights are loaded
  std::function<void(const Device&, models::GemmaWeights&)> weights = {};  // after
  std::function<void(ModelConfig&)> config_after_load = {};                // what the decoder sees
};

inline std::unique_ptr<ModelImpl> build(const std::string& model, ModelOptions options = {},
                                        const Edits& edits = {}, int num_threads = 2) {
  const Device device = test_device("", num_threads, false);
  const Checkpoint checkpoint = Checkpoint::open(path_of(model));
  ModelConfig config = checkpoint.config();
  if (edits.config) edits.config(config);
  const auto source = models::checkpoint_source(device, checkpoint);
  models::GemmaWeights weights =
      models::load_weights(device, config, *source, {options.prepare, {}});
  if (edits.weights) edits.weights(device, weights);
  if (edits.config_after_load) edits.config_after_load(config);
  return std::make_unique<ModelImpl>(device, config, std::move(weights), std::move(options),
                                     checkpoint.warnings());
}

// The weight as plain f32, so that only dense kernels run.
inline void dequantise(const Device& device, Weight& weight) {
  if (!weight.valid()) return;
  Weight wide;
  wide.shape = weight.shape;
  wide.data = device.alloc(f32, weight.shape);
  Stream stream(device);
  ops::dequantize(stream, {.weight = weight, .out = wide.data});
  stream.commit().wait();
  weight = wide;
}

inline void dequantise_all(const Device& device, models::GemmaWeights& w) {
  for (Weight* weight :
       {&w.embed_tokens, &w.lm_head, &w.embed_tokens_per_layer, &w.per_layer_model_projection}) {
    dequantise(device, *weight);
  }
  for (models::GemmaLayerWeights& l : w.layers) {
    for (Weight* weight : {&l.attention.q, &l.attention.k, &l.attention.v, &l.attention.o,
                           &l.mlp.gate, &l.mlp.up, &l.mlp.down, &l.moe.router,
                           &l.moe.experts.gate_up, &l.moe.experts.gate, &l.moe.experts.up,
                           &l.moe.experts.down, &l.per_layer_input_gate, &l.per_layer_projection}) {
      dequantise(device, *weight);
    }
  }
}

// How far integer kernels, with their activations of 15 bits, may move the logits depends on the
// model: random ones with sharp attention enlarge a change 40 to 80 times. The measure is the model
// itself: what a change of at most 2^-15 in the input norms alone does to it in f32.
inline void dequantise_and_nudge(const Device& device, models::GemmaWeights& weights) {
  dequantise_all(device, weights);
  for (models::GemmaLayerWeights& layer : weights.layers) {
    std::vector<float> norm = models::copy_out<float>(device, layer.input_norm);
    for (size_t i = 0; i < norm.size(); ++i) {
      norm[i] *= 1.0f + (static_cast<float>(i * 7 % 5) - 2.0f) * 0x1p-16f;
    }
    device.upload(layer.input_norm, norm.data());
  }
}

inline ModelOptions exact_options(int64_t chunk = 64, int batch = 1) {
  return {.max_context = 128, .batch = batch, .kv_type = f32, .prefill_chunk = chunk};
}

inline std::vector<float> all_logits(ModelImpl& model, std::span<const int32_t> ids) {
  std::vector<float> out(ids.size() * static_cast<size_t>(model.config().vocab_size));
  model.reset();
  model.prefill(0, ids, out.data());
  return out;
}

inline std::vector<float> last_logits(ModelImpl& model, int64_t rows = 1) {
  return models::copy_out<float>(model.device(), model.decoder().scratch().logits(rows));
}

inline std::vector<float> decode_step(ModelImpl& model, std::span<const int32_t> tokens) {
  const auto rows = static_cast<int64_t>(tokens.size());
  model.set_step_tokens(tokens);
  model.queue_decode(rows);
  model.stream().commit().wait();
  model.advance(rows);
  return last_logits(model, rows);
}

inline int32_t argmax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Largest difference, relative to the largest magnitude of `want`. NaN counts as infinite.
inline double relative_error(std::span<const float> got, std::span<const float> want) {
  EXPECT_EQ(got.size(), want.size());
  double largest = 0.0;
  double worst = 0.0;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
    const double difference = std::abs(static_cast<double>(got[i]) - want[i]);
    worst = std::isfinite(difference) ? std::max(worst, difference) : INFINITY;
  }
  return worst / largest;
}

}  // namespace mlxn::golden
