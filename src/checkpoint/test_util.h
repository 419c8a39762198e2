// SPDX-License-Identifier: Apache-2.0
// For tests of this room: crafted files, temporary directories, expected errors.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/error.h"

namespace mlxn::checkpoint {

inline std::string testdata(const std::string& name) {
  return std::string(MLXN_SOURCE_DIR) + "/src/checkpoint/testdata/" + name;
}

// A directory that disappears with the object.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mlxn_ck_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path(const std::string& name = "") const {
    return name.empty() ? path_ : path_ + "/" + name;
  }
  std::string write(const std::string& name, std::string_view bytes) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

 private:
  std::string path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// The bytes in memory of exactly their size, so that a sanitizer sees the first byte beyond them.
inline std::vector<std::byte> exact(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  bytes.shrink_to_fit();
  return bytes;
}

template <typename T>
std::string raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}

inline std::string safetensors_image(const std::string& header, size_t data_bytes) {
  return raw<uint64_t>(header.size()) + header + std::string(data_bytes, '\1');
}

// Runs `call`, which must throw mlxn::Error of this kind whose text has `part` in it.
template <typename Call>
void expect_error(Call call, ErrorKind kind, const std::string& part) {
  try {
    call();
    ADD_FAILURE() << "no error; expected one about " << part;
  } catch (const Error& error) {
    EXPECT_EQ(name(error.kind()), name(kind)) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
        << error.what() << "\nshould mention: " << part;
    EXPECT_FALSE(error.detail().where.empty()) << error.what();
  }
}

}  // namespace mlxn::checkpoint
