// SPDX-License-Identifier: Apache-2.0
// Whole checkpoints as the reference writers make them (testdata/make_fixtures.py).
#include "mlxn/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "base/checked.h"
#include "checkpoint/test_util.h"
#include "mlxn/device.h"

namespace mlxn {
namespace {

using checkpoint::expect_error;
using checkpoint::read_file;
using checkpoint::safetensors_image;
using checkpoint::TempDir;
using checkpoint::testdata;

// The fixtures' value of element i, by canonical parameter name.
float value(const std::string& name, int64_t i) {
  int64_t seed = 0;
  for (unsigned char c : name) seed += c;
  return static_cast<float>((i * 37 + seed) % 64) / 32 - 1;
}

float dense(const Buffer& buffer, int64_t i) {
  const auto index = static_cast<size_t>(i);
  switch (buffer.dtype()) {
    case DType::kF32:
      return buffer.span<float>()[index];
    case DType::kF16:
      return to_float(buffer.span<F16>()[index]);
    default:
      return to_float(buffer.span<BF16>()[index]);
  }
}

void expect_dense(const Weight& weight, const std::string& parameter) {
  const auto count = base::checked_product(weight.shape);
  for (int64_t i = 0; i < *count; ++i) {
    ASSERT_EQ(dense(weight.data, i), value(parameter, i)) << parameter << " " << i;
  }
}

// Codes below 8 bits never straddle words here.
float affine(const Weight& w, int64_t i) {
  const int64_t per_word = 32 / w.bits;
  const uint32_t word = w.data.span<uint32_t>()[static_cast<size_t>(i / per_word)];
  const uint32_t code = (word >> (i % per_word * w.bits)) & ((1u << w.bits) - 1);
  const int64_t group = i / w.group_size;
  return dense(w.scales, group) * static_cast<float>(code) + dense(w.biases, group);
}

// `first` is the index of the weight's first element in the parameter; `skip` elements of the
// parameter follow each block of `block`.
void expect_affine(const Weight& w, const std::string& parameter, int64_t first = 0,
                   int64_t block = 1, int64_t skip = 0) {
  const auto count = base::checked_product(w.shape);
  const float tolerance = 2.0f / static_cast<float>((1 << w.bits) - 1);
  for (int64_t i = 0; i < *count; ++i) {
    const float expected = value(parameter, first + i + i / block * skip);
    ASSERT_NEAR(affine(w, i), expected, tolerance) << parameter << " " << i;
  }
}

class CheckpointTest : public ::testing::Test {
 protected:
  Device device_ = Device::open("cpu");
};

TEST_F(CheckpointTest, RawShards) {
  std::optional<Checkpoint> c = Checkpoint::open(testdata("gemma4_raw"));
  EXPECT_EQ(c->kind(), CheckpointKind::kSafetensors);
  EXPECT_TRUE(c->warnings().empty()) << c->warnings()[0];
  EXPECT_EQ(c->config().float_dtype, DType::kBF16);
  EXPECT_EQ(c->config().quantization.description, "bf16");
  EXPECT_EQ(c->tensors().size(), 45u);
  const Weight q = c->weight(device_, "layers.1.self_attn.q_proj", {32, 64});
  EXPECT_EQ(q.format, Format::kBF16);
  expect_dense(q, "layers.1.self_attn.q_proj.weight");
  expect_dense(c->weight(device_, "embed_tokens", {32, 64}), "embed_tokens.weight");
  const ExpertWeights experts = c->experts(device_, 1);
  ASSERT_TRUE(experts.is_fused());
  EXPECT_FALSE(experts.gate.valid());
  EXPECT_EQ(experts.gate_up.shape, (Shape{2, 64, 64}));
  expect_dense(experts.gate_up, "layers.1.experts.gate_up_proj");
  expect_dense(experts.down, "layers.1.experts.down_proj");
  const auto norm = c->floats("norm.weight", 64);
  for (int64_t i = 0; i < 64; ++i) {
    EXPECT_EQ(norm[static_cast<size_t>(i)], value("norm.weight", i));
  }
  EXPECT_EQ(c->floats("layers.0.layer_scalar", 1)[0], value("layers.0.layer_scalar", 0));
  const Buffer scale = c->tensor(device_, "layers.0.router.scale", {64});
  EXPECT_EQ(scale.dtype(), DType::kBF16);
  EXPECT_TRUE(c->has("layers.0.self_attn.v_proj"));
  EXPECT_FALSE(c->has("layers.1.self_attn.v_proj"));
  EXPECT_TRUE(c->has("layers.0.layer_scalar"));
  EXPECT_FALSE(c->has("lm_head"));
  EXPECT_EQ(device_.allocated_bytes(), 0u);  // everything is wrapped
  c.reset();
  expect_dense(q, "layers.1.self_attn.q_proj.weight");  // the weight keeps the file mapped
}

TEST_F(CheckpointTest, MlxQuantised) {
  const Checkpoint c = Checkpoint::open(testdata("gemma4_mlx"));
  EXPECT_TRUE(c.warnings().empty()) << c.warnings()[0];
  EXPECT_EQ(c.config().float_dtype, DType::kBF16);
  EXPECT_EQ(c.config().quantization.description,
            "affine 4-bit, group 32; some modules affine 8-bit, group 32");
  EXPECT_EQ(c.config().eos_token_ids, (std::vector<int64_t>{1, 6}));
  const Weight embed = c.weight(device_, "embed_tokens", {32, 64});
  EXPECT_EQ(embed.format, Format::kAffine);
  EXPECT_EQ(embed.bits, 4);
  EXPECT_EQ(embed.group_size, 32);
  EXPECT_EQ(embed.data.shape(), (Shape{32, 8}));
  EXPECT_EQ(embed.scales.shape(), (Shape{32, 2}));
  EXPECT_NO_THROW(check_weight(embed, "embed_tokens"));
  expect_affine(embed, "embed_tokens.weight");
  const Weight router = c.weight(device_, "layers.0.router.proj", {2, 64});
  EXPECT_EQ(router.bits, 8);
  expect_affine(router, "layers.0.router.proj.weight");
  const Weight down = c.weight(device_, "layers.0.mlp.down_proj", {64, 64});
  EXPECT_EQ(down.format, Format::kBF16);  // the override says false
  expect_dense(down, "layers.0.mlp.down_proj.weight");
  const ExpertWeights experts = c.experts(device_, 0);
  ASSERT_FALSE(experts.is_fused());
  EXPECT_EQ(experts.gate.shape, (Shape{2, 32, 64}));
  EXPECT_EQ(experts.down.shape, (Shape{2, 64, 32}));
  expect_affine(experts.gate, "layers.0.experts.gate_up_proj", 0, 32 * 64, 32 * 64);
  expect_affine(experts.up, "layers.0.experts.gate_up_proj", 32 * 64, 32 * 64, 32 * 64);
  expect_affine(experts.down, "layers.0.experts.down_proj");
}

TEST_F(CheckpointTest, TensorsSayWhatTheyHold) {
  std::map<std::string, std::pair<std::string, std::string>> types;  // dtype and format by name
  for (const TensorInfo& t : Checkpoint::open(testdata("gemma4_mlx")).tensors()) {
    types[t.name.substr(t.name.rfind("model.") + 6)] = {t.dtype, t.format};
  }
  const auto expect = [&](const std::string& name, const char* dtype, const char* format) {
    EXPECT_EQ(types.at(name), (std::pair<std::string, std::string>{dtype, format})) << name;
  };
  expect("embed_tokens.weight", "U32", "affine 4-bit g32");
  expect("embed_tokens.scales", "BF16", "scales");
  expect("embed_tokens.biases", "BF16", "biases");
  expect("layers.0.router.proj.weight", "U32", "affine 8-bit g32");
  expect("layers.0.mlp.down_proj.weight", "BF16", "bf16");
  for (const TensorInfo& t : Checkpoint::open(testdata("gemma4.gguf")).tensors()) {
    std::string lower = t.dtype;
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    EXPECT_EQ(t.format, lower) << t.name;
  }
}

TEST_F(CheckpointTest, MisalignedDataAreCopied) {
  const TempDir dir;
  dir.write("config.json", read_file(testdata("gemma4_raw/config.json")));
  const std::string header =
      R"({"model.embed_tokens.weight":{"dtype":"F32","shape":[32,64],"data_offsets":[0,8192]}})";
  for (size_t spaces = 0; spaces < 4; ++spaces) {
    dir.write("model.safetensors", safetensors_image(header + std::string(spaces, ' '), 8192));
    const bool aligned = (header.size() + spaces) % 4 == 0;
    const Weight w = Checkpoint::open(dir.path()).weight(device_, "embed_tokens", {32, 64});
    EXPECT_EQ(device_.allocated_bytes() > 0, !aligned) << spaces;
    EXPECT_EQ(w.data.span<uint32_t>()[2047], 0x01010101u);
  }
}

TEST_F(CheckpointTest, Gguf) {
  const Checkpoint c = Checkpoint::open(testdata("gemma4.gguf"));
  EXPECT_EQ(c.kind(), CheckpointKind::kGguf);
  EXPECT_TRUE(c.warnings().empty()) << c.warnings()[0];
  const Weight embed = c.weight(device_, "embed_tokens", {32, 64});
  EXPECT_EQ(embed.format, Format::kF16);
  expect_dense(embed, "embed_tokens.weight");
  const Weight q = c.weight(device_, "layers.0.self_attn.q_proj", {16, 64});
  EXPECT_EQ(q.format, Format::kBF16);
  expect_dense(q, "layers.0.self_attn.q_proj.weight");
  const Weight o = c.weight(device_, "layers.0.self_attn.o_proj", {64, 16});
  EXPECT_EQ(o.format, Format::kF32);
  expect_dense(o, "layers.0.self_attn.o_proj.weight");
  const Weight gate = c.weight(device_, "layers.0.mlp.gate_proj", {64, 64});
  EXPECT_EQ(gate.format, Format::kQ4_0);
  EXPECT_EQ(gate.data.byte_len(), 64u * 2 * 18);
  EXPECT_NO_THROW(check_weight(gate, "gate"));
  EXPECT_EQ(c.weight(device_, "layers.0.mlp.up_proj", {64, 64}).format, Format::kQ8_0);
  const ExpertWeights experts = c.experts(device_, 1);
  EXPECT_EQ(experts.gate_up.format, Format::kQ8_0);
  EXPECT_EQ(experts.gate_up.shape, (Shape{2, 64, 64}));
  EXPECT_EQ(experts.down.format, Format::kQ4_0);
  EXPECT_EQ(experts.down.data.byte_len(), 2u * 64 * 18);
  EXPECT_EQ(c.floats("layers.1.layer_scalar", 1)[0], value("layers.1.layer_scalar", 0));
  // Q8_0 element 0 of row 0: block scale times the first code.
  const auto up = c.weight(device_, "layers.0.mlp.up_proj", {64, 64});
  F16 scale;
  std::memcpy(&scale, up.data.data(), sizeof(scale));
  const float first = to_float(scale) * static_cast<float>(static_cast<int8_t>(up.data.data()[2]));
  EXPECT_NEAR(first, value("layers.0.mlp.up_proj.weight", 0), 0.01f);
  const Weight down = c.weight(device_, "layers.0.mlp.down_proj", {64, 64});
  EXPECT_EQ(down.format, Format::kQ5_0);
  EXPECT_EQ(down.data.byte_len(), 64u * 2 * 22);
}

TEST_F(CheckpointTest, GgufGemma3WholeAndSplit) {
  for (const char* name : {"gemma3.gguf", "gemma3_split-00001-of-00002.gguf"}) {
    const Checkpoint c = Checkpoint::open(testdata(name));
    EXPECT_EQ(c.config().norm_weight_offset, 0.0f);  // the file stores 1 + w
    for (int layer = 0; layer < 6; ++layer) {
      const std::string norm = "layers." + std::to_string(layer) + ".input_layernorm.weight";
      EXPECT_EQ(c.floats(norm, 64)[5], 1 + value(norm, 5));
    }
    expect_dense(c.weight(device_, "embed_tokens", {32, 64}), "embed_tokens.weight");
    EXPECT_EQ(c.tensors().size(), 8u);
    EXPECT_EQ(c.total_bytes(), 4u * (32 * 64 + 7 * 64));
  }
}

TEST_F(CheckpointTest, GgufVocabulary) {
  const auto vocab = Checkpoint::open(testdata("gemma4.gguf")).gguf_vocab();
  ASSERT_TRUE(vocab.has_value());
  EXPECT_EQ(vocab->model, "gemma4");
  ASSERT_EQ(vocab->tokens.size(), 32u);
  EXPECT_EQ(vocab->tokens[6], "<turn|>");
  EXPECT_EQ(vocab->token_types[6], 3);
  EXPECT_EQ(vocab->scores[3], -3.0f);
  EXPECT_EQ(vocab->merges, (std::vector<std::string>{"t 4", "t 5"}));
  EXPECT_EQ(vocab->bos_id, 2);
  EXPECT_EQ(vocab->eos_id, 1);
  EXPECT_EQ(vocab->padding_id, 0);
  EXPECT_FALSE(vocab->eot_id.has_value());
  EXPECT_EQ(vocab->chat_templates.at("default"), "{{ bos_token }}");
  EXPECT_EQ(vocab->chat_templates.at("tool_use"), "{{ tools }}");
  EXPECT_FALSE(Checkpoint::open(testdata("gemma4_raw")).gguf_vocab().has_value());
}

TEST_F(CheckpointTest, ShapesAndNamesAreChecked) {
  for (const char* path : {"gemma4_raw", "gemma4_mlx", "gemma4.gguf"}) {
    SCOPED_TRACE(path);
    const Checkpoint c = Checkpoint::open(testdata(path));
    const auto kind =
        c.kind() == CheckpointKind::kGguf ? ErrorKind::kGguf : ErrorKind::kSafetensors;
    const auto weight = [&](const char* name, Shape shape) {
      return [&, name, shape] { c.weight(device_, name, shape); };
    };
    expect_error(weight("embed_tokens", {32, 32}), kind, "[32, 64], required [32, 32]");
    expect_error(weight("embed_tokens", {64, 32}), kind, "[64, 32]");
    expect_error(weight("embed_tokens", {32, 64, 1}), kind, "[32, 64, 1]");
    expect_error(weight("layers.9.self_attn.q_proj", {32, 64}), kind, "layers.9.self_attn.q_proj");
    expect_error(weight("layers.1.self_attn.v_proj", {16, 64}), kind, "v_proj");
    expect_error(weight("nonsense", {1, 1}), kind, "nonsense");
    expect_error([&] { c.floats("norm.weight", 63); }, kind, "required 63 elements");
    expect_error([&] { c.tensor(device_, "norm.weight", {32}); }, kind, "[32]");
    expect_error([&] { c.floats("embed_tokens", 2048); }, kind, "embed_tokens");
    expect_error([&] { c.experts(device_, 2); }, kind, "layers.2.experts");
  }
}

// A model directory made of gemma4_mlx with its config changed.
std::string changed_config(const TempDir& dir, const std::string& from, const std::string& to) {
  std::string config = read_file(testdata("gemma4_mlx/config.json"));
  for (size_t at; (at = config.find(from)) != std::string::npos && from != to;) {
    config.replace(at, from.size(), to);
  }
  dir.write("config.json", config);
  dir.write("model.safetensors", read_file(testdata("gemma4_mlx/model.safetensors")));
  return dir.path();
}

TEST_F(CheckpointTest, QuantisationMustFitTheData) {
  const auto load = [&](const std::string& from, const std::string& to, const char* name,
                        Shape shape) {
    return [&, from, to, name, shape] {
      const TempDir dir;
      const Checkpoint c = Checkpoint::open(changed_config(dir, from, to));
      c.weight(device_, name, shape);
    };
  };
  const Shape shape = {32, 64};
  const auto quant = ErrorKind::kQuantConfig;
  EXPECT_NO_THROW(load("\"bits\": 4", "\"bits\":4", "embed_tokens", shape)());
  expect_error(load("\"bits\": 4", "\"bits\":3", "embed_tokens", shape), quant, "bits 3");
  expect_error(load("\"bits\": 4", "\"bits\":7", "embed_tokens", shape), quant, "bits");
  expect_error(load("\"group_size\": 32,\n  \"bits\": 4", "\"group_size\":64, \"bits\":4",
                    "embed_tokens", shape),
               quant, "group_size 64");
  expect_error(load("\"bits\": 8", "\"bits\":4", "layers.0.router.proj", {2, 64}), quant, "bits 4");
  expect_error(load("\"quantization", "\"other", "embed_tokens", shape), quant,
               "quantization section");
  expect_error(load("\"mode\": \"affine\"", "\"mode\":\"mxfp4\"", "embed_tokens", shape),
               ErrorKind::kUnsupportedDtype, "found BF16, required U8 (mxfp4)");
}

TEST_F(CheckpointTest, AffinePartsMustAgree) {
  const auto load = [&](const std::string& scales, const std::string& biases,
                        const std::string& codes) {
    const TempDir dir;
    const std::string p = "\"language_model.model.embed_tokens.";
    const std::string header = "{" + p + "weight\":" + codes + "," + p + "scales\":" + scales +
                               (biases.empty() ? "" : "," + p + "biases\":" + biases) + "}";
    changed_config(dir, "", "");
    const size_t data = biases.empty() ? 1152 : 1280;
    dir.write("model.safetensors", safetensors_image(header, data));
    Checkpoint::open(dir.path()).weight(device_, "embed_tokens", {32, 64});
  };
  const auto t = [](const char* dtype, const char* shape, const char* offsets) {
    return std::string("{\"dtype\":\"") + dtype + "\",\"shape\":" + shape +
           ",\"data_offsets\":" + offsets + "}";
  };
  const std::string codes = t("U32", "[32,8]", "[0,1024]");
  const std::string scales = t("BF16", "[32,2]", "[1024,1152]");
  const std::string biases = t("BF16", "[32,2]", "[1152,1280]");
  const auto bad = ErrorKind::kSafetensors;
  EXPECT_NO_THROW(load(scales, biases, codes));
  expect_error([&] { load(scales, "", codes); }, bad, "embed_tokens.biases");
  expect_error([&] { load(t("BF16", "[64,1]", "[1024,1152]"), biases, codes); },
               ErrorKind::kQuantConfig, "scales [64, 1]");
  expect_error([&] { load(t("BF16", "[64]", "[1024,1152]"), biases, codes); }, bad, "rank");
  expect_error([&] { load(t("U8", "[64,2]", "[1024,1152]"), biases, codes); },
               ErrorKind::kUnsupportedDtype, "embed_tokens.scales");
  expect_error([&] { load(t("BF16", "[16,4]", "[1024,1152]"), biases, codes); },
               ErrorKind::kQuantConfig, "group_size");
  expect_error([&] { load(scales, t("F16", "[32,2]", "[1152,1280]"), codes); },
               ErrorKind::kUnsupportedDtype, "embed_tokens.biases");
  expect_error([&] { load(scales, t("BF16", "[2,32]", "[1152,1280]"), codes); }, bad,
               "embed_tokens.biases");
  expect_error([&] { load(scales, biases, t("F32", "[32,8]", "[0,1024]")); },
               ErrorKind::kUnsupportedDtype, "embed_tokens.weight\": found F32");
}

TEST_F(CheckpointTest, UnknownTensorsAreWarnedAboutAndSkipped) {
  const TempDir dir;
  dir.write("config.json", read_file(testdata("gemma4_raw/config.json")));
  const auto t = [](const char* name, int at) {
    return std::string("\"") + name + "\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[" +
           std::to_string(at) + "," + std::to_string(at + 1) + "]}";
  };
  dir.write("model.safetensors", safetensors_image("{" + t("model.vision_tower.w", 0) + "," +
                                                       t("model.layers.0.mystery", 1) + "," +
                                                       t("model.norm.weight", 2) + "}",
                                                   3));
  dir.write("consolidated.safetensors", "never opened");
  dir.write("adapters.safetensors", "never opened");
  const Checkpoint c = Checkpoint::open(dir.path());
  ASSERT_EQ(c.warnings().size(), 1u);
  EXPECT_NE(c.warnings()[0].find("model.layers.0.mystery"), std::string::npos);
  expect_error([&] { c.floats("norm.weight", 1); }, ErrorKind::kUnsupportedDtype, "F8_E4M3");
}

TEST_F(CheckpointTest, IndexIsChecked) {
  const TempDir dir;
  const auto open = [&] { Checkpoint::open(dir.path()); };
  const auto index = [&](const std::string& map) {
    dir.write("model.safetensors.index.json", "{\"weight_map\":" + map + "}");
  };
  const std::string entry = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  dir.write("config.json", read_file(testdata("gemma4_raw/config.json")));
  dir.write("model-a.safetensors", safetensors_image("{\"a\":" + entry + "}", 1));
  dir.write("model-b.safetensors", safetensors_image("{\"b\":" + entry + "}", 1));
  const auto bad = ErrorKind::kSafetensors;
  index(R"({"a":"model-a.safetensors","b":"model-b.safetensors"})");
  EXPECT_NO_THROW(open());
  for (const char* name : {"../model-a.safetensors", "/etc/passwd", "x/model-a.safetensors",
                           "x\\\\model-a.safetensors", "..", ""}) {
    index(std::string(R"({"a":")") + name + "\"}");
    expect_error(open, bad, "weight_map.\"a\"");
  }
  index(R"({"a":3})");
  expect_error(open, bad, "weight_map.a");
  index("[]");
  expect_error(open, bad, "weight_map");
  index(R"({"a":"model-a.safetensors","a":"model-b.safetensors"})");
  expect_error(open, bad, "twice");
  index(R"({"a":"model-c.safetensors"})");
  expect_error(open, ErrorKind::kIo, "model-c.safetensors");
  index(R"({"a":"model-a.safetensors","z":"model-a.safetensors"})");
  expect_error(open, bad, "weight_map.\"z\"");
  index(R"({"a":"model-a.safetensors","b":"model-a.safetensors"})");
  expect_error(open, bad, "weight_map.\"b\"");
  dir.write("model-b.safetensors",
            safetensors_image(
                "{\"b\":" + entry + R"(,"c":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})", 1));
  index(R"({"a":"model-a.safetensors","b":"model-b.safetensors"})");
  const Checkpoint c = Checkpoint::open(dir.path());
  EXPECT_NE(c.warnings()[0].find("index"), std::string::npos) << c.warnings()[0];
  dir.write("model-b.safetensors", safetensors_image("{\"a\":" + entry + "}", 1));
  std::filesystem::remove(dir.path("model.safetensors.index.json"));
  expect_error(open, bad, "another shard");
}

TEST_F(CheckpointTest, WhatAPathMayBe) {
  const TempDir dir;
  const auto open = [&](const std::string& path) { return [path] { Checkpoint::open(path); }; };
  expect_error(open(dir.path()), ErrorKind::kIo, "config.json");
  expect_error(open(dir.path("none")), ErrorKind::kIo, "none");
  expect_error(open(testdata("gemma4_raw/config.json")), ErrorKind::kIo, "model directory");
  const std::string image = read_file(testdata("gemma3.gguf"));
  dir.write("a.gguf", image);
  dir.write("mmproj-a.gguf", "not opened");
  EXPECT_EQ(Checkpoint::open(dir.path()).kind(), CheckpointKind::kGguf);
  dir.write("b.gguf", image);
  expect_error(open(dir.path()), ErrorKind::kIo, "2 .gguf models");
  const TempDir split;
  for (const char* part : {"-00001-of-00002.gguf", "-00002-of-00002.gguf"}) {
    split.write(std::string("m") + part, read_file(testdata(std::string("gemma3_split") + part)));
  }
  EXPECT_EQ(Checkpoint::open(split.path()).tensors().size(), 8u);
  const TempDir empty;
  empty.write("config.json", read_file(testdata("gemma4_raw/config.json")));
  expect_error(open(empty.path()), ErrorKind::kIo, "model*.safetensors");
}

TEST(ResolveModelPath, FilesThenTheCache) {
  const TempDir cache;
  const std::string commit = "0123456789abcdef0123456789abcdef01234567";
  const auto kind = ErrorKind::kIo;
  EXPECT_EQ(resolve_model_path(cache.path(), ""), cache.path());
  cache.write("models--org--my.model/refs/main", commit + "\n");
  cache.write("models--org--my.model/snapshots/" + commit + "/config.json", "{}");
  const std::string expected = cache.path("models--org--my.model/snapshots/" + commit);
  EXPECT_EQ(resolve_model_path("org/my.model", cache.path()), expected);
  cache.write("hub/models--org--other/refs/main", commit);
  cache.write("hub/models--org--other/snapshots/" + commit + "/config.json", "{}");
  EXPECT_EQ(resolve_model_path("org/other", cache.path()),
            cache.path("hub/models--org--other/snapshots/" + commit));
  expect_error([&] { resolve_model_path("org/absent", cache.path()); }, kind,
               "models--org--absent");
  for (const char* bad : {"", "no-such-model", "no-such/b/c", "../no-such-model", "no-such-org/..",
                          "-x/no-such-model", "no-such-org/na me", "no-such-org/"}) {
    expect_error([&] { resolve_model_path(bad, cache.path()); }, kind, "local Hugging Face cache");
  }
  expect_error([&] { resolve_model_path("org/my.model", ""); }, kind, "org/my.model");
  cache.write("models--org--evil/refs/main", "../../../etc");
  expect_error([&] { resolve_model_path("org/evil", cache.path()); }, kind, "commit hash");
  cache.write("models--org--gone/refs/main", commit);
  expect_error([&] { resolve_model_path("org/gone", cache.path()); }, kind, "snapshot");
}

}  // namespace
}  // namespace mlxn
