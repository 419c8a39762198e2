// SPDX-License-Identifier: Apache-2.0
// Directories, for callers that may run out of memory: std::filesystem's iterators end the process
// when they cannot allocate.
#pragma once

#include <string>
#include <vector>

namespace mlxn::base {

// Names in a directory, sorted, without "." and "..". Throws Error(kIo) naming path and reason.
std::vector<std::string> list_directory(const std::string& path);

// Removes a file, or a directory that holds nothing but files. What cannot be removed stays.
void remove_files(const std::string& path) noexcept;

}  // namespace mlxn::base
