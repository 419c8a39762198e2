// SPDX-License-Identifier: Apache-2.0
#include "base/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "mlxn/error.h"

namespace mlxn::base {
namespace {

struct Closer {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, Closer>;

// The next entry's name; null at the end with errno 0, or on an error.
const char* next_name(DIR* directory) {
  while (true) {
    errno = 0;
    const dirent* const entry = ::readdir(directory);
    if (entry == nullptr) return nullptr;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return entry->d_name;
  }
}

[[noreturn]] void throw_io(const std::string& path) {
  const int number = errno;
  throw Error(number == ENOMEM ? ErrorKind::kBufferAllocation : ErrorKind::kIo,
              ErrorDetail{path, "list directory", std::strerror(number), ""});
}

}  // namespace

std::vector<std::string> list_directory(const std::string& path) {
  const Directory directory(::opendir(path.c_str()));
  if (directory == nullptr) throw_io(path);
  std::vector<std::string> names;
  while (const char* name = next_name(directory.get())) names.emplace_back(name);
  if (errno != 0) throw_io(path);
  std::sort(names.begin(), names.end());
  return names;
}

void remove_files(const std::string& path) noexcept {
  if (::unlink(path.c_str()) == 0) return;
  {
    const Directory directory(::opendir(path.c_str()));
    if (directory == nullptr) return;
    while (const char* name = next_name(directory.get())) {
      ::unlinkat(::dirfd(directory.get()), name, 0);
    }
  }
  ::rmdir(path.c_str());
}

}  // namespace mlxn::base
