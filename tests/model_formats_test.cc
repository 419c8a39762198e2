// SPDX-License-Identifier: Apache-2.0
// A random Gemma 4 (experts, per-layer inputs, a tied head) in every weight format, from a file.
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "checkpoint/gguf.h"
#include "convert/gguf_writer.h"
#include "golden_kit.h"
#include "mlxn/quantize.h"
#include "quant/blocks.h"
#include "quant/registry.h"

namespace mlxn {
namespace {

using namespace golden;
using nlohmann::ordered_json;

constexpr double kLogitTolerance = 2e-4;  // of the largest logit
constexpr int64_t kWidth = 256;           // of every row, so that the largest blocks fit
constexpr int64_t kVocab = 96;
constexpr int64_t kExperts = 3;
constexpr int64_t kHeadDim = 64;

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mlxn_mf_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

ordered_json config() {
  return {{"model_type", "gemma4_text"},
          {"vocab_size", kVocab},
          {"vocab_size_per_layer_input", kVocab},
          {"hidden_size", kWidth},
          {"hidden_size_per_layer_input", kWidth},
          {"intermediate_size", kWidth},
          {"moe_intermediate_size", kWidth},
          {"enable_moe_block", true},
          {"num_experts", kExperts},
          {"top_k_experts", 2},
          {"num_hidden_layers", 2},
          {"layer_types", {"sliding_attention", "full_attention"}},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", kHeadDim},
          {"global_head_dim", kHeadDim},
          {"sliding_window", 4},
          {"final_logit_softcapping", 30.0},
          {"max_position_embeddings", 128},
          {"tie_word_embeddings", true}};
}

std::map<std::string, Shape> layer_shapes() {
  const int64_t kv = 2 * kHeadDim;
  std::map<std::string, Shape> shapes = {{"self_attn.q_proj.weight", {4 * kHeadDim, kWidth}},
                                         {"self_attn.k_proj.weight", {kv, kWidth}},
                                         {"self_attn.v_proj.weight", {kv, kWidth}},
                                         {"self_attn.o_proj.weight", {kWidth, 4 * kHeadDim}},
                                         {"self_attn.q_norm.weight", {kHeadDim}},
                                         {"self_attn.k_norm.weight", {kHeadDim}},
                                         {"router.proj.weight", {kExperts, kWidth}},
                                         {"router.scale", {kWidth}},
                                         {"router.per_expert_scale", {kExperts}},
                                         {"experts.gate_up_proj", {kExperts, 2 * kWidth, kWidth}},
                                         {"experts.down_proj", {kExperts, kWidth, kWidth}},
                                         {"layer_scalar", {1}}};
  for (const char* name : {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "per_layer_input_gate",
                           "per_layer_projection"}) {
    shapes[std::string(name) + ".weight"] = {kWidth, kWidth};
  }
  for (const char* name :
       {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
        "post_feedforward_layernorm", "post_feedforward_layernorm_1", "pre_feedforward_layernorm_2",
        "post_feedforward_layernorm_2", "post_per_layer_input_norm"}) {
    shapes[std::string(name) + ".weight"] = {kWidth};
  }
  return shapes;
}

std::map<std::string, Shape> model_shapes() {
  std::map<std::string, Shape> shapes = {
      {"model.embed_tokens.weight", {kVocab, kWidth}},
      {"model.embed_tokens_per_layer.weight", {kVocab, 2 * kWidth}},
      {"model.per_layer_model_projection.weight", {2 * kWidth, kWidth}},
      {"model.per_layer_projection_norm.weight", {kWidth}},
      {"model.norm.weight", {kWidth}}};
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    for (const auto& [name, shape] : layer_shapes()) shapes[layer + name] = shape;
  }
  return shapes;
}

// Norms near 1 (those of queries and keys less, for soft attention), rows of about unit length.
void append_values(const std::string& name, const Shape& shape, std::mt19937& random,
                   std::string& data) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  const bool is_head_norm = name.ends_with("q_norm.weight") || name.ends_with("k_norm.weight");
  const float center = shape.size() > 1 ? 0.0f : is_head_norm ? 0.4f : 1.0f;
  std::normal_distribution<float> normal(center, 1.0f / 16.0f);
  for (int64_t i = 0; i < count; ++i) {
    const float value = normal(random);
    data.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

// A directory with f32 weights.
std::string write_float_model(const TempDir& dir) {
  const std::string path = dir.path("float");
  std::filesystem::create_directory(path);
  std::ofstream(path + "/config.json") << config();
  std::mt19937 random(11);
  std::string data;
  ordered_json header;
  for (const auto& [name, shape] : model_shapes()) {
    const size_t begin = data.size();
    append_values(name, shape, random, data);
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  std::ofstream file(path + "/model.safetensors", std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << text << data;
  return path;
}

// Blocks of random codes and scales whose values are about as large as the float model's.
template <typename Block>
void append_blocks(int64_t count, float d, std::mt19937& random, std::string& data) {
  std::uniform_real_distribution<float> factor(0.5f, 1.5f);
  for (int64_t i = 0; i < count; ++i) {
    std::array<uint8_t, sizeof(Block)> bytes;
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    Block block;
    std::memcpy(&block, bytes.data(), sizeof(block));
    block.d = to_f16(d * factor(random));
    data.append(reinterpret_cast<const char*>(&block), sizeof(block));
  }
}

void append_random(Format format, int64_t elements, std::mt19937& random, std::string& data) {
  if (format == Format::kQ3_K) {
    append_blocks<quant::BlockQ3_K>(elements / 256, 1.5e-3f, random, data);
  } else if (format == Format::kIQ4_NL) {
    append_blocks<quant::BlockIQ4_NL>(elements / 32, 9e-4f, random, data);
  } else if (format == Format::kIQ4_XS) {
    append_blocks<quant::BlockIQ4_XS>(elements / 256, 5e-5f, random, data);
  } else {
    throw std::logic_error("a format with an encoder");
  }
}

// A GGUF file of floats with its matrices but the router's replaced.
void write_random_blocks(const std::string& floats, const std::string& path, Format format) {
  const auto source = checkpoint::GgufFile::open(floats);
  const checkpoint::GgufFile::Part& part = source->parts()[0];
  convert::GgufMetadata metadata;
  for (const checkpoint::GgufValue& value : part.header.metadata) metadata.copy(value);
  std::vector<convert::PlannedTensor> tensors;
  for (const checkpoint::GgufTensor& tensor : part.header.tensors) {
    convert::PlannedTensor planned;
    planned.name = tensor.name;
    planned.shape = tensor.shape;
    const bool is_matrix = tensor.shape.size() > 1 && !tensor.name.ends_with("ffn_gate_inp.weight");
    planned.encoding.format = is_matrix ? format : Format::kF32;
    tensors.push_back(planned);
  }
  uint64_t file_bytes = 0;
  std::string image = convert::gguf_header(metadata, tensors, file_bytes);
  std::mt19937 random(5);
  for (size_t i = 0; i < tensors.size(); ++i) {
    image.resize(tensors[i].data_at);
    if (tensors[i].encoding.format == format) {
      append_random(format, tensors[i].rows() * tensors[i].cols(), random, image);
      continue;
    }
    const checkpoint::GgufTensor& stored = part.header.tensors[i];
    const auto bytes = part.file->bytes().subspan(stored.begin, stored.end - stored.begin);
    image.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  image.resize(file_bytes);
  std::ofstream(path, std::ios::binary) << image;
}

struct Case {
  std::string name;
  OutputFormat container = OutputFormat::kGguf;
  std::string type;
  int bits = 4;
  int group_size = 64;
  std::vector<KeepRule> keep = {};
  std::string description;           // what the configuration says
  std::vector<std::string> formats;  // of all matrices, in alphabetical order
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class FormatsTest : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    dir_ = std::make_unique<TempDir>();
    floats_ = write_float_model(*dir_);
  }
  static void TearDownTestSuite() { dir_.reset(); }

  void SetUp() override { path_ = write(); }

  std::string write() const {
    const Case& c = GetParam();
    const bool is_gguf = c.container == OutputFormat::kGguf;
    const std::string path = dir_->path(c.name) + (is_gguf ? ".gguf" : "");
    const quant::FormatTraits* traits = quant::find_format(c.type);
    const bool can_encode = !is_gguf || traits->encode_row != nullptr;
    QuantizeOptions options;
    options.format = c.container;
    options.type = can_encode ? c.type : "f32";
    options.bits = c.bits;
    options.group_size = c.group_size;
    options.keep = c.keep;
    options.overwrite = true;
    options.num_threads = 2;
    const std::string written = can_encode ? path : dir_->path("floats.gguf");
    EXPECT_TRUE(quantize(floats_, written, options).completed);
    if (!can_encode) write_random_blocks(written, path, traits->format);
    return path;
  }

  // A prompt at once, then tokens one by one; the logits of all of them.
  static std::vector<float> run(ModelImpl& model) {
    std::vector<float> logits = all_logits(model, std::vector<int32_t>{2, 17, 5, 90, 33, 8, 71});
    for (const int32_t token : {40, 3, 77}) {
      const auto step = decode_step(model, {&token, 1});
      logits.insert(logits.end(), step.begin(), step.end());
    }
    return logits;
  }
  std::vector<float> run(void (*change)(const Device&, models::GemmaWeights&)) const {
    Edits edits;
    if (change != nullptr) edits.weights = change;
    return run(*build(path_, exact_options(), edits));
  }

  static std::unique_ptr<TempDir> dir_;
  static std::string floats_;
  std::string path_;
};

std::unique_ptr<TempDir> FormatsTest::dir_;
std::string FormatsTest::floats_;

TEST_P(FormatsTest, NearlyWhatItsDequantisedWeightsGive) {
  const auto want = run(dequantise_all);
  const double sensitivity = relative_error(run(dequantise_and_nudge), want);
  const double error = relative_error(run(nullptr), want);
  EXPECT_LT(error, std::max(kLogitTolerance, 4.0 * sensitivity));
  EXPECT_LT(sensitivity, 5e-3);  // else the bound would say nothing
}

TEST_P(FormatsTest, PreparedWeightsDoNotChangeBits) {
  ModelOptions plain = exact_options();
  plain.prepare = false;
  EXPECT_EQ(run(*build(path_, plain)), run(nullptr));
}

TEST_P(FormatsTest, MatricesHaveTheirFormats) {
  const Device device = Device::open("cpu");
  const Checkpoint checkpoint = Checkpoint::open(path_);
  EXPECT_TRUE(checkpoint.warnings().empty()) << checkpoint.warnings()[0];
  EXPECT_EQ(checkpoint.config().quantization.description, GetParam().description);
  std::set<std::string> formats;
  const auto source = models::checkpoint_source(device, checkpoint);
  models::GemmaWeights w = models::load_weights(device, checkpoint.config(), *source, {false, {}});
  for (const Weight* weight :
       {&w.embed_tokens, &w.lm_head, &w.embed_tokens_per_layer, &w.per_layer_model_projection}) {
    formats.emplace(name(weight->format));
  }
  for (const models::GemmaLayerWeights& l : w.layers) {
    for (const Weight* weight :
         {&l.attention.q, &l.attention.k, &l.attention.v, &l.attention.o, &l.mlp.gate, &l.mlp.up,
          &l.mlp.down, &l.moe.experts.gate_up, &l.moe.experts.gate, &l.moe.experts.up,
          &l.moe.experts.down, &l.per_layer_input_gate, &l.per_layer_projection}) {
      if (weight->valid()) formats.emplace(name(weight->format));
    }
  }
  EXPECT_EQ(std::vector<std::string>(formats.begin(), formats.end()), GetParam().formats);
}

TEST_P(FormatsTest, EstimatesAreWhatALoadTakes) {
  const Device device = Device::open("cpu");
  const Checkpoint checkpoint = Checkpoint::open(path_);
  const ModelMemory estimate = estimate_memory(device, checkpoint, exact_options());
  const ModelMemory taken = Model::load(device, checkpoint, exact_options()).memory();
  EXPECT_EQ(estimate.weights, taken.weights);
  EXPECT_EQ(estimate.prepared, taken.prepared);
  // The tensors of the file but the layers' scalars and GGUF's rope_freqs; norms are widened.
  uint64_t stored = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) stored += tensor.byte_len;
  EXPECT_EQ(stored, checkpoint.total_bytes());
  EXPECT_NEAR(static_cast<double>(taken.weights), static_cast<double>(stored), 1000.0);
}

// Matrices of GGUF that the converter leaves as they are unless a rule says otherwise.
constexpr const char* kFloatsByDefault = "inp_gate|[.]proj|per_layer_model_proj";

Case gguf(const std::string& type) {
  const bool can_encode = quant::find_format(type)->encode_row != nullptr;
  return {.name = "gguf_" + type,
          .container = OutputFormat::kGguf,
          .type = type,
          .keep = can_encode ? std::vector<KeepRule>{{kFloatsByDefault, type}}
                             : std::vector<KeepRule>{},
          .description = type,
          .formats = {type}};
}

// What the converter does to routers.
const std::string kRouters = "; some modules affine 8-bit, group 64";

Case mlx(const std::string& type, const std::string& description) {
  return {.name = "mlx_" + type,
          .container = OutputFormat::kMlx,
          .type = type,
          .description = description,
          .formats = {type == "affine" ? type : "mlx_" + type}};
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const quant::FormatTraits& traits : quant::formats()) {
    if (traits.gguf_type >= 0) list.push_back(gguf(std::string(traits.name)));
  }
  list.push_back(mlx("affine", "affine 4-bit, group 64" + kRouters));
  list.push_back(mlx("mxfp4", "mxfp4 4-bit, group 32" + kRouters));
  list.push_back(mlx("mxfp8", "mxfp8 8-bit, group 32" + kRouters));
  list.push_back(mlx("nvfp4", "nvfp4 4-bit, group 16" + kRouters));
  list.push_back({.name = "mlx_mixed",
                  .container = OutputFormat::kMlx,
                  .type = "mxfp4",
                  .keep = {{"self_attn.q_proj", "nvfp4"},
                           {"switch_glu.up_proj", "mxfp8"},
                           {"mlp.up_proj", "5"},
                           {"embed_tokens_per_layer", "bf16"},
                           {"o_proj", "float"}},
                  .description = "mxfp4 4-bit, group 32; some modules affine 5-bit, group 64; "
                                 "affine 8-bit, group 64; mxfp8 8-bit, group 32; "
                                 "nvfp4 4-bit, group 16",
                  .formats = {"affine", "bf16", "f32", "mlx_mxfp4", "mlx_mxfp8", "mlx_nvfp4"}});
  list.push_back({.name = "gguf_mixed",
                  .container = OutputFormat::kGguf,
                  .type = "q4_k",
                  .keep = {{"ffn_down", "q6_k"},
                           {"attn_v", "q5_1"},
                           {"attn_q", "mxfp4"},
                           {"token_embd", "q8_0"},
                           {kFloatsByDefault, "q5_0"}},
                  .description = "q4_k",
                  .formats = {"mxfp4", "q4_k", "q5_0", "q5_1", "q6_k", "q8_0"}});
  return list;
}

INSTANTIATE_TEST_SUITE_P(All, FormatsTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mlxn
