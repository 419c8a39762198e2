// SPDX-License-Identifier: Apache-2.0
#include "convert/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/directory.h"
#include "checkpoint/fail.h"
#include "mlxn/error.h"

namespace mlxn::convert {
namespace {

namespace fs = std::filesystem;
using checkpoint::fail;

[[noreturn]] void fail_io(const std::string& path, const char* action, int number) {
  fail(ErrorKind::kIo, path, action, std::strerror(number), "");
}

[[noreturn]] void refuse(const std::string& path, std::string found, std::string required) {
  fail(ErrorKind::kInvalidArgument, "quantize", "destination " + path, std::move(found),
       std::move(required));
}

// Absolute, links resolved as far as the path exists, without a slash at the end.
fs::path canonical(const std::string& path) {
  std::error_code error;
  fs::path result = fs::weakly_canonical(fs::absolute(path, error), error);
  if (error) fail(ErrorKind::kIo, path, "resolve path", error.message(), "");
  return result.has_filename() ? result : result.parent_path();
}

bool is_inside(const fs::path& path, const fs::path& directory) {
  auto at = path.begin();
  for (const fs::path& part : directory) {
    if (at == path.end() || *at++ != part) return false;
  }
  return true;
}

// What this program or its peers write: config.json and plain files around it.
bool is_model_directory(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path / "config.json", error)) return false;
  for (const std::string& name : base::list_directory(path.string())) {
    if (!fs::is_regular_file(path / name, error)) return false;
  }
  return true;
}

// A name beside `target` that nothing has.
std::string hidden_name(const fs::path& target, const char* end) {
  std::error_code error;
  for (int attempt = 0;; ++attempt) {
    const fs::path path =
        target.parent_path() /
        fmt::format(".{}.{}-{}.{}", target.filename().string(), ::getpid(), attempt, end);
    if (!fs::exists(fs::symlink_status(path, error))) return path.string();
  }
}

}  // namespace

FileWriter::FileWriter(std::string path) : path_(std::move(path)) {
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file_ < 0) reject("create");
}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}

FileWriter::~FileWriter() {
  if (file_ >= 0) ::close(file_);
}

void FileWriter::reject(const char* action) const { fail_io(path_, action, errno); }

void FileWriter::reserve(uint64_t bytes) {
  if (bytes == 0) return;
#if defined(__linux__)
  if (::fallocate(file_, 0, 0, static_cast<off_t>(bytes)) == 0) return;
  if (errno != EOPNOTSUPP && errno != ENOSYS) reject("reserve space");
#endif
  if (::ftruncate(file_, static_cast<off_t>(bytes)) != 0) reject("reserve space");
}

void FileWriter::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) reject("write");
    if (count == 0) fail_io(path_, "write", ENOSPC);
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
}

void FileWriter::write_at(uint64_t offset, std::string_view text) {
  write_at(offset, std::as_bytes(std::span(text.data(), text.size())));
}

void FileWriter::close() {
  // Some file systems report a full disk only here.
  if (::fsync(file_) != 0 && errno != EINVAL) reject("write");
  if (::close(std::exchange(file_, -1)) != 0) reject("close");
}

Destination::Destination(Kind kind, std::string target, const std::string& source, bool overwrite)
    : kind_(kind), target_(canonical(target).string()) {
  check_target(source, overwrite);
  const fs::path parent = fs::path(target_).parent_path();
  std::error_code error;
  if (!fs::is_directory(parent, error)) {
    fail(ErrorKind::kIo, parent.string(), "directory of the destination", "nothing",
         "a directory that exists");
  }
  path_ = hidden_name(target_, "partial");
  if (kind_ == Kind::kDirectory && !fs::create_directory(path_, error)) {
    fail(ErrorKind::kIo, path_, "create", error.message(), "");
  }
}

void Destination::check_target(const std::string& source, bool overwrite) const {
  const fs::path from = canonical(source);
  if (is_inside(target_, from)) {
    refuse(target_, from == target_ ? "the source itself" : "a place inside the source",
           "another directory");
  }
  std::error_code error;
  const fs::file_status status = fs::symlink_status(target_, error);
  if (!fs::exists(status)) return;
  if (!overwrite) refuse(target_, "a file or directory", "a name that nothing has");
  if (is_inside(from, target_)) refuse(target_, "the source inside it", "another directory");
  if (kind_ == Kind::kFile && !fs::is_regular_file(status)) {
    refuse(target_, "something that is not a file", "a file to replace");
  }
  if (kind_ == Kind::kDirectory && !(fs::is_directory(status) && is_model_directory(target_))) {
    refuse(target_, "something that is not a model directory",
           "a directory with config.json and nothing but files");
  }
}

Destination::~Destination() {
  if (!committed_) base::remove_files(path_);
}

// A directory cannot take the place of one that is not empty, so the old one steps aside first.
void Destination::replace_directory() {
  const std::string aside = hidden_name(target_, "old");
  std::error_code error;
  fs::rename(target_, aside, error);
  if (!error) {
    fs::rename(path_, target_, error);
    std::error_code ignored;
    if (error) {
      fs::rename(aside, target_, ignored);
    } else {
      base::remove_files(aside);
    }
  }
  if (error) fail(ErrorKind::kIo, target_, "replace", error.message(), "");
}

void Destination::commit() {
  std::error_code error;
  if (kind_ == Kind::kDirectory && fs::exists(fs::symlink_status(target_, error))) {
    replace_directory();
  } else {
    fs::rename(path_, target_, error);
    if (error) fail(ErrorKind::kIo, target_, "rename", error.message(), "");
  }
  committed_ = true;
}

void write_text_file(const std::string& path, std::string_view text) {
  FileWriter file(path);
  file.write_at(0, text);
  file.close();
}

}  // namespace mlxn::convert
