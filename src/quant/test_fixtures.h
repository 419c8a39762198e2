// SPDX-License-Identifier: Apache-2.0
// Reads what testdata/make_fixtures.py wrote. For tests only.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace mlxn::quant {

// Equal bits, or both NaN.
inline bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (a != a && b != b);
}

class Fixtures {
 public:
  explicit Fixtures(const std::string& file) {
    const std::string path = std::string(MLXN_SOURCE_DIR) + "/src/quant/testdata/" + file;
    std::ifstream in(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    if (bytes.empty()) throw std::runtime_error("cannot read " + path);
    for (size_t at = 0; at < bytes.size();) {
      uint32_t name_len;
      std::memcpy(&name_len, bytes.data() + at, 4);
      const std::string name = bytes.substr(at + 4, name_len);
      at += 4 + name_len;
      uint64_t byte_len;
      std::memcpy(&byte_len, bytes.data() + at, 8);
      records_[name] = bytes.substr(at + 8, byte_len);
      at += 8 + byte_len;
    }
  }

  template <typename T>
  std::vector<T> get(const std::string& name) const {
    const std::string& bytes = records_.at(name);
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
  }

 private:
  std::map<std::string, std::string> records_;
};

// The rows of blocks.bin that the encoders of MLX formats got as well.
inline std::vector<float> shared_encoder_input() {
  auto input = Fixtures("blocks.bin").get<float>("encode/input");
  input.resize(size_t{24} * 256);
  return input;
}

}  // namespace mlxn::quant
