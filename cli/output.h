// SPDX-License-Identifier: Apache-2.0
// Writing to stdout, stderr and files. Nothing here throws: stdout remembers that it failed, and a
// message that cannot be shown on stderr is dropped.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

namespace mlxn::cli {

// Takes the places of closed standard streams, so that no file that is opened later becomes one of
// them. Reading or writing such a stream fails as before.
void occupy_standard_streams();

void write_stderr(std::string_view text);

void write_stdout(std::string_view text);
void flush_stdout();
// Some text did not get out; whatever is written from now on is dropped.
bool stdout_broken();
// The error number of the failure; EPIPE: the reader has gone away.
int stdout_errno();

template <typename... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  write_stdout(fmt::format(format, std::forward<Args>(args)...));
}

// A file that is found to be writable long before it is written. A regular file appears, or
// changes, when all of it has been written, where its directory takes another file. What is no
// regular file is written in its place, and what stdout or stderr is goes there.
class OutputFile {
 public:
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Writes and closes. False after any failure.
  bool write(std::string_view text);
  // "path: No space left on device"; empty without a failure.
  const std::string& failure() const { return failure_; }

 private:
  bool fail();
  bool open_beside();
  bool write_and_close(std::string_view text);

  std::string path_;
  std::string target_;     // path_ without links; empty: the file is written in its place
  std::string beside_;     // what becomes target_, while it is there
  bool replaces_ = false;  // in its place: what the file had goes
  std::FILE* file_ = nullptr;
  std::string failure_;
};

}  // namespace mlxn::cli
