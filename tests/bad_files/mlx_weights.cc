// SPDX-License-Identifier: Apache-2.0
// Quantised MLX weights: the section of config.json, and tensors that do not fit it.
#include <fmt/format.h>

#include "bad_file.h"
#include "checkpoint/test_configs.h"
#include "checkpoint/test_util.h"
#include "quant/mlx_fp.h"
#include "quant/registry.h"

namespace mlxn::bad_files {
namespace {

using namespace checkpoint;
using enum ErrorKind;

constexpr int64_t kVocab = 256, kHidden = 64;  // of kGemma3

struct Part {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

std::string image(const std::vector<std::pair<std::string, Part>>& parts) {
  std::string header, data;
  for (const auto& [name, part] : parts) {
    header += fmt::format(R"({}"model.embed_tokens.{}":{{"dtype":"{}","shape":{},)"
                          R"("data_offsets":[{},{}]}})",
                          header.empty() ? "{" : ",", name, part.dtype, to_string(part.shape),
                          data.size(), data.size() + part.bytes.size());
    data += part.bytes;
  }
  header += "}";
  return raw<uint64_t>(header.size()) + header + data;
}

// The embedding of kGemma3 in an MLX mode; a case changes one thing.
struct Embedding {
  explicit Embedding(const std::string& mode_name, int bits_per_code = 4, int group = 64)
      : mode(mode_name), bits(bits_per_code), group_size(group) {
    if (mode != "affine") {
      const quant::FpMode& fp = quant::fp_mode(quant::format_of_mode(mode));
      bits = fp.bits;
      group_size = fp.group_size;
    }
    section = fmt::format(R"({{"mode":"{}","bits":{},"group_size":{}}})", mode, bits, group_size);
    set(weight, "U32", {kVocab, kHidden * bits / 32}, 4);
    const std::vector<int64_t> groups = {kVocab, kHidden / group_size};
    if (mode == "affine") {
      set(scales, "BF16", groups, 2);
      set(biases, "BF16", groups, 2);
    } else {
      set(scales, "U8", groups, 1);
    }
  }
  static void set(Part& part, const char* dtype, std::vector<int64_t> shape, int64_t bytes) {
    int64_t count = bytes;
    for (const int64_t extent : shape) count *= extent;
    part = {dtype, std::move(shape), std::string(static_cast<size_t>(count), '\x38')};
  }
  Files files() const {
    std::vector<std::pair<std::string, Part>> parts;
    if (!weight.dtype.empty()) parts.emplace_back("weight", weight);
    if (!scales.dtype.empty()) parts.emplace_back("scales", scales);
    if (!biases.dtype.empty()) parts.emplace_back("biases", biases);
    const std::string config =
        section.empty() ? kGemma3 : adding(kGemma3, "\"quantization\":" + section);
    return {{"config.json", config}, {"model.safetensors", image(parts)}};
  }

  std::string mode;
  int bits, group_size;
  std::string section;
  Part weight, scales, biases;
};

template <typename Change>
BadFile weights(const char* rule, ErrorKind kind, const char* text, Embedding embedding,
                Change change) {
  change(embedding);
  return {fmt::format("mlx {}: {}", embedding.mode, rule), kind, text, embedding.files(),
          Step::kModel};
}

// The section of config.json, found bad when the file is opened or when a module is loaded.
BadFile section(const char* rule, ErrorKind kind, const char* text, const char* json,
                Step step = Step::kModel) {
  Embedding embedding("affine");
  embedding.section = json;
  return {std::string("quantization: ") + rule, kind, text, embedding.files(), step};
}

void add_fp_mode(BadFiles& bad, const char* mode, const std::vector<const char*>& texts) {
  const Embedding good(mode);
  const int64_t groups = kHidden / good.group_size;
  size_t next = 0;
  const auto add = [&](const char* rule, ErrorKind kind, auto change) {
    bad.push_back(weights(rule, kind, texts.at(next++), good, change));
  };
  add("no tensor but the embedding", kSafetensors, [](Embedding&) {});
  add("no scales", kUnsupportedDtype, [](Embedding& e) { e.scales = {}; });
  add("scales of I8", kUnsupportedDtype, [](Embedding& e) { e.scales.dtype = "I8"; });
  add("scales of BF16", kUnsupportedDtype, [&](Embedding& e) {
    Embedding::set(e.scales, "BF16", {kVocab, groups}, 2);
  });
  add("scales for half the groups", kQuantConfig, [&](Embedding& e) {
    Embedding::set(e.scales, "U8", {kVocab, groups / 2}, 1);
  });
  add("scales of another rank", kSafetensors,
      [&](Embedding& e) { Embedding::set(e.scales, "U8", {kVocab * groups}, 1); });
  add("scales for half the rows", kSafetensors, [&](Embedding& e) {
    Embedding::set(e.scales, "U8", {kVocab / 2, groups}, 1);
  });
  add("codes for half the rows", kSafetensors, [&](Embedding& e) {
    Embedding::set(e.weight, "U32", {kVocab / 2, kHidden * e.bits / 32}, 4);
    Embedding::set(e.scales, "U8", {kVocab / 2, groups}, 1);
  });
  add("codes of twice the width", kQuantConfig, [&](Embedding& e) {
    Embedding::set(e.weight, "U32", {kVocab, kHidden * e.bits / 16}, 4);
  });
  add("codes of U8", kUnsupportedDtype, [&](Embedding& e) {
    Embedding::set(e.weight, "U8", {kVocab, kHidden * e.bits / 8}, 1);
  });
  add("biases", kSafetensors, [&](Embedding& e) { e.biases = e.scales; });
  add("a scale not a number", kSafetensors, [](Embedding& e) { e.scales.bytes[5] = '\xff'; });
  add("other bits", kQuantConfig, [&](Embedding& e) {
    e.section = fmt::format(R"({{"mode":"{}","bits":{}}})", e.mode, e.bits == 4 ? 8 : 4);
  });
  add("another group size", kQuantConfig,
      [&](Embedding& e) { e.section = fmt::format(R"({{"mode":"{}","group_size":64}})", e.mode); });
}

}  // namespace

BadFiles mlx_weights() {
  const Embedding good("affine");
  BadFiles bad;
  const auto add = [&](const char* rule, ErrorKind kind, const char* text, auto change) {
    bad.push_back(weights(rule, kind, text, good, change));
  };
  add("no tensor but the embedding", kSafetensors,
      ".: tensor \"norm.weight\": found nothing, required one of: model.norm.weight",
      [](Embedding&) {});
  add("no codes", kSafetensors,
      ".: tensor \"embed_tokens\": found nothing, required one of: model.embed_tokens.weight, "
      "model.embed_tokens",
      [](Embedding& e) { e.weight = {}; });
  add("no scales", kUnsupportedDtype,
      "model.safetensors: tensor \"model.embed_tokens.weight\": found U32, required F32, F16, "
      "BF16, or U32 with scales",
      [](Embedding& e) { e.scales = {}; });
  add("no biases", kSafetensors,
      ".: tensor \"model.embed_tokens.biases\": found nothing, required the tensor",
      [](Embedding& e) { e.biases = {}; });
  add("no section", kQuantConfig,
      "model.safetensors: module \"model.embed_tokens\": found quantised tensors, required a "
      "quantization section in config.json",
      [](Embedding& e) { e.section.clear(); });
  add("codes of F32", kUnsupportedDtype,
      "model.safetensors: tensor \"model.embed_tokens.weight\": found F32, required U32 codes",
      [](Embedding& e) { e.weight.dtype = "F32"; });
  add("codes of I32", kUnsupportedDtype,
      "model.safetensors: tensor \"model.embed_tokens.weight\": found I32, required U32 codes",
      [](Embedding& e) { e.weight.dtype = "I32"; });
  add("scales of U8", kUnsupportedDtype,
      "model.safetensors: tensor \"model.embed_tokens.scales\": found U8, required F32, F16 or "
      "BF16 (affine)",
      [](Embedding& e) {
        Embedding::set(e.scales, "U8", {kVocab, 1}, 1);
      });
  add("scales of F64", kUnsupportedDtype,
      "model.safetensors: tensor \"model.embed_tokens.scales\": found F64, required F32, F16 or "
      "BF16 (affine)",
      [](Embedding& e) {
        Embedding::set(e.scales, "F64", {kVocab, 1}, 8);
      });
  add("biases of another type", kUnsupportedDtype,
      "model.safetensors: tensor \"model.embed_tokens.biases\": found F16, required the type of "
      "the scales",
      [](Embedding& e) { e.biases.dtype = "F16"; });
  add("biases of another shape", kSafetensors,
      "model.safetensors: tensor \"model.embed_tokens.biases\": found shape [1, 256], required "
      "[256, 1]",
      [](Embedding& e) {
        e.biases.shape = {1, kVocab};
      });
  add("scales of another rank", kSafetensors,
      "model.safetensors: tensor \"model.embed_tokens.scales\": found shape [256], required the "
      "rank of the weight, [256, 8]",
      [](Embedding& e) { e.scales.shape = {kVocab}; });
  add("scales for two groups", kQuantConfig,
      "model.safetensors: module \"model.embed_tokens\": found bits 4, group_size 64, required "
      "values that fit weight [256, 8] and scales [256, 2]",
      [](Embedding& e) {
        Embedding::set(e.scales, "BF16", {kVocab, 2}, 2);
      });
  add("scales transposed", kQuantConfig,
      "model.safetensors: module \"model.embed_tokens\": found bits 4, group_size 64, required "
      "values that fit weight [256, 8] and scales [1, 256]",
      [](Embedding& e) {
        e.scales.shape = {1, kVocab};
      });
  add("codes of three extents", kSafetensors,
      "model.safetensors: tensor \"model.embed_tokens.weight\": found shape [2, 128, 64], required "
      "[256, 64]",
      [](Embedding& e) {
        e.weight.shape = {2, kVocab / 2, 8};
        e.scales.shape = e.biases.shape = {2, kVocab / 2, 1};
      });
  add("codes of too few bits", kQuantConfig,
      "model.safetensors: module \"model.embed_tokens\": found bits 4, group_size 64, required "
      "values that fit weight [256, 6] and scales [256, 1]",
      [](Embedding& e) {
        Embedding::set(e.weight, "U32", {kVocab, 6}, 4);
      });
  add("codes for fewer rows", kSafetensors,
      "model.safetensors: tensor \"model.embed_tokens.weight\": found shape [255, 64], required "
      "[256, 64]",
      [](Embedding& e) {
        Embedding::set(e.weight, "U32", {kVocab - 1, 8}, 4);
        Embedding::set(e.scales, "BF16", {kVocab - 1, 1}, 2);
        Embedding::set(e.biases, "BF16", {kVocab - 1, 1}, 2);
      });
  add("rows of twice the width", kSafetensors,
      "model.safetensors: tensor \"model.embed_tokens.weight\": found shape [256, 128], required "
      "[256, 64]",
      [](Embedding& e) {
        Embedding::set(e.weight, "U32", {kVocab, 16}, 4);
        Embedding::set(e.scales, "BF16", {kVocab, 2}, 2);
        Embedding::set(e.biases, "BF16", {kVocab, 2}, 2);
      });
  add("empty rows", kSafetensors,
      "model.safetensors: tensor \"model.embed_tokens.weight\": found shape [256, 0], required "
      "[256, 64]",
      [](Embedding& e) {
        Embedding::set(e.weight, "U32", {kVocab, 0}, 4);
        Embedding::set(e.scales, "BF16", {kVocab, 0}, 2);
        Embedding::set(e.biases, "BF16", {kVocab, 0}, 2);
      });
  add("float rows too short", kSafetensors,
      "model.safetensors: tensor \"model.embed_tokens.weight\": found shape [256, 32], required "
      "[256, 64]",
      [](Embedding& e) {
        Embedding::set(e.weight, "BF16", {kVocab, kHidden / 2}, 2);
        e.scales = e.biases = {};
      });
  add("weights of F8_E4M3", kUnsupportedDtype,
      "model.safetensors: tensor \"model.embed_tokens.weight\": found F8_E4M3, required F32, F16, "
      "BF16, or U32 with scales",
      [](Embedding& e) {
        Embedding::set(e.weight, "F8_E4M3", {kVocab, kHidden}, 1);
        e.scales = e.biases = {};
      });
  add_fp_mode(
      bad, "mxfp4",
      {".: tensor \"norm.weight\": found nothing, required one of: model.norm.weight",
       "model.safetensors: tensor \"model.embed_tokens.weight\": found U32, required F32, F16, "
       "BF16, or U32 with scales",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found I8, required U8 (mxfp4)",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found BF16, required U8 (mxfp4)",
       "model.safetensors: module \"model.embed_tokens\": found bits 4, group_size 32, required "
       "values that fit weight [256, 8] and scales [256, 1]",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found shape [512], required the "
       "rank of the weight, [256, 8]",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found shape [128, 2], required "
       "[256, 2]",
       "model.safetensors: tensor \"model.embed_tokens.weight\": found shape [128, 64], required "
       "[256, 64]",
       "model.safetensors: module \"model.embed_tokens\": found bits 4, group_size 32, required "
       "values that fit weight [256, 16] and scales [256, 2]",
       "model.safetensors: tensor \"model.embed_tokens.weight\": found U8, required U32 codes",
       "model.safetensors: tensor \"model.embed_tokens.biases\": found the tensor, required none "
       "for mxfp4",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found 0xff (not a number) in "
       "element 5, required finite E8M0 scales",
       "config.json: bits of \"model.embed_tokens\": found 8, required 4",
       "config.json: group_size of \"model.embed_tokens\": found 64, required 32"});
  add_fp_mode(
      bad, "mxfp8",
      {".: tensor \"norm.weight\": found nothing, required one of: model.norm.weight",
       "model.safetensors: tensor \"model.embed_tokens.weight\": found U32, required F32, F16, "
       "BF16, or U32 with scales",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found I8, required U8 (mxfp8)",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found BF16, required U8 (mxfp8)",
       "model.safetensors: module \"model.embed_tokens\": found bits 8, group_size 32, required "
       "values that fit weight [256, 16] and scales [256, 1]",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found shape [512], required the "
       "rank of the weight, [256, 16]",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found shape [128, 2], required "
       "[256, 2]",
       "model.safetensors: tensor \"model.embed_tokens.weight\": found shape [128, 64], required "
       "[256, 64]",
       "model.safetensors: module \"model.embed_tokens\": found bits 8, group_size 32, required "
       "values that fit weight [256, 32] and scales [256, 2]",
       "model.safetensors: tensor \"model.embed_tokens.weight\": found U8, required U32 codes",
       "model.safetensors: tensor \"model.embed_tokens.biases\": found the tensor, required none "
       "for mxfp8",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found 0xff (not a number) in "
       "element 5, required finite E8M0 scales",
       "config.json: bits of \"model.embed_tokens\": found 4, required 8",
       "config.json: group_size of \"model.embed_tokens\": found 64, required 32"});
  add_fp_mode(
      bad, "nvfp4",
      {".: tensor \"norm.weight\": found nothing, required one of: model.norm.weight",
       "model.safetensors: tensor \"model.embed_tokens.weight\": found U32, required F32, F16, "
       "BF16, or U32 with scales",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found I8, required U8 (nvfp4)",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found BF16, required U8 (nvfp4)",
       "model.safetensors: module \"model.embed_tokens\": found bits 4, group_size 16, required "
       "values that fit weight [256, 8] and scales [256, 2]",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found shape [1024], required the "
       "rank of the weight, [256, 8]",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found shape [128, 4], required "
       "[256, 4]",
       "model.safetensors: tensor \"model.embed_tokens.weight\": found shape [128, 64], required "
       "[256, 64]",
       "model.safetensors: module \"model.embed_tokens\": found bits 4, group_size 16, required "
       "values that fit weight [256, 16] and scales [256, 4]",
       "model.safetensors: tensor \"model.embed_tokens.weight\": found U8, required U32 codes",
       "model.safetensors: tensor \"model.embed_tokens.biases\": found the tensor, required none "
       "for nvfp4",
       "model.safetensors: tensor \"model.embed_tokens.scales\": found 0xff (not a number) in "
       "element 5, required finite E4M3 scales",
       "config.json: bits of \"model.embed_tokens\": found 8, required 4",
       "config.json: group_size of \"model.embed_tokens\": found 64, required 16"});
  return bad;
}

BadFiles quantization_sections() {
  return {
      section("a number", kQuantConfig, "config.json: quantization: found 3, required an object",
              "3", Step::kOpen),
      section("a list", kQuantConfig,
              "config.json: quantization: found an array, required an object", "[4]", Step::kOpen),
      section("bits of text", kQuantConfig,
              "config.json: quantization.bits: found \"4\", required 2, 3, 4, 5, 6 or 8",
              R"({"bits":"4"})", Step::kOpen),
      section("bits of a float", kQuantConfig,
              "config.json: quantization.bits: found 4.5, required 2, 3, 4, 5, 6 or 8",
              R"({"bits":4.5})", Step::kOpen),
      section("bits over 2^31", kQuantConfig,
              "config.json: quantization.bits: found 4294967300, required 2, 3, 4, 5, 6 or 8",
              R"({"bits":4294967300})", Step::kOpen),
      section(
          "bits over 2^63", kQuantConfig,
          "config.json: quantization.bits: found 9223372036854775812, required 2, 3, 4, 5, 6 or 8",
          R"({"bits":9223372036854775812})", Step::kOpen),
      section("bits not a number", kConfig,
              "config.json: JSON text: found The JSON document has an improper structure: missing "
              "or superfluous commas, braces, missing keys, etc., required valid JSON",
              R"({"bits":NaN})", Step::kOpen),
      section("group_size of text", kQuantConfig,
              "config.json: quantization.group_size: found \"64\", required 16, 32, 64 or 128",
              R"({"group_size":"64"})", Step::kOpen),
      section("group_size a bool", kQuantConfig,
              "config.json: quantization.group_size: found true, required 16, 32, 64 or 128",
              R"({"group_size":true})", Step::kOpen),
      section("mode of a number", kQuantConfig,
              "config.json: quantization.mode: found 4, required a string", R"({"mode":4})",
              Step::kOpen),
      section("a module's bits of text", kQuantConfig,
              "config.json: quantization.model.embed_tokens.bits: found \"4\", required 2, 3, 4, "
              "5, 6 or 8",
              R"({"model.embed_tokens":{"bits":"4"}})", Step::kOpen),
      section("a key twice", kConfig,
              "config.json: \"quantization.bits\": found the key twice, required unique keys",
              R"({"bits":4,"bits":8})", Step::kOpen),
      section("bits 0", kQuantConfig,
              "config.json: bits of \"model.embed_tokens\": found 0, required 2, 3, 4, 5, 6 or 8",
              R"({"bits":0})"),
      section("bits 1", kQuantConfig,
              "config.json: bits of \"model.embed_tokens\": found 1, required 2, 3, 4, 5, 6 or 8",
              R"({"bits":1})"),
      section("bits 7", kQuantConfig,
              "config.json: bits of \"model.embed_tokens\": found 7, required 2, 3, 4, 5, 6 or 8",
              R"({"bits":7})"),
      section("bits 16", kQuantConfig,
              "config.json: bits of \"model.embed_tokens\": found 16, required 2, 3, 4, 5, 6 or 8",
              R"({"bits":16})"),
      section("bits negative", kQuantConfig,
              "config.json: bits of \"model.embed_tokens\": found -4, required 2, 3, 4, 5, 6 or 8",
              R"({"bits":-4})"),
      section("group_size 0", kQuantConfig,
              "config.json: group_size of \"model.embed_tokens\": found 0, required 32, 64 or 128",
              R"({"group_size":0})"),
      section("group_size 48", kQuantConfig,
              "config.json: group_size of \"model.embed_tokens\": found 48, required 32, 64 or 128",
              R"({"group_size":48})"),
      section(
          "group_size 256", kQuantConfig,
          "config.json: group_size of \"model.embed_tokens\": found 256, required 32, 64 or 128",
          R"({"group_size":256})"),
      section(
          "group_size negative", kQuantConfig,
          "config.json: group_size of \"model.embed_tokens\": found -64, required 32, 64 or 128",
          R"({"group_size":-64})"),
      section("unknown mode", kUnsupportedDtype,
              "config.json: quantization mode of \"model.embed_tokens\": found \"ternary\", "
              "required affine, mxfp4, mxfp8 or nvfp4",
              R"({"mode":"ternary"})"),
      section("mode of odd bytes", kUnsupportedDtype,
              "config.json: quantization mode of \"model.embed_tokens\": found \"\\x0a\\x00\", "
              "required affine, mxfp4, mxfp8 or nvfp4",
              R"({"mode":"\n\u0000"})"),
      section("bits that do not fit the codes", kQuantConfig,
              "model.safetensors: module \"model.embed_tokens\": found bits 3, group_size 64, "
              "required values that fit weight [256, 8] and scales [256, 1]",
              R"({"bits":3})"),
      section("group_size that does not fit the scales", kQuantConfig,
              "model.safetensors: module \"model.embed_tokens\": found bits 4, group_size 32, "
              "required values that fit weight [256, 8] and scales [256, 1]",
              R"({"group_size":32})"),
      section("a module said to be plain", kQuantConfig,
              "model.safetensors: module \"model.embed_tokens\": found quantised tensors, required "
              "plain ones, as quantization says false",
              R"({"model.embed_tokens":false})"),
      section("a module of other bits", kQuantConfig,
              "model.safetensors: module \"model.embed_tokens\": found bits 8, group_size 64, "
              "required values that fit weight [256, 8] and scales [256, 1]",
              R"({"model.embed_tokens":{"bits":8}})"),
      section("a module of an fp mode", kUnsupportedDtype,
              "model.safetensors: tensor \"model.embed_tokens.scales\": found BF16, required U8 "
              "(mxfp4)",
              R"({"model.embed_tokens":{"mode":"mxfp4"}})"),
      {"quantization: another tool's",
       kQuantConfig,
       "config.json: quantization_config.quant_method: found \"gptq\", required a file quantised "
       "by MLX (bits, group_size, mode), or \"mxfp4\"",
       {{"config.json",
         adding(kGemma3, R"("quantization_config":{"quant_method":"gptq","bits":4})")}}},
      {"quantization: another tool's, nested",
       kQuantConfig,
       "config.json: text_config.quantization_config.quant_method: found 1, required a string",
       {{"config.json", R"({"model_type":"gemma3","text_config":)" +
                            adding(kGemma3, R"("quantization_config":{"quant_method":1})") + "}"}}},
  };
}

}  // namespace mlxn::bad_files
