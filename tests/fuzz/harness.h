// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share. A target is one function on bytes, in the form libFuzzer calls. It
// lets every exception out but the typed errors that its parser may give; the fuzzer takes an
// escaped exception for a crash, and so does the replay test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "mlxn/error.h"

namespace mlxn::fuzz {

inline constexpr size_t kMaxErrorBytes = 16'384;  // three fields of 1000 bytes as \xNN, and where

inline void require(bool holds, const std::string& what) {
  if (!holds) throw std::logic_error("broken promise: " + what);
}

// Runs `call`, which ends normally or with an Error of one of these kinds that says where and what.
template <typename Call>
void expect_typed(std::initializer_list<ErrorKind> kinds, Call call) {
  try {
    call();
  } catch (const Error& error) {
    require(std::find(kinds.begin(), kinds.end(), error.kind()) != kinds.end(),
            "an error of a kind that this parser may give, not " + std::string(error.what()));
    require(!error.detail().where.empty(), "an error that says where");
    const std::string_view text = error.what();
    require(std::none_of(text.begin(), text.end(),
                         [](char c) { return static_cast<uint8_t>(c) < 0x20 || c == 0x7f; }),
            "an error of one line");
    require(text.size() <= kMaxErrorBytes, "an error of a length that can be read");
  }
}

// Reads every byte, so that a sanitizer sees the one that is not there.
inline uint64_t touch(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (const std::byte b : bytes) sum += static_cast<uint64_t>(b);
  return sum;
}

// The input cut at its first zero byte: a main file and one that lies beside it.
inline std::pair<std::string_view, std::string_view> split_input(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = text.find('\0');
  if (cut == std::string_view::npos) return {text, {}};
  return {text.substr(0, cut), text.substr(cut + 1)};
}

// A file in memory for parsers that take a path; used again for every input.
class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) { require(fd_ >= 0, "a memory file"); }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  void write(std::span<const std::byte> bytes) {
    const auto size = static_cast<ssize_t>(bytes.size());
    require(::ftruncate(fd_, size) == 0 && ::pwrite(fd_, bytes.data(), bytes.size(), 0) == size,
            "room for the input in memory");
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace mlxn::fuzz
