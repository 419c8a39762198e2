// SPDX-License-Identifier: Apache-2.0
#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "mlxn/error.h"

namespace mlxn::base {
namespace {

[[noreturn]] void throw_io(const std::string& path, const char* action) {
  const int number = errno;
  throw Error(number == ENOMEM ? ErrorKind::kBufferAllocation : ErrorKind::kIo,
              ErrorDetail{path, action, std::strerror(number), ""});
}

// Closes the descriptor when the scope ends.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int open_regular_file(const std::string& path, struct stat& info) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer. Regular files ignore it.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw_io(path, "open");
  if (::fstat(fd, &info) != 0) {
    ::close(fd);
    throw_io(path, "stat");
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    throw Error(ErrorKind::kIo, ErrorDetail{path, "open", "not a regular file", "a regular file"});
  }
  return fd;
}

}  // namespace

std::shared_ptr<MappedFile> MappedFile::open(const std::string& path) {
  struct stat info {};
  const Descriptor fd(open_regular_file(path, info));
  const std::shared_ptr<MappedFile> file(new MappedFile(path));
  if (info.st_size > 0) file->map(fd.get(), static_cast<size_t>(info.st_size));
  return file;
}

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {}

void MappedFile::map(int fd, size_t size) {
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) throw_io(path_, "map");
  data_ = static_cast<const std::byte*>(address);
  size_ = size;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::let_go(std::span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  // Advice only: a failure leaves the pages where they are.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_text_file(const std::string& path, size_t max_bytes) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  if (bytes.size() > max_bytes) {
    throw Error(ErrorKind::kIo, ErrorDetail{path, "file size", std::to_string(bytes.size()),
                                            "at most " + std::to_string(max_bytes) + " bytes"});
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace mlxn::base
