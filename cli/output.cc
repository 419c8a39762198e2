// SPDX-License-Identifier: Apache-2.0
#include "output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace mlxn::cli {
namespace {

int g_stdout_errno = 0;

void remember_failure() {
  if (g_stdout_errno == 0) g_stdout_errno = errno != 0 ? errno : EIO;
}

}  // namespace

void occupy_standard_streams() {
  for (int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0) continue;
    // The wrong direction on purpose. open() takes the lowest free number, which is this one.
    if (::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
  }
}

void write_stderr(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stderr) != text.size()) std::clearerr(stderr);
}

void write_stdout(std::string_view text) {
  if (text.empty() || stdout_broken()) return;
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) remember_failure();
}

void flush_stdout() {
  if (stdout_broken()) return;
  errno = 0;
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) remember_failure();
}

bool stdout_broken() { return g_stdout_errno != 0; }
int stdout_errno() { return g_stdout_errno; }

// Devices and pipes are written in their place, and so is a file in a directory that takes no
// other.
OutputFile::OutputFile(std::string path) : path_(std::move(path)), file_(nullptr) {
  std::error_code error;
  const auto status = std::filesystem::status(path_, error);
  if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) open_beside();
  if (file_ == nullptr) file_ = std::fopen(path_.c_str(), "ab");
  if (file_ == nullptr) fail();
}

void OutputFile::open_beside() {
  struct stat old = {};
  const bool exists = ::stat(path_.c_str(), &old) == 0;
  if (exists && ::access(path_.c_str(), W_OK) != 0) return;
  std::error_code error;
  const auto target = std::filesystem::weakly_canonical(path_, error);  // of a link what it names
  if (error) return;
  std::string beside = target.string() + ".XXXXXX";
  const int file = ::mkstemp(beside.data());
  if (file < 0) return;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const bool is_ready = ::fchmod(file, exists ? old.st_mode & 07777 : 0666 & ~mask) == 0;
  file_ = is_ready ? ::fdopen(file, "wb") : nullptr;
  if (file_ == nullptr) {
    ::close(file);
    ::unlink(beside.c_str());
    return;
  }
  beside_ = std::move(beside);
  target_ = target.string();
}

OutputFile::~OutputFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (!beside_.empty()) ::unlink(beside_.c_str());
}

bool OutputFile::fail() {
  if (failure_.empty()) failure_ = path_ + ": " + std::strerror(errno);
  return false;
}

bool OutputFile::write(std::string_view text) {
  if (file_ == nullptr) return false;
  struct stat now = {};
  const bool has_old_text =
      beside_.empty() && ::fstat(::fileno(file_), &now) == 0 && S_ISREG(now.st_mode);
  if (has_old_text && ::ftruncate(::fileno(file_), 0) != 0) fail();
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) fail();
  if (std::fclose(std::exchange(file_, nullptr)) != 0) fail();
  if (!failure_.empty() || beside_.empty()) return failure_.empty();
  if (std::rename(beside_.c_str(), target_.c_str()) != 0) return fail();
  beside_.clear();
  return true;
}

}  // namespace mlxn::cli
