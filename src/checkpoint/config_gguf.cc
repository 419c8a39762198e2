// SPDX-License-Identifier: Apache-2.0
// GGUF metadata of the Gemma family.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "checkpoint/config.h"
#include "checkpoint/fail.h"
#include "checkpoint/gguf_types.h"
#include "checkpoint/load_tensor.h"

namespace mlxn::checkpoint {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
constexpr int64_t kGemma3Period = 6;  // every sixth layer of Gemma 3 is full
constexpr int64_t kGemma3LayersOf27B = 62;
constexpr int64_t kControlToken = 3;  // tokenizer.ggml.token_type
// Control tokens that end a turn, whatever the file calls "eos".
constexpr std::array<std::string_view, 5> kTurnEnds = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>",
                                                       "<turn|>", "<|endoftext|>"};

class Reader {
 public:
  Reader(const GgufFile& gguf, const TensorTable& tensors) : gguf_(gguf), tensors_(tensors) {}

  ModelConfig read() {
    const std::string& architecture = gguf_.architecture();
    if (architecture != "gemma3" && architecture != "gemma4") {
      fail(ErrorKind::kConfig, gguf_.path(), "general.architecture", in_quotes(architecture),
           supported_models());
    }
    c_.family = architecture == "gemma3" ? ModelFamily::kGemma3 : ModelFamily::kGemma4;
    c_.model_type = architecture;
    c_.model_name = gguf_.text("general.name").value_or("");
    if (const auto type = gguf_.integer("general.file_type", 0, kMaxInt)) {
      c_.quantization.file_type = gguf_file_type_name(*type);
    }
    read_common();
    if (c_.family == ModelFamily::kGemma3) {
      read_gemma3();
    } else {
      read_gemma4();
    }
    read_tokens();
    read_sampling();
    check_config(c_, gguf_.path());
    set_float_dtype(c_, DType::kF32);
    return std::move(c_);
  }

 private:
  std::string key(std::string_view suffix) const {
    return gguf_.architecture() + "." + std::string(suffix);
  }

  [[noreturn]] void reject(const std::string& field, std::string found,
                           std::string required) const {
    fail(ErrorKind::kConfig, gguf_.path(), field, std::move(found), std::move(required));
  }

  int64_t integer_or(std::string_view suffix, int64_t fallback, int64_t min, int64_t max) const {
    return gguf_.integer(key(suffix), min, max).value_or(fallback);
  }

  int64_t required(std::string_view suffix, int64_t min, int64_t max) const {
    const auto value = gguf_.integer(key(suffix), min, max);
    if (!value) reject(key(suffix), "nothing", fmt::format("an integer from {} to {}", min, max));
    return *value;
  }

  double number_or(std::string_view suffix, double fallback) const {
    return gguf_.number(key(suffix)).value_or(fallback);
  }

  template <typename T>
  void check_per_layer(std::string_view suffix, const std::vector<T>& values) const {
    if (values.size() != c_.layers.size()) {
      reject(key(suffix), fmt::format("{} values", values.size()),
             fmt::format("{}, one per layer", c_.layers.size()));
    }
  }

  // One integer for all layers, or an array with one per layer.
  std::vector<int64_t> per_layer(std::string_view suffix, int64_t min, int64_t max) const {
    if (!gguf_.is_array(key(suffix))) {
      return std::vector<int64_t>(c_.layers.size(), required(suffix, min, max));
    }
    std::vector<int64_t> values = *gguf_.integers(key(suffix), min, max);
    check_per_layer(suffix, values);
    return values;
  }

  int64_t vocab_size() const {
    const auto stated = gguf_.integer(key("vocab_size"), 1, kMaxVocab);
    const GgufValue* tokens = gguf_.find("tokenizer.ggml.tokens");
    const StoredTensor* table = tensors_.find("token_embd.weight");
    if (table != nullptr && table->shape.size() == 2) {
      const int64_t rows = table->shape[0];
      if (tokens != nullptr && static_cast<int64_t>(tokens->count) > rows) {
        reject("tokenizer.ggml.tokens", fmt::format("{} tokens", tokens->count),
               fmt::format("at most {}, the rows of token_embd.weight", rows));
      }
      return rows;
    }
    if (stated) return *stated;
    if (tokens == nullptr || tokens->count == 0) {
      reject(key("vocab_size"), "nothing", "a size, a token list or token_embd.weight");
    }
    return static_cast<int64_t>(tokens->count);
  }

  void read_common() {
    c_.layers.resize(static_cast<size_t>(required("block_count", 1, kMaxLayers)));
    c_.hidden_size = required("embedding_length", 1, kMaxWidth);
    c_.max_position_embeddings = required("context_length", 1, kMaxPositions);
    c_.vocab_size = vocab_size();
    const std::vector<int64_t> heads = per_layer("attention.head_count", 1, kMaxHeads);
    c_.num_heads = heads[0];
    const auto other =
        std::find_if(heads.begin(), heads.end(), [&](int64_t h) { return h != heads[0]; });
    if (other != heads.end()) {
      reject(key("attention.head_count"), fmt::format("{} and {}", heads[0], *other),
             "the same in every layer");
    }
    const std::vector<int64_t> kv_heads = gguf_.find(key("attention.head_count_kv")) != nullptr
                                              ? per_layer("attention.head_count_kv", 1, kMaxHeads)
                                              : heads;
    const std::vector<int64_t> widths = per_layer("feed_forward_length", 1, kMaxWidth);
    for (size_t i = 0; i < c_.layers.size(); ++i) {
      c_.layers[i].num_kv_heads = kv_heads[i];
      c_.layers[i].intermediate_size = widths[i];
    }
    c_.rms_norm_eps = number_or("attention.layer_norm_rms_epsilon", 1e-6);
    c_.window_size = integer_or("attention.sliding_window", 0, 0, kMaxInt);
    c_.final_logits_soft_cap = number_or("final_logit_softcapping", 0.0);
    c_.attn_logits_soft_cap = number_or("attn_logit_softcapping", 0.0);
    c_.tie_word_embeddings = tensors_.find("output.weight") == nullptr;
    c_.norm_weight_offset = 0.0f;  // the converter stores what Gemma 3 multiplies by, 1 + w
    c_.rope_full.theta = number_or("rope.freq_base", 1e6);
    c_.rope_sliding.theta = number_or("rope.freq_base_swa", 1e4);
    const std::string scaling = gguf_.text(key("rope.scaling.type")).value_or("none");
    if (scaling == "linear") {
      c_.rope_full.kind = RopeKind::kLinear;
      c_.rope_full.factor = number_or("rope.scaling.factor", 1.0);
    } else if (scaling != "none") {
      reject(key("rope.scaling.type"), in_quotes(scaling), "\"none\" or \"linear\"");
    }
  }

  // Head dim under `length_key`; value length and rotated width must agree with it.
  int64_t head_dim(std::string_view swa, int64_t fallback) const {
    const std::string end(swa);
    const int64_t dim = integer_or("attention.key_length" + end, fallback, 1, kMaxHeadDim);
    for (const std::string& other :
         {"attention.value_length" + end, "rope.dimension_count" + end}) {
      const int64_t value = integer_or(other, dim, 1, kMaxHeadDim);
      if (value != dim) {
        reject(key(other), std::to_string(value), fmt::format("{}, the key length", dim));
      }
    }
    return dim;
  }

  void read_gemma3() {
    const int64_t per_head = c_.hidden_size / c_.num_heads;
    const int64_t dim = head_dim("", per_head);
    const bool has_window = c_.window_size > 0;
    for (size_t i = 0; i < c_.layers.size(); ++i) {
      const bool is_full = !has_window || (i + 1) % kGemma3Period == 0;
      c_.layers[i].type = is_full ? LayerType::kFull : LayerType::kSliding;
      c_.layers[i].head_dim = dim;
    }
    const int64_t scalar = c_.num_layers() == kGemma3LayersOf27B ? per_head : dim;
    c_.softmax_scale = 1.0 / std::sqrt(static_cast<double>(scalar));
  }

  void read_gemma4() {
    const auto pattern = gguf_.booleans(key("attention.sliding_window_pattern"));
    if (!pattern) {
      reject(key("attention.sliding_window_pattern"), "nothing", "one bool per layer");
    }
    check_per_layer("attention.sliding_window_pattern", *pattern);
    const int64_t full_dim = head_dim("", c_.hidden_size / c_.num_heads);
    const int64_t sliding_dim = head_dim("_swa", full_dim);
    for (size_t i = 0; i < c_.layers.size(); ++i) {
      LayerConfig& layer = c_.layers[i];
      layer.type = (*pattern)[i] ? LayerType::kSliding : LayerType::kFull;
      layer.head_dim = (*pattern)[i] ? sliding_dim : full_dim;
    }
    c_.softmax_scale = 1.0;
    share_kv_layers(c_, integer_or("attention.shared_kv_layers", 0, 0, kMaxInt), gguf_.path());
    for (size_t i = 0; i < c_.layers.size(); ++i) {
      LayerConfig& layer = c_.layers[i];
      layer.k_eq_v = layer.type == LayerType::kFull && layer.kv_shared_from < 0 &&
                     tensors_.find(fmt::format("blk.{}.attn_v.weight", i)) == nullptr;
    }
    read_rope_freqs(full_dim);
    read_per_layer_inputs();
    read_moe();
  }

  // Gemma 4 expresses its proportional rotation through these divisors.
  void read_rope_freqs(int64_t full_dim) {
    if (tensors_.find("rope_freqs.weight") == nullptr) {
      reject("rope_freqs.weight", "nothing", fmt::format("{} divisors", full_dim / 2));
    }
    c_.rope_full.freq_factors = load_floats(tensors_, "rope_freqs.weight", full_dim / 2);
  }

  void read_per_layer_inputs() {
    c_.per_layer_input_size = integer_or("embedding_length_per_layer_input", 0, 0, kMaxWidth);
    if (c_.per_layer_input_size == 0) return;
    const StoredTensor* table = tensors_.find("per_layer_token_embd.weight");
    c_.per_layer_input_vocab_size =
        table != nullptr && table->shape.size() == 2 ? table->shape[0] : c_.vocab_size;
  }

  void read_moe() {
    c_.moe.num_experts = integer_or("expert_count", 0, 0, kMaxExperts);
    if (c_.moe.num_experts == 0) return;
    c_.moe.top_k = required("expert_used_count", 1, c_.moe.num_experts);
    c_.moe.intermediate_size = required("expert_feed_forward_length", 1, kMaxWidth);
  }

  void read_tokens() {
    std::set<int64_t> ends;
    for (const char* name : {"eos", "eot", "eom"}) {
      const auto id = gguf_.integer(fmt::format("tokenizer.ggml.{}_token_id", name), 0, kMaxVocab);
      if (id) ends.insert(*id);
    }
    const auto tokens = gguf_.texts("tokenizer.ggml.tokens");
    const auto types = gguf_.integers("tokenizer.ggml.token_type", 0, kMaxInt);
    if (tokens && types) {
      const size_t count = std::min(tokens->size(), types->size());
      for (size_t id = 0; id < count; ++id) {
        if ((*types)[id] == kControlToken &&
            std::find(kTurnEnds.begin(), kTurnEnds.end(), (*tokens)[id]) != kTurnEnds.end()) {
          ends.insert(static_cast<int64_t>(id));
        }
      }
    }
    c_.eos_token_ids.assign(ends.begin(), ends.end());
    c_.bos_token_id = gguf_.integer("tokenizer.ggml.bos_token_id", 0, kMaxVocab);
    c_.pad_token_id = gguf_.integer("tokenizer.ggml.padding_token_id", 0, kMaxVocab);
    c_.suppress_tokens = gguf_.integers("tokenizer.ggml.suppress_tokens", 0, kMaxVocab)
                             .value_or(std::vector<int64_t>{});
  }

  void read_sampling() {
    c_.sampling.temperature = gguf_.number("general.sampling.temp");
    c_.sampling.top_k = gguf_.integer("general.sampling.top_k", 0, kMaxInt);
    c_.sampling.top_p = gguf_.number("general.sampling.top_p");
  }

  const GgufFile& gguf_;
  const TensorTable& tensors_;
  ModelConfig c_;
};

}  // namespace

ModelConfig config_from_gguf(const GgufFile& gguf, const TensorTable& tensors) {
  return Reader(gguf, tensors).read();
}

}  // namespace mlxn::checkpoint
