// SPDX-License-Identifier: Apache-2.0
// A file mapped read-only.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace mlxn::base {

class MappedFile {
 public:
  // Throws Error(kIo) naming the path and the reason; kBufferAllocation if there is no room for the
  // mapping.
  static std::shared_ptr<MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  // Takes the whole pages of `part`, a part of bytes(), out of this process's memory. They stay
  // readable: the next access brings them back from the file.
  void let_go(std::span<const std::byte> part) const;

 private:
  explicit MappedFile(std::string path);
  void map(int fd, size_t size);

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole text of a file. Throws Error(kIo); files over max_bytes are refused.
std::string read_text_file(const std::string& path, size_t max_bytes);

}  // namespace mlxn::base
