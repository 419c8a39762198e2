// SPDX-License-Identifier: Apache-2.0
// Formats with blocks of 256, on a random Gemma 3 whose rows are long enough.
#include <random>

#include "convert/test_util.h"

namespace mlxn::convert {
namespace {

constexpr int64_t kHidden = 256;
constexpr int64_t kIntermediate = 288;  // whole blocks of 32, not of 256
constexpr int64_t kVocab = 40;

std::vector<std::pair<std::string, Shape>> shapes() {
  const std::string layer = "model.layers.0.";
  return {{"model.embed_tokens.weight", {kVocab, kHidden}},
          {"model.norm.weight", {kHidden}},
          {layer + "input_layernorm.weight", {kHidden}},
          {layer + "post_attention_layernorm.weight", {kHidden}},
          {layer + "pre_feedforward_layernorm.weight", {kHidden}},
          {layer + "post_feedforward_layernorm.weight", {kHidden}},
          {layer + "self_attn.q_proj.weight", {128, kHidden}},
          {layer + "self_attn.k_proj.weight", {64, kHidden}},
          {layer + "self_attn.v_proj.weight", {64, kHidden}},
          {layer + "self_attn.o_proj.weight", {kHidden, 128}},
          {layer + "self_attn.q_norm.weight", {64}},
          {layer + "self_attn.k_norm.weight", {64}},
          {layer + "mlp.gate_proj.weight", {kIntermediate, kHidden}},
          {layer + "mlp.up_proj.weight", {kIntermediate, kHidden}},
          {layer + "mlp.down_proj.weight", {kHidden, kIntermediate}}};
}

// A directory with random f16 weights.
std::string random_model(const TempDir& dir) {
  nlohmann::ordered_json config = {
      {"model_type", "gemma3_text"},  {"vocab_size", kVocab},
      {"hidden_size", kHidden},       {"intermediate_size", kIntermediate},
      {"num_hidden_layers", 1},       {"num_attention_heads", 2},
      {"num_key_value_heads", 1},     {"head_dim", 64},
      {"query_pre_attn_scalar", 64},  {"sliding_window", 16},
      {"max_position_embeddings", 64}};
  dir.write("in/config.json", config.dump());
  nlohmann::ordered_json header;
  std::string data;
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 0.1f);
  for (const auto& [name, shape] : shapes()) {
    const size_t begin = data.size();
    const int64_t count = shape.size() == 1 ? shape[0] : shape[0] * shape[1];
    for (int64_t i = 0; i < count; ++i) data += checkpoint::raw(to_f16(normal(random)));
    header[name] = {{"dtype", "F16"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  dir.write("in/model.safetensors", checkpoint::raw<uint64_t>(text.size()) + text + data);
  return dir.path("in");
}

std::string type_in(const Checkpoint& checkpoint, const std::string& name) {
  return checkpoint.impl().tensors.find(name)->type_name;
}

TEST(BlockTypes, EncodedAsTheFormatSaysOrReplaced) {
  const TempDir dir;
  const std::string in = random_model(dir);
  const std::vector<float> gate =
      floats_of(Checkpoint::open(in), "model.layers.0.mlp.gate_proj.weight");
  size_t tried = 0;
  for (const std::string& type : quantize_types(OutputFormat::kGguf)) {
    const quant::FormatTraits* traits = quant::find_format(type);
    if (traits->block_elements != 256) continue;
    QuantizeOptions options;
    options.format = OutputFormat::kGguf;
    options.type = type;
    options.overwrite = true;
    options.num_threads = 2;
    const bool has_replacement = type != "q4_k" || quant::find_format("q5_0") != nullptr;
    if (!has_replacement) options.keep = {{"ffn_down|attn_output", "q8_0"}};
    mlxn::quantize(in, dir.path("o.gguf"), options);
    const Checkpoint out = Checkpoint::open(dir.path("o.gguf"));
    std::string want(gate.size() / 256 * static_cast<size_t>(traits->block_bytes), '\0');
    traits->encode_row(gate.data(), static_cast<int64_t>(gate.size()),
                       reinterpret_cast<std::byte*>(want.data()));
    EXPECT_TRUE(bytes_of(out, "blk.0.ffn_gate.weight") == want) << type;
    for (const char* name : {"blk.0.ffn_down.weight", "blk.0.attn_output.weight"}) {
      EXPECT_NE(type_in(out, name), type_in(out, "blk.0.ffn_gate.weight")) << type;
      EXPECT_NE(type_in(out, name), "F16") << type;
    }
    EXPECT_EQ(type_in(out, "blk.0.attn_q_norm.weight"), "F32");
    ++tried;
  }
  EXPECT_GE(tried, 2u);
}

}  // namespace
}  // namespace mlxn::convert
