// SPDX-License-Identifier: Apache-2.0
// GGUF models whose tensors do not fit the architecture or their own types.
#include <map>

#include "bad_file.h"
#include "checkpoint/gguf_metadata.h"
#include "checkpoint/gguf_types.h"
#include "quant/registry.h"

namespace mlxn::bad_files {
namespace {

using namespace checkpoint;
using enum ErrorKind;

constexpr uint32_t kF32 = 0, kQ4_0 = 2, kQ8_0 = 8;
constexpr uint64_t kHidden = 256;

struct Tensor {
  std::vector<uint64_t> extents;  // innermost first
  uint32_t type;
};

// A Gemma 3 of one layer of 256 and 8 tokens; a case changes one tensor.
class Model {
 public:
  Model() {
    add("token_embd.weight", {kHidden, 8}, kQ4_0).add("output_norm.weight", {kHidden}, kF32);
    for (const char* norm : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm",
                             "attn_q_norm", "attn_k_norm"}) {
      add(layer(norm), {kHidden}, kF32);
    }
    for (const char* matrix :
         {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
      add(layer(matrix), {kHidden, kHidden}, kQ4_0);
    }
  }
  static std::string layer(const std::string& name) { return "blk.0." + name + ".weight"; }
  Model& add(const std::string& name, std::vector<uint64_t> extents, uint32_t type) {
    tensors_[name] = {std::move(extents), type};
    return *this;
  }
  Model& erase(const std::string& name) {
    tensors_.erase(name);
    return *this;
  }
  // `missing` bytes of the last tensor are not there.
  std::string build(size_t missing = 0) const {
    Metadata metadata = gemma3();
    metadata.u32("block_count", 1).u32("embedding_length", kHidden).u32("context_length", 64);
    metadata.u32("feed_forward_length", kHidden).u32("attention.head_count", 1);
    metadata.u32("attention.key_length", kHidden).u32("vocab_size", 8);
    GgufImage image = metadata.image();
    uint64_t offset = 0, end = 0;
    for (const auto& [name, tensor] : tensors_) {
      image.tensor(name, tensor.extents, tensor.type, offset);
      end = offset + byte_size(tensor);
      offset = (end + 31) / 32 * 32;
    }
    return image.build(end - missing);
  }

 private:
  // Of rows that are no whole number of blocks, the bytes of the blocks that are whole.
  static uint64_t byte_size(const Tensor& tensor) {
    uint64_t count = 1;
    for (const uint64_t extent : tensor.extents) count *= extent;
    const GgufTypeInfo* info = gguf_type_info(tensor.type);
    if (info == nullptr) return count;
    return count / static_cast<uint64_t>(info->block_elements) *
           static_cast<uint64_t>(info->block_bytes);
  }

  std::map<std::string, Tensor> tensors_;
};

BadFile file(const std::string& rule, ErrorKind kind, Step step, const std::string& text,
             std::string image) {
  return {"gguf tensors: " + rule, kind, text, {{"m.gguf", std::move(image)}}, step, "m.gguf"};
}

BadFile at_load(const char* rule, ErrorKind kind, const char* text, const Model& model) {
  return file(rule, kind, Step::kModel, text, model.build());
}

// For every block format: a row that is half a block too long, and data that ends too early.
void add_block_formats(BadFiles& bad) {
  const std::string q = Model::layer("attn_q");
  for (const quant::FormatTraits& traits : quant::formats()) {
    if (traits.gguf_type < 0 || traits.block_elements == 1) continue;
    const auto type = static_cast<uint32_t>(traits.gguf_type);
    const std::string name = gguf_type_name(type);
    const int64_t row = traits.block_elements + traits.block_elements / 2;
    bad.push_back(file("row of " + name, kGguf, Step::kOpen,
                       "m.gguf: tensor \"" + q + "\" row length: found " + std::to_string(row) +
                           ", required a multiple of " + std::to_string(traits.block_elements) +
                           ", the block of " + name,
                       Model().add(q, {static_cast<uint64_t>(row), kHidden}, type).build()));
    const int64_t bytes = 8 * (256 / traits.block_elements) * traits.block_bytes;
    const std::string last = "token_embd.weight";  // in the order of names
    Model cut;
    cut.add(last, {kHidden, 8}, type);
    bad.push_back(file("cut data of " + name, kGguf, Step::kOpen,
                       "m.gguf: tensor \"" + last + "\": found " + std::to_string(bytes - 1) +
                           " bytes of data at offset 265216, required " + std::to_string(bytes) +
                           " bytes",
                       cut.build(1)));
  }
}

// Types that are known by name only, retired or unknown.
void add_unserved_types(BadFiles& bad) {
  for (const uint32_t type : {4u, 9u, 15u, 16u, 24u, 26u, 28u, 34u, 40u, 77u}) {
    const std::string name = gguf_type_name(type);
    bad.push_back(file("type " + name, kUnsupportedDtype, Step::kModel,
                       "m.gguf: tensor \"blk.0.ffn_up.weight\": found " + name +
                           ", required F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, "
                           "Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16, MXFP4",
                       Model().add(Model::layer("ffn_up"), {kHidden, kHidden}, type).build()));
  }
}

}  // namespace

std::string good_gguf() { return Model().build(); }

BadFiles gguf_tensors() {
  const auto layer = [](const char* name) { return Model::layer(name); };
  const auto changed = [&](const char* name, std::vector<uint64_t> extents, uint32_t type) {
    return Model().add(Model::layer(name), std::move(extents), type);
  };
  BadFiles bad = {
      at_load("no token_embd", kGguf,
              "m.gguf: tensor \"embed_tokens\": found nothing, required one of: token_embd.weight",
              Model().erase("token_embd.weight")),
      at_load("no output_norm", kGguf,
              "m.gguf: tensor \"norm.weight\": found nothing, required one of: output_norm.weight",
              Model().erase("output_norm.weight")),
      at_load("no attn_norm", kGguf,
              "m.gguf: tensor \"layers.0.input_layernorm.weight\": found nothing, required one of: "
              "blk.0.attn_norm.weight",
              Model().erase(layer("attn_norm"))),
      at_load("no attn_q", kGguf,
              "m.gguf: tensor \"layers.0.self_attn.q_proj\": found nothing, required one of: "
              "blk.0.attn_q.weight",
              Model().erase(layer("attn_q"))),
      at_load("no attn_k", kGguf,
              "m.gguf: tensor \"layers.0.self_attn.k_proj\": found nothing, required one of: "
              "blk.0.attn_k.weight",
              Model().erase(layer("attn_k"))),
      at_load("no attn_v", kGguf,
              "m.gguf: tensor \"layers.0.self_attn.v_proj\": found nothing, required one of: "
              "blk.0.attn_v.weight",
              Model().erase(layer("attn_v"))),
      at_load("no attn_output", kGguf,
              "m.gguf: tensor \"layers.0.self_attn.o_proj\": found nothing, required one of: "
              "blk.0.attn_output.weight",
              Model().erase(layer("attn_output"))),
      at_load("no attn_q_norm", kGguf,
              "m.gguf: tensor \"layers.0.self_attn.q_norm.weight\": found nothing, required one "
              "of: blk.0.attn_q_norm.weight",
              Model().erase(layer("attn_q_norm"))),
      at_load("no ffn_down", kGguf,
              "m.gguf: tensor \"layers.0.mlp.down_proj\": found nothing, required one of: "
              "blk.0.ffn_down.weight",
              Model().erase(layer("ffn_down"))),
      at_load("attn_q too narrow", kGguf,
              "m.gguf: tensor \"blk.0.attn_q.weight\": found shape [256, 128], required [256, 256]",
              changed("attn_q", {128, 256}, kQ8_0)),
      at_load("attn_k with too few rows", kGguf,
              "m.gguf: tensor \"blk.0.attn_k.weight\": found shape [128, 256], required [256, 256]",
              changed("attn_k", {256, 128}, kQ8_0)),
      at_load("attn_output with too many rows", kGguf,
              "m.gguf: tensor \"blk.0.attn_output.weight\": found shape [512, 256], required [256, "
              "256]",
              changed("attn_output", {256, 512}, kQ4_0)),
      at_load("ffn_up of one extent", kGguf,
              "m.gguf: tensor \"blk.0.ffn_up.weight\": found shape [256], required [256, 256]",
              changed("ffn_up", {256}, kQ4_0)),
      at_load("ffn_gate of three extents", kGguf,
              "m.gguf: tensor \"blk.0.ffn_gate.weight\": found shape [2, 128, 256], required [256, "
              "256]",
              changed("ffn_gate", {256, 128, 2}, kQ4_0)),
      at_load(
          "ffn_down transposed and too long", kGguf,
          "m.gguf: tensor \"blk.0.ffn_down.weight\": found shape [256, 512], required [256, 256]",
          changed("ffn_down", {512, 256}, kQ4_0)),
      at_load("token_embd of three extents", kGguf,
              "m.gguf: tensor \"token_embd.weight\": found shape [2, 4, 256], required [8, 256]",
              Model().add("token_embd.weight", {256, 4, 2}, kQ4_0)),
      at_load("output of another vocabulary", kGguf,
              "m.gguf: tensor \"output.weight\": found shape [9, 256], required [8, 256]",
              Model().add("output.weight", {256, 9}, kQ4_0)),
      at_load("output_norm too short", kGguf,
              "m.gguf: tensor \"output_norm.weight\": found shape [128], required 256 elements",
              Model().add("output_norm.weight", {128}, kF32)),
      at_load(
          "attn_q_norm too long", kGguf,
          "m.gguf: tensor \"blk.0.attn_q_norm.weight\": found shape [512], required 256 elements",
          changed("attn_q_norm", {512}, kF32)),
      at_load("attn_norm quantised", kUnsupportedDtype,
              "m.gguf: tensor \"blk.0.attn_norm.weight\": found Q4_0, required F32, F16 or BF16",
              changed("attn_norm", {256}, kQ4_0)),
      at_load("output_norm of integers", kUnsupportedDtype,
              "m.gguf: tensor \"output_norm.weight\": found I32, required F32, F16 or BF16",
              Model().add("output_norm.weight", {256}, 26)),
      at_load("token_embd of unknown type", kUnsupportedDtype,
              "m.gguf: tensor \"token_embd.weight\": found type 99, required F32, F16, Q4_0, Q4_1, "
              "Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16, MXFP4",
              Model().add("token_embd.weight", {256, 8}, 99)),
  };
  add_block_formats(bad);
  add_unserved_types(bad);
  return bad;
}

}  // namespace mlxn::bad_files
