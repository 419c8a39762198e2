// SPDX-License-Identifier: Apache-2.0
#include "convert/types.h"

#include "convert/test_util.h"

namespace mlxn::convert {
namespace {

checkpoint::StoredTensor stored(const std::string& type) {
  checkpoint::StoredTensor tensor;
  tensor.type_name = type;
  return tensor;
}

QuantizeOptions gguf(const std::string& type, std::vector<KeepRule> keep = {}) {
  QuantizeOptions options;
  options.format = OutputFormat::kGguf;
  options.type = type;
  options.keep = std::move(keep);
  return options;
}

TEST(Types, RowsThatAreNotWholeBlocksFallBack) {
  const auto bf16_source = stored("BF16");
  const auto name_of = [&](const std::string& type, int64_t cols) {
    const QuantizeOptions options = gguf(type);
    return std::string(name(TypeChooser(options).gguf_matrix("w", bf16_source, cols).format));
  };
  EXPECT_EQ(name_of("q4_k", 512), "q4_k");
  EXPECT_EQ(name_of("q6_k", 704), "q8_0");
  EXPECT_EQ(name_of("Q8_0", 96), "q8_0");
  EXPECT_EQ(name_of("q6_k", 40), "f16");
  EXPECT_EQ(name_of("q4_0", 40), "f16");
  EXPECT_EQ(name_of("f32", 7), "f32");
  const std::pair<const char*, const char*> further[] = {{"q4_k", "q5_0"}, {"q5_k", "q5_1"}};
  for (const auto& [from, to] : further) {
    if (quant::find_format(from) == nullptr) continue;
    const quant::FormatTraits* next = quant::find_format(to);
    if (next != nullptr && next->encode_row != nullptr) {
      EXPECT_EQ(name_of(from, 704), to);
    } else {
      expect_error([&] { name_of(from, 704); }, ErrorKind::kUnsupportedDtype, "704");
    }
  }
}

TEST(Types, FirstMatchingRuleWins) {
  const QuantizeOptions options =
      gguf("q4_0", {{"attn_(q|k)\\.", "q8_0"}, {"attn", "f16"}, {"^token_embd", "copy"}});
  const TypeChooser types(options);
  const auto source = stored("BF16");
  EXPECT_EQ(types.gguf_matrix("blk.0.attn_q.weight", source, 64).format, Format::kQ8_0);
  EXPECT_EQ(types.gguf_matrix("blk.0.attn_output.weight", source, 64).format, Format::kF16);
  EXPECT_EQ(types.gguf_matrix("token_embd.weight", source, 64).format, Format::kBF16);
  EXPECT_EQ(types.gguf_matrix("token_embd.weight", stored("Q6_K"), 256).format, Format::kQ6_K);
  EXPECT_EQ(types.gguf_matrix("blk.0.ffn_up.weight", source, 64).format, Format::kQ4_0);
}

TEST(Types, RoutersStayF32UnlessARuleSaysOtherwise) {
  const QuantizeOptions options = gguf("q4_0", {{"blk\\.1\\.", "q8_0"}});
  const TypeChooser types(options);
  const auto source = stored("F32");
  EXPECT_EQ(types.gguf_matrix("blk.0.ffn_gate_inp.weight", source, 64, true).format, Format::kF32);
  EXPECT_EQ(types.gguf_matrix("blk.1.ffn_gate_inp.weight", source, 64, true).format, Format::kQ8_0);
}

TEST(Types, MlxGroupsBitsAndScales) {
  QuantizeOptions options;
  options.bits = 3;
  options.group_size = 64;
  options.keep = {{"down_proj", "6"}, {"embed", "float"}, {"o_proj", "f16"}};
  const TypeChooser types(options);
  const auto source = stored("F16");
  const Encoding plain = types.mlx_matrix("layers.0.mlp.up_proj", source, 128);
  EXPECT_EQ(describe(plain), "affine 3-bit, group 64");
  EXPECT_EQ(plain.scale_dtype, DType::kF16);
  EXPECT_EQ(describe(types.mlx_matrix("layers.0.mlp.down_proj", source, 128)),
            "affine 6-bit, group 64");
  EXPECT_EQ(types.mlx_matrix("embed_tokens", stored("BF16"), 128).format, Format::kBF16);
  EXPECT_EQ(types.mlx_matrix("o_proj", stored("BF16"), 128).format, Format::kF16);
  EXPECT_EQ(types.mlx_matrix("layers.0.mlp.up_proj", source, 96).format, Format::kF16);
  EXPECT_EQ(describe(types.mlx_matrix("router.proj", source, 128, 8)), "affine 8-bit, group 64");
}

TEST(Types, OptionsThatMakeNoSense) {
  const auto refused = [](const QuantizeOptions& options, const std::string& part) {
    expect_error([&] { TypeChooser types(options); }, ErrorKind::kInvalidArgument, part);
  };
  refused(gguf("q9_9"), "q9_9");
  refused(gguf("affine"), "affine");
  refused(gguf("q4_0", {{"x", "4"}}), "\"4\"");
  refused(gguf("q4_0", {{"(", "f16"}}), "regular expression");
  refused(gguf("q4_0", {{std::string(5000, '('), "f16"}}), "at most 1000 bytes");
  QuantizeOptions options;
  options.bits = 7;
  refused(options, "bits: found 7");
  options.bits = 4;
  options.group_size = 48;
  refused(options, "group_size: found 48");
  options.group_size = 32;
  options.keep = {{"x", "7"}};
  refused(options, "keep: found 7");
  options.keep = {{"x", "q4_0"}};
  refused(options, "q4_0");
}

TEST(Types, EveryListedTypeIsAccepted) {
  for (const OutputFormat format : {OutputFormat::kMlx, OutputFormat::kGguf}) {
    for (const std::string& type : quantize_types(format)) {
      QuantizeOptions options;
      options.format = format;
      options.type = type;
      EXPECT_NO_THROW(TypeChooser types(options)) << type;
    }
  }
  EXPECT_GE(quantize_types(OutputFormat::kGguf).size(), 7u);
}

}  // namespace
}  // namespace mlxn::convert
