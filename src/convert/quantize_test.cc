// SPDX-License-Identifier: Apache-2.0
// Whole runs on the golden models, read back by the loaders.
#include <cmath>
#include <set>

#include "checkpoint/names.h"
#include "checkpoint/safetensors.h"
#include "convert/conversion.h"
#include "convert/test_util.h"
#include "quant/affine.h"
#include "quant/mlx_fp.h"

namespace mlxn::convert {
namespace {

QuantizeOptions gguf(const std::string& type) {
  QuantizeOptions options;
  options.format = OutputFormat::kGguf;
  options.type = type;
  options.num_threads = 2;
  return options;
}

QuantizeOptions mlx(int bits, int group_size) {
  QuantizeOptions options;
  options.bits = bits;
  options.group_size = group_size;
  options.num_threads = 2;
  return options;
}

// Golden models whose configuration GGUF can express.
const char* const kGemma4Models[] = {"gemma4_dense", "gemma4_dense_null", "gemma4_e", "gemma4_moe",
                                     "gemma4_moe_ple"};

// The stored tensor of `checkpoint` that stands for `canonical`.
const checkpoint::StoredTensor* find(const Checkpoint& checkpoint, const std::string& canonical) {
  const CheckpointImpl& impl = checkpoint.impl();
  const auto module = impl.names->module(canonical);
  const auto plain = impl.names->plain(canonical);
  if (!module && !plain) return nullptr;
  return impl.tensors.find(module ? module->weight : *plain);
}

std::vector<std::string> canonical_names(const ModelConfig& config) {
  std::vector<std::string> names;
  for (const checkpoint::NameRow& row : checkpoint::name_rows(config.family)) {
    if (row.scope == checkpoint::NameScope::kModel) {
      names.emplace_back(row.canonical);
      continue;
    }
    for (int64_t i = 0; i < config.num_layers(); ++i) {
      names.push_back("layers." + std::to_string(i) + "." + std::string(row.canonical));
    }
  }
  return names;
}

TEST(QuantizeGguf, EveryTensorIsEncodedAsTheFormatSays) {
  for (const std::string& type : quantize_types(OutputFormat::kGguf)) {
    const quant::FormatTraits* traits = quant::find_format(type);
    if (traits->block_elements > 32) continue;  // rows of the golden models are shorter
    for (const char* model : kGemma4Models) {
      const TempDir dir;
      const QuantizeResult result = mlxn::quantize(golden(model), dir.path("out.gguf"), gguf(type));
      EXPECT_TRUE(result.completed);
      const Checkpoint in = Checkpoint::open(golden(model));
      const Checkpoint out = Checkpoint::open(dir.path("out.gguf"));
      EXPECT_TRUE(out.warnings().empty()) << out.warnings()[0];
      size_t encoded = 0;
      for (const std::string& name : canonical_names(in.config())) {
        const checkpoint::StoredTensor* written = find(out, name);
        if (written == nullptr || name == "rope_freqs") continue;
        const std::vector<float> values = floats_of(*find(in, name));
        const quant::FormatTraits* format = stored_format(*written);
        const bool is_wide = written->shape.size() > 1 && !name.ends_with("router.proj") &&
                             name != "per_layer_model_projection";
        EXPECT_EQ(format->name, is_wide ? type : "f32") << name;
        std::vector<std::byte> want(written->bytes.size());
        const int64_t cols = written->shape.back();
        const int64_t row_bytes = quant::row_bytes(format->format, 0, cols);
        for (int64_t row = 0; row * cols < static_cast<int64_t>(values.size()); ++row) {
          format->encode_row(values.data() + row * cols, cols, want.data() + row * row_bytes);
        }
        EXPECT_TRUE(
            std::equal(want.begin(), want.end(), written->bytes.begin(), written->bytes.end()))
            << model << " " << type << " " << name;
        ++encoded;
      }
      EXPECT_GE(encoded + 1, out.tensors().size());
    }
  }
}

TEST(QuantizeGguf, Gemma3NormsAreStoredWithTheirOne) {
  const TempDir dir;
  const std::string source = edited_golden(dir, "gemma3", [](auto& config) {
    config["query_pre_attn_scalar"] = config["head_dim"];
    config["sliding_window_pattern"] = 6;
  });
  mlxn::quantize(source, dir.path("out.gguf"), gguf("q8_0"));
  const Checkpoint in = Checkpoint::open(source), out = Checkpoint::open(dir.path("out.gguf"));
  EXPECT_EQ(out.config().rope_full.factor, 8.0);
  std::vector<float> want = floats_of(in, "model.layers.1.self_attn.q_norm.weight");
  for (float& value : want) value += 1.0f;
  EXPECT_EQ(floats_of(out, "blk.1.attn_q_norm.weight"), want);
  // And back again, as far as 1 + w in f32 keeps them.
  mlxn::quantize(source, dir.path("wide.gguf"), gguf("f32"));
  QuantizeOptions options;
  options.type = "float";
  mlxn::quantize(dir.path("wide.gguf"), dir.path("back"), options);
  const Checkpoint back = Checkpoint::open(dir.path("back"));
  const std::vector<float> norm = floats_of(back, "model.layers.1.self_attn.q_norm.weight");
  ASSERT_EQ(norm.size(), want.size());
  for (size_t i = 0; i < norm.size(); ++i) EXPECT_NEAR(norm[i], want[i] - 1.0f, 2e-7f);
  EXPECT_EQ(floats_of(back, "model.layers.1.self_attn.q_proj.weight"),
            floats_of(in, "model.layers.1.self_attn.q_proj.weight"));
}

TEST(QuantizeGguf, WhatTheFormatCannotSayIsRefusedBeforeTheWork) {
  const TempDir dir;
  size_t calls = 0;
  QuantizeOptions options = gguf("q8_0");
  options.progress = [&](const QuantizeProgress& progress) {
    calls += progress.bytes_done > 0 ? 1 : 0;
    return true;
  };
  expect_error([&] { mlxn::quantize(golden("gemma3"), dir.path("out.gguf"), options); },
               ErrorKind::kConfig, "attention scale");
  const std::string pattern = edited_golden(
      dir, "gemma3", [](auto& config) { config["query_pre_attn_scalar"] = config["head_dim"]; });
  expect_error([&] { mlxn::quantize(pattern, dir.path("out.gguf"), options); }, ErrorKind::kConfig,
               "layer_types of layer 2");
  EXPECT_EQ(calls, 0u);
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"edited_gemma3"});
}

TEST(QuantizeGguf, FromGgufMetadataAndTensorsAreKept) {
  const TempDir dir;
  const std::string demo = std::string(MLXN_SOURCE_DIR) + "/demo/model-q4_0.gguf";
  mlxn::quantize(demo, dir.path("out.gguf"), gguf("q4_0"));
  const Checkpoint in = Checkpoint::open(demo), out = Checkpoint::open(dir.path("out.gguf"));
  ASSERT_EQ(out.tensors().size(), in.tensors().size());
  for (const TensorInfo& tensor : in.tensors()) {
    EXPECT_TRUE(bytes_of(out, tensor.name) == bytes_of(in, tensor.name)) << tensor.name;
  }
  std::set<std::string> keys;
  for (const auto& value : out.impl().gguf->parts()[0].header.metadata) {
    keys.emplace(value.key);
  }
  for (const auto& value : in.impl().gguf->parts()[0].header.metadata) {
    EXPECT_EQ(keys.count(std::string(value.key)), 1u) << value.key;
    const checkpoint::GgufValue* copy = out.impl().gguf->find(value.key);
    ASSERT_NE(copy, nullptr) << value.key;
    EXPECT_TRUE(
        std::equal(copy->data.begin(), copy->data.end(), value.data.begin(), value.data.end()))
        << value.key;
  }
}

TEST(QuantizeMlx, NamesConfigAndValues) {
  for (const char* model : kGemma4Models) {
    const TempDir dir;
    QuantizeOptions options = mlx(8, 32);
    options.measure_errors = true;
    const QuantizeResult result = mlxn::quantize(golden(model), dir.path("out"), options);
    const Checkpoint in = Checkpoint::open(golden(model)), out = Checkpoint::open(dir.path("out"));
    EXPECT_TRUE(out.warnings().empty()) << out.warnings()[0];
    EXPECT_EQ(out.config().float_dtype, in.config().float_dtype);
    EXPECT_EQ(out.config().quantization.bits, 8);
    for (const QuantizedTensor& tensor : result.tensors) {
      const bool is_affine = tensor.type.starts_with("affine");
      EXPECT_EQ(is_affine, tensor.shape.size() > 1) << tensor.name;
      EXPECT_LT(tensor.relative_rms_error, 0.01) << tensor.name;
      EXPECT_EQ(tensor.relative_rms_error > 0.0, is_affine) << tensor.name;
      EXPECT_EQ(tensor.max_abs_error > 0.0, is_affine) << tensor.name;
    }
  }
}

// Compares the arrays whose names begin with `label` with those of `module` in the output.
size_t compare_with_mlx(const std::string& label, const Checkpoint& out,
                        const std::string& module) {
  const checkpoint::SafetensorsFile fixture = checkpoint::SafetensorsFile::open(
      std::string(MLXN_SOURCE_DIR) + "/src/convert/testdata/mlx_cpu.safetensors");
  size_t compared = 0;
  for (const checkpoint::SafetensorsTensor& tensor : fixture.tensors) {
    if (!tensor.name.starts_with(label + ".")) continue;
    const auto* written = out.impl().tensors.find(module + tensor.name.substr(label.size()));
    EXPECT_NE(written, nullptr) << tensor.name;
    if (written == nullptr) continue;
    EXPECT_EQ(written->shape, tensor.shape) << tensor.name;
    EXPECT_EQ(written->type_name, tensor.type_name) << tensor.name;
    const auto want = fixture.bytes_of(tensor);
    EXPECT_TRUE(std::equal(want.begin(), want.end(), written->bytes.begin(), written->bytes.end()))
        << tensor.name;
    ++compared;
  }
  return compared;
}

TEST(QuantizeMlx, CpuRecipeHasTheBitsOfMlx) {
  for (const int bits : {3, 4}) {
    const TempDir dir;
    QuantizeOptions options = mlx(bits, 32);
    options.recipe = QuantizeRecipe::kCpu;
    mlxn::quantize(golden("gemma4_dense"), dir.path("out"), options);
    EXPECT_EQ(compare_with_mlx(std::to_string(bits), Checkpoint::open(dir.path("out")),
                               "model.layers.0.mlp.down_proj"),
              3u);
  }
}

TEST(QuantizeMlx, FpModesHaveTheBitsOfMlx) {
  for (const char* mode : {"mxfp4", "mxfp8", "nvfp4"}) {
    const TempDir dir;
    QuantizeOptions options;
    options.type = mode;
    mlxn::quantize(golden("gemma3"), dir.path("out"), options);
    EXPECT_EQ(
        compare_with_mlx(mode, Checkpoint::open(dir.path("out")), "model.layers.0.mlp.up_proj"),
        2u);
  }
}

TEST(QuantizeMlx, FpModes) {
  for (const char* mode : {"mxfp4", "mxfp8", "nvfp4"}) {
    const TempDir dir;
    QuantizeOptions options;
    options.type = mode;
    options.keep = {{"up_proj", "affine"}, {"o_proj", "nvfp4"}};
    mlxn::quantize(golden("gemma4_moe"), dir.path("out"), options);
    const auto config = nlohmann::json::parse(read_file(dir.path("out/config.json")));
    const auto& section = config["quantization"];
    EXPECT_EQ(section["mode"], mode);
    const nlohmann::json router = {{"bits", 8}, {"group_size", 64}};
    EXPECT_EQ(section["model.layers.0.router.proj"], router);
    const nlohmann::json up = {{"bits", 4}, {"group_size", 64}};
    EXPECT_EQ(section["model.layers.0.mlp.up_proj"], up);
    if (std::string(mode) != "nvfp4") {
      EXPECT_EQ(section["model.layers.0.self_attn.o_proj"]["mode"], "nvfp4");
    }
    const Checkpoint in = Checkpoint::open(golden("gemma4_moe"));
    const Checkpoint out = Checkpoint::open(dir.path("out"));
    const auto values = floats_of(in, "model.layers.0.mlp.down_proj.weight");
    const Format format = quant::format_of_mode(mode);
    std::string codes(values.size() * static_cast<size_t>(quant::fp_mode(format).bits) / 8, '\0');
    std::string scales(values.size() / static_cast<size_t>(quant::fp_mode(format).group_size),
                       '\0');
    quant::encode_row_mlx_fp(format, values.data(), static_cast<int64_t>(values.size()),
                             reinterpret_cast<std::byte*>(codes.data()),
                             reinterpret_cast<std::byte*>(scales.data()));
    EXPECT_TRUE(bytes_of(out, "model.layers.0.mlp.down_proj.weight") == codes) << mode;
    EXPECT_TRUE(bytes_of(out, "model.layers.0.mlp.down_proj.scales") == scales) << mode;
    EXPECT_EQ(out.impl().tensors.find("model.layers.0.mlp.down_proj.biases"), nullptr);
  }
}

TEST(QuantizeMlx, RecipesDiffer) {
  const TempDir dir;
  QuantizeOptions options = mlx(2, 32);
  mlxn::quantize(golden("gemma4_e"), dir.path("metal"), options);
  options.recipe = QuantizeRecipe::kCpu;
  mlxn::quantize(golden("gemma4_e"), dir.path("cpu"), options);
  EXPECT_NE(read_file(dir.path("metal/model.safetensors")),
            read_file(dir.path("cpu/model.safetensors")));
}

TEST(QuantizeMlx, RoutersAndRulesAreOverrides) {
  const TempDir dir;
  QuantizeOptions options = mlx(4, 32);
  options.keep = {{"layers\\.0\\.mlp\\.up_proj", "6"}, {"layers.1.*o_proj", "float"}};
  mlxn::quantize(golden("gemma4_moe"), dir.path("out"), options);
  const auto config = nlohmann::json::parse(read_file(dir.path("out/config.json")));
  const auto& section = config["quantization"];
  EXPECT_EQ(section, config["quantization_config"]);
  EXPECT_EQ(section["bits"], 4);
  EXPECT_EQ(section["group_size"], 32);
  EXPECT_EQ(section["mode"], "affine");
  const nlohmann::json router = {{"bits", 8}, {"group_size", 64}};
  EXPECT_EQ(section["model.layers.0.router.proj"], router);
  const nlohmann::json up = {{"bits", 6}, {"group_size", 32}};
  EXPECT_EQ(section["model.layers.0.mlp.up_proj"], up);
  EXPECT_FALSE(section.contains("model.layers.1.self_attn.o_proj"));
  const Checkpoint out = Checkpoint::open(dir.path("out"));
  const Checkpoint in = Checkpoint::open(golden("gemma4_moe"));
  EXPECT_EQ(bytes_of(out, "model.layers.1.self_attn.o_proj.weight"),
            bytes_of(in, "model.layers.1.self_attn.o_proj.weight"));
  const Device device = Device::open("cpu", {.num_threads = 1});
  EXPECT_EQ(out.weight(device, "layers.0.router.proj",
                       {in.config().moe.num_experts, in.config().hidden_size})
                .bits,
            8);
}

TEST(QuantizeMlx, WrappersGetTheNamesThatMlxUses) {
  const TempDir dir;
  const std::string source = edited_golden(dir, "gemma4_dense", [](auto& config) {
    nlohmann::ordered_json outer = {{"model_type", "gemma4"}, {"text_config", config}};
    config = outer;
  });
  mlxn::quantize(source, dir.path("out"), mlx(4, 32));
  const Checkpoint out = Checkpoint::open(dir.path("out"));
  EXPECT_NE(out.impl().tensors.find("language_model.model.embed_tokens.scales"), nullptr);
  EXPECT_NE(out.impl().tensors.find("language_model.model.norm.weight"), nullptr);
  const auto config = nlohmann::json::parse(read_file(dir.path("out/config.json")));
  EXPECT_EQ(config["vocab_size"], 256);
}

TEST(QuantizeMlx, ShardsAndIndex) {
  const TempDir dir;
  quantize(golden("gemma4_moe"), dir.path("one"), mlx(4, 32), kMaxShardBytes);
  quantize(golden("gemma4_moe"), dir.path("many"), mlx(4, 32), 60'000);
  const Checkpoint one = Checkpoint::open(dir.path("one"));
  const Checkpoint many = Checkpoint::open(dir.path("many"));
  EXPECT_TRUE(many.warnings().empty());
  ASSERT_EQ(one.tensors().size(), many.tensors().size());
  std::set<std::string> files;
  for (const TensorInfo& tensor : many.tensors()) {
    files.insert(std::filesystem::path(tensor.file).filename().string());
    EXPECT_TRUE(bytes_of(one, tensor.name) == bytes_of(many, tensor.name)) << tensor.name;
  }
  EXPECT_GT(files.size(), 3u);
  EXPECT_EQ(files.begin()->substr(0, 16), "model-00001-of-0");
}

TEST(QuantizeMlx, FromGgufBackToTheSameModel) {
  for (const char* model : kGemma4Models) {
    const TempDir dir;
    mlxn::quantize(golden(model), dir.path("a.gguf"), gguf("f32"));
    QuantizeOptions options;
    options.type = "float";
    mlxn::quantize(dir.path("a.gguf"), dir.path("b"), options);
    mlxn::quantize(dir.path("b"), dir.path("c.gguf"), gguf("f32"));
    const Checkpoint in = Checkpoint::open(golden(model)), back = Checkpoint::open(dir.path("b"));
    for (const std::string& name : canonical_names(back.config())) {
      const checkpoint::StoredTensor* written = find(back, name);
      const checkpoint::StoredTensor* source = find(in, name);
      if (written == nullptr || source == nullptr) continue;
      EXPECT_EQ(floats_of(*written), floats_of(*source)) << name;
    }
  }
}

TEST(Quantize, SameBytesForAnyNumberOfThreads) {
  std::set<std::string> files;
  for (const int threads : {1, 2, 3}) {
    const TempDir dir;
    QuantizeOptions options = gguf("q4_0");
    options.num_threads = threads;
    mlxn::quantize(golden("gemma4_moe"), dir.path("o.gguf"), options);
    files.insert(read_file(dir.path("o.gguf")));
  }
  EXPECT_EQ(files.size(), 1u);
}

TEST(Quantize, ErrorsAreThoseOfTheWrittenValues) {
  const TempDir dir;
  QuantizeOptions options = gguf("q4_0");
  options.measure_errors = true;
  const QuantizeResult result = mlxn::quantize(golden("gemma4_e"), dir.path("o.gguf"), options);
  const Checkpoint in = Checkpoint::open(golden("gemma4_e"));
  const Checkpoint out = Checkpoint::open(dir.path("o.gguf"));
  const auto want = floats_of(in, "model.layers.2.mlp.down_proj.weight");
  const auto got = floats_of(out, "blk.2.ffn_down.weight");
  double errors = 0.0, squares = 0.0, largest = 0.0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - want[i]);
    errors += error * error;
    squares += static_cast<double>(want[i]) * want[i];
    largest = std::max(largest, error);
  }
  uint64_t bytes = 0;
  bool found = false;
  for (const QuantizedTensor& tensor : result.tensors) {
    bytes += tensor.bytes;
    if (tensor.name != "blk.2.ffn_down.weight") continue;
    found = true;
    EXPECT_NEAR(tensor.relative_rms_error, std::sqrt(errors / squares), 1e-12);
    EXPECT_EQ(tensor.max_abs_error, largest);
    EXPECT_EQ(tensor.bits_per_weight, 4.5);
    EXPECT_EQ(tensor.bytes, bytes_of(out, tensor.name).size());
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(bytes, result.bytes_out);
}

TEST(Quantize, QuantisedSourcesAreRefusedByName) {
  const TempDir dir;
  const auto refused = [&](const char* model, const QuantizeOptions& options, const char* out,
                           const char* part) {
    expect_error([&] { mlxn::quantize(golden(model), dir.path(out), options); },
                 ErrorKind::kUnsupportedDtype, part);
  };
  refused("gemma4_e_q4_0", gguf("q8_0"), "o.gguf", "token_embd.weight");
  refused("gemma4_e_q4_0", mlx(4, 32), "o", "token_embd.weight");
  refused("gemma4_e_mlx4", gguf("q8_0"), "o.gguf", "embed_tokens.weight");
  refused("gemma4_e_mlx4", mlx(8, 32), "o", "embed_tokens.weight");
  EXPECT_TRUE(names_in(dir.path()).empty());
  // Copied as they are they may stay.
  QuantizeOptions options = gguf("q8_0");
  options.keep = {{".", "copy"}};
  mlxn::quantize(golden("gemma4_e_q4_0"), dir.path("o.gguf"), options);
  EXPECT_EQ(bytes_of(Checkpoint::open(dir.path("o.gguf")), "token_embd.weight"),
            bytes_of(Checkpoint::open(golden("gemma4_e_q4_0")), "token_embd.weight"));
}

TEST(Quantize, StoppedRunsLeaveNothing) {
  for (int stop_at = 0; stop_at < 40; stop_at += 13) {
    const TempDir dir;
    int calls = 0;
    QuantizeOptions options = mlx(4, 32);
    options.progress = [&](const QuantizeProgress&) { return calls++ < stop_at; };
    EXPECT_FALSE(mlxn::quantize(golden("gemma4_e"), dir.path("out"), options).completed);
    EXPECT_TRUE(names_in(dir.path()).empty());
    options.progress = [&](const QuantizeProgress&) -> bool { throw std::runtime_error("stop"); };
    EXPECT_THROW(mlxn::quantize(golden("gemma4_e"), dir.path("out"), options), std::runtime_error);
    EXPECT_TRUE(names_in(dir.path()).empty());
  }
}

TEST(Quantize, ProgressReachesTheEnd) {
  const TempDir dir;
  QuantizeOptions options = gguf("q8_0");
  uint64_t last = 0, total = 0;
  options.progress = [&](const QuantizeProgress& progress) {
    EXPECT_GE(progress.bytes_done, last);
    EXPECT_FALSE(progress.tensor.empty());
    last = progress.bytes_done;
    total = progress.bytes_total;
    return true;
  };
  const QuantizeResult result = mlxn::quantize(golden("gemma4_moe"), dir.path("o.gguf"), options);
  EXPECT_EQ(last, total);
  EXPECT_EQ(result.bytes_in, total);
}

TEST(Quantize, ValuesThatAreNotFiniteAreNamed) {
  const TempDir dir;
  const std::string source = edited_golden(dir, "gemma4_dense_null", [](auto&) {});
  std::string bytes = read_file(source + "/model.safetensors");
  const checkpoint::SafetensorsFile file =
      checkpoint::SafetensorsFile::open(source + "/model.safetensors");
  for (const checkpoint::SafetensorsTensor& tensor : file.tensors) {
    if (tensor.name.ends_with("layers.1.mlp.up_proj.weight")) {
      bytes[tensor.begin] = '\x80';  // bf16 or f32: the high half of an infinity
      bytes[tensor.begin + 1] = '\x7f';
      bytes[tensor.begin + 2] = '\x80';
      bytes[tensor.begin + 3] = '\x7f';
    }
  }
  dir.write("edited_gemma4_dense_null/model.safetensors", bytes);
  expect_error([&] { mlxn::quantize(source, dir.path("o.gguf"), gguf("q8_0")); },
               ErrorKind::kInvalidArgument, "layers.1.mlp.up_proj.weight");
  EXPECT_EQ(names_in(dir.path()).size(), 1u);
}

// A reader of safetensors does not know the size of a type that is none of its own.
TEST(Quantize, NamesOfBlockFormatsInSafetensors) {
  const TempDir dir;
  const std::string source = edited_golden(dir, "gemma4_dense", [](auto&) {});
  const std::string bytes = read_file(source + "/model.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  auto header = nlohmann::ordered_json::parse(bytes.substr(8, length));
  auto& table = header["model.embed_tokens.weight"];
  table["dtype"] = "Q8_0";
  table["shape"] = {int64_t{1} << 40, 64};
  const std::string text = header.dump();
  dir.write("edited_gemma4_dense/model.safetensors",
            checkpoint::raw<uint64_t>(text.size()) + text + bytes.substr(8 + length));
  expect_error([&] { mlxn::quantize(source, dir.path("o.gguf"), gguf("q8_0")); },
               ErrorKind::kUnsupportedDtype, "whole blocks");
}

TEST(Quantize, MissingTensorsAreNamed) {
  const TempDir dir;
  const std::string source = edited_golden(dir, "gemma4_dense", [](auto& config) {
    config["num_hidden_layers"] = 4;
    config["layer_types"].push_back("full_attention");
  });
  expect_error([&] { mlxn::quantize(source, dir.path("o.gguf"), gguf("q8_0")); },
               ErrorKind::kSafetensors, "layers.3.input_layernorm.weight");
}

TEST(Quantize, OutputNamesAndThreads) {
  const TempDir dir;
  expect_error([&] { mlxn::quantize(golden("gemma4_e"), dir.path("out"), gguf("q8_0")); },
               ErrorKind::kInvalidArgument, ".gguf");
  QuantizeOptions options = mlx(4, 32);
  options.num_threads = -1;
  expect_error([&] { mlxn::quantize(golden("gemma4_e"), dir.path("out"), options); },
               ErrorKind::kInvalidArgument, "num_threads");
}

}  // namespace
}  // namespace mlxn::convert
