// SPDX-License-Identifier: Apache-2.0
// A safetensors file: header, then its tensors as weights of every MLX mode.
#include "checkpoint/safetensors.h"

#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/json.h"
#include "checkpoint/quant_config.h"
#include "checkpoint/tensor_table.h"
#include "mlxn/device.h"
#include "tests/fuzz/harness.h"
#include "tests/fuzz/weights.h"

namespace mlxn::fuzz {
namespace {

// A model directory whose only weight file is a link to a file in memory.
class Directory {
 public:
  Directory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mlxn_fuzz_XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "a temporary directory");
    path_ = pattern;
    std::filesystem::create_symlink(file.path(), path_ + "/model.safetensors");
  }
  ~Directory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

  MemoryFile file;

 private:
  std::string path_;
};

struct Mode {
  checkpoint::QuantConfig quant;
  int64_t codes_per_word;
};

std::vector<Mode> make_modes() {
  std::vector<Mode> modes;
  for (const auto& [text, codes] : std::vector<std::pair<const char*, int64_t>>{
           {R"({"quantization":{"bits":4,"group_size":32}})", 8},
           {R"({"quantization":{"bits":2,"group_size":64}})", 16},
           {R"({"quantization":{"bits":8,"group_size":128}})", 4},
           {R"({"quantization":{"mode":"mxfp4"}})", 8},
           {R"({"quantization":{"mode":"mxfp8"}})", 4},
           {R"({"quantization":{"mode":"nvfp4"}})", 8},
           {R"({})", 1}}) {
    modes.push_back(
        {checkpoint::QuantConfig::read(checkpoint::Json::parse(text, "config.json")), codes});
  }
  return modes;
}

void use_tensors(const std::string& directory) {
  static const Device device = Device::open("cpu", {.num_threads = 1});
  static const std::vector<Mode> modes = make_modes();
  std::vector<std::string> warnings;
  const auto table = checkpoint::TensorTable::from_directory(directory, warnings);
  for (const Mode& mode : modes) load_all(device, table, mode.quant, mode.codes_per_word);
}

}  // namespace
}  // namespace mlxn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mlxn;
  const fuzz::Limits limits(size);
  static fuzz::Directory directory;
  const auto bytes = std::as_bytes(std::span(data, size));
  fuzz::expect_typed({ErrorKind::kSafetensors}, [&] {
    for (const auto& tensor : checkpoint::parse_safetensors(bytes, "input.safetensors")) {
      fuzz::require(tensor.begin <= tensor.end && tensor.end <= size, "tensors inside the file");
      fuzz::touch(bytes.subspan(tensor.begin, tensor.end - tensor.begin));
    }
    directory.file.write(bytes);
    fuzz::use_tensors(directory.path());
  });
  limits.check();
  return 0;
}
