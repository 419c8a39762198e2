// SPDX-License-Identifier: Apache-2.0
// Golden models written in another format: the decoder computes the same, or nearly.
#include <filesystem>

#include "golden_kit.h"
#include "mlxn/quantize.h"

namespace mlxn {
namespace {

using namespace golden;

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mlxn_cv_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::vector<float> logits_of(const std::string& path, const std::vector<int32_t>& ids) {
  const Device device = Device::open("cpu", {.num_threads = 2});
  const Model model = Model::load(device, Checkpoint::open(path), exact_options());
  return all_logits(model.impl(), ids);
}

QuantizeOptions as(OutputFormat format, const std::string& type, int bits = 8) {
  QuantizeOptions options;
  options.format = format;
  options.type = type;
  options.bits = bits;
  options.group_size = 32;
  options.num_threads = 2;
  return options;
}

// Gemma 3 with the layer pattern and the scale that GGUF has.
std::string publishable_gemma3(const TempDir& dir) {
  const std::string copy = dir.path("gemma3");
  std::filesystem::create_directory(copy);
  std::filesystem::copy_file(path_of("gemma3") + "/model.safetensors", copy + "/model.safetensors");
  std::ifstream in(path_of("gemma3") + "/config.json");
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(in);
  config["query_pre_attn_scalar"] = config["head_dim"];
  config["sliding_window_pattern"] = 6;
  std::ofstream(copy + "/config.json") << config;
  return copy;
}

// Root of the sum of squared differences over that of the squares of `want`.
double rms_error(std::span<const float> got, std::span<const float> want) {
  double errors = 0.0, squares = 0.0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = static_cast<double>(got[i]) - want[i];
    errors += error * error;
    squares += static_cast<double>(want[i]) * want[i];
  }
  return std::sqrt(errors / squares);
}

constexpr double kLoose = 0.5;

class ConvertTest : public testing::TestWithParam<const char*> {
 protected:
  ConvertTest() : golden_(GetParam()), ids_(golden_.prompt(0)) {
    const std::string model = GetParam();
    source_ = model == "gemma3" ? publishable_gemma3(dir_) : path_of(model);
    want_ = logits_of(source_, ids_);
  }
  std::string write(const std::string& from, const std::string& name,
                    const QuantizeOptions& options) {
    EXPECT_TRUE(quantize(from, dir_.path(name), options).completed);
    return dir_.path(name);
  }

  TempDir dir_;
  Golden golden_;
  std::vector<int32_t> ids_;
  std::string source_;
  std::vector<float> want_;
};

// In GGUF the embedding's scale is that of an f32 file.
TEST_P(ConvertTest, FloatGgufGivesTheSameLogits) {
  const std::string wide = write(source_, "wide", as(OutputFormat::kMlx, "f32"));
  const std::vector<float> want = logits_of(wide, ids_);
  const std::string gguf = write(source_, "a.gguf", as(OutputFormat::kGguf, "f32"));
  EXPECT_LT(relative_error(logits_of(gguf, ids_), want), 2e-6);
  const std::string back = write(gguf, "back", as(OutputFormat::kMlx, "float"));
  EXPECT_LT(relative_error(logits_of(back, ids_), want), 2e-6);
}

TEST_P(ConvertTest, FloatDirectoryGivesTheSameLogits) {
  const std::string copy = write(source_, "copy", as(OutputFormat::kMlx, "float"));
  EXPECT_EQ(logits_of(copy, ids_), want_);
}

// Random weights amplify the rounding, so the bound is loose; unrelated logits give 1.4.
TEST_P(ConvertTest, EightBitsGiveNearlyTheSameLogits) {
  const std::string wide = write(source_, "wide", as(OutputFormat::kMlx, "f32"));
  const std::vector<float> want = logits_of(wide, ids_);
  const std::string mlx = write(wide, "mlx", as(OutputFormat::kMlx, "affine"));
  EXPECT_LT(rms_error(logits_of(mlx, ids_), want), kLoose);
  const std::string gguf = write(source_, "q.gguf", as(OutputFormat::kGguf, "q8_0"));
  EXPECT_LT(rms_error(logits_of(gguf, ids_), want), kLoose);
}

INSTANTIATE_TEST_SUITE_P(Models, ConvertTest,
                         testing::Values("gemma3", "gemma4_dense", "gemma4_dense_null", "gemma4_e",
                                         "gemma4_moe", "gemma4_moe_ple"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace mlxn
