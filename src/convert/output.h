// SPDX-License-Identifier: Apache-2.0
// Output that appears under its name when it is complete, and leaves nothing behind otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace mlxn::convert {

// A file that is written at any position, from several threads. Throws kIo naming the file and the
// reason, such as "No space left on device".
class FileWriter {
 public:
  // Creates the file, which must not exist.
  explicit FileWriter(std::string path);
  ~FileWriter();
  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&&) = delete;

  // Gives the file its size; where the file system can, its space on the disk too.
  void reserve(uint64_t bytes);
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  void write_at(uint64_t offset, std::string_view text);
  // Everything is on the disk, or an error.
  void close();

 private:
  [[noreturn]] void reject(const char* action) const;

  std::string path_;
  int file_ = -1;
};

// The destination: a file or a directory. Work happens under path(), a new hidden name beside it.
class Destination {
 public:
  enum class Kind : uint8_t { kFile, kDirectory };

  // Throws kInvalidArgument if `target` exists and may not be replaced (`overwrite`, and only a
  // file by a file and a model directory by a directory), if it is or lies inside `source`, or
  // would replace it. The directory is created.
  Destination(Kind kind, std::string target, const std::string& source, bool overwrite);
  // Removes what was written unless commit() was called.
  ~Destination();
  Destination(const Destination&) = delete;
  Destination& operator=(const Destination&) = delete;

  const std::string& path() const { return path_; }
  void commit();

 private:
  void check_target(const std::string& source, bool overwrite) const;
  void replace_directory();

  Kind kind_;
  std::string target_;
  std::string path_;
  bool committed_ = false;
};

// A small text file. Throws kIo.
void write_text_file(const std::string& path, std::string_view text);

}  // namespace mlxn::convert
