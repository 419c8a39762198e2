// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share. A target is one function on bytes, in the form libFuzzer calls. It
// lets every exception out but the typed errors that its parser may give; the fuzzer takes an
// escaped exception for a crash, and so does the replay test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "mlxn/error.h"

#ifdef MLXN_FUZZ
#include <sanitizer/allocator_interface.h>
#endif

namespace mlxn::fuzz {

inline constexpr size_t kMaxErrorBytes = 16'384;  // three fields of 1000 bytes as \xNN, and where

inline void require(bool holds, const std::string& what) {
  if (!holds) throw std::logic_error("broken promise: " + what);
}

#ifdef MLXN_FUZZ
// Bytes of the heap in use, all threads together, and their peak since the last input began.
inline std::atomic<int64_t> live_bytes = 0;
inline std::atomic<int64_t> peak_bytes = 0;

inline void count_malloc(const volatile void*, size_t size) {
  const int64_t live =
      live_bytes.fetch_add(static_cast<int64_t>(size)) + static_cast<int64_t>(size);
  if (live > peak_bytes.load()) peak_bytes.store(live);
}

inline void count_free(const volatile void* block) {
  if (block == nullptr) return;
  live_bytes.fetch_sub(
      static_cast<int64_t>(__sanitizer_get_allocated_size(const_cast<const void*>(block))));
}

inline const int hooks = __sanitizer_install_malloc_and_free_hooks(count_malloc, count_free);
#endif

// What one input may take: a second of the processor, so that a busy machine changes nothing, and
// 64 MiB of memory beyond its own size. Memory is counted in fuzzing builds only.
class Limits {
 public:
  explicit Limits(size_t input_bytes) : input_bytes_(input_bytes), start_(std::clock()) {
#ifdef MLXN_FUZZ
    before_ = live_bytes.load();
    peak_bytes.store(before_);
#endif
  }

  void check() const {
    require(std::clock() - start_ < CLOCKS_PER_SEC, "less than a second for an input");
#ifdef MLXN_FUZZ
    require(hooks != 0, "a count of the memory in use");
    require(peak_bytes.load() - before_ <= kMaxBytes + static_cast<int64_t>(input_bytes_),
            "less than 64 MiB beyond the input's size");
#endif
  }

 private:
  static constexpr int64_t kMaxBytes = int64_t{64} << 20;

  size_t input_bytes_;
  std::clock_t start_;
  int64_t before_ = 0;
};

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
