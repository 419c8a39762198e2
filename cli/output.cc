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

bool is_open_as(int stream, const struct stat& file) {
  struct stat own = {};
  return ::fstat(stream, &own) == 0 && own.st_dev == file.st_dev && own.st_ino == file.st_ino;
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

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  struct stat old = {};
  std::error_code error;
  const bool exists = ::stat(path_.c_str(), &old) == 0;
  const bool leads_nowhere = !exists && std::filesystem::is_symlink(path_, error);
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    if (!exists || !is_open_as(stream, old)) continue;
    file_ = ::fdopen(::dup(stream), "ab");  // goes on where the stream is
    if (file_ == nullptr) fail();
    return;
  }
  replaces_ = exists && S_ISREG(old.st_mode);
  if ((replaces_ && ::access(path_.c_str(), W_OK) == 0) || (!exists && !leads_nowhere)) {
    target_ = std::filesystem::weakly_canonical(path_, error).string();
    // One file beside it shows that there may be another later.
    if (!target_.empty() && open_beside()) {
      std::fclose(std::exchange(file_, nullptr));
      ::unlink(beside_.c_str());
      return;
    }
    target_.clear();
  }
  file_ = std::fopen(path_.c_str(), "ab");
  if (file_ == nullptr) fail();
}

// With the mode of the file that it becomes.
bool OutputFile::open_beside() {
  beside_ = target_ + ".XXXXXX";
  const int file = ::mkstemp(beside_.data());
  if (file < 0) return false;
  struct stat old = {};
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const mode_t mode = ::stat(target_.c_str(), &old) == 0 ? old.st_mode & 07777 : 0666 & ~mask;
  if (::fchmod(file, mode) == 0) file_ = ::fdopen(file, "wb");
  if (file_ != nullptr) return true;
  ::close(file);
  ::unlink(beside_.c_str());
  return false;
}

OutputFile::~OutputFile() {
  if (file_ != nullptr) std::fclose(file_);
}

bool OutputFile::fail() {
  if (failure_.empty()) failure_ = path_ + ": " + std::strerror(errno);
  return false;
}

bool OutputFile::write_and_close(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), file_) == text.size();
  if (!written) fail();
  return std::fclose(std::exchange(file_, nullptr)) == 0 ? written : fail();
}

bool OutputFile::write(std::string_view text) {
  if (!failure_.empty()) return false;
  if (target_.empty()) {
    flush_stdout();
    if (replaces_ && ::ftruncate(::fileno(file_), 0) != 0) return fail();
    return write_and_close(text);
  }
  if (!open_beside()) return fail();
  if (write_and_close(text) && std::rename(beside_.c_str(), target_.c_str()) == 0) return true;
  fail();
  ::unlink(beside_.c_str());
  return false;
}

}  // namespace mlxn::cli
