// SPDX-License-Identifier: Apache-2.0
#include "base/system_memory.h"

#if defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#else
#include <cstdlib>
#include <fstream>
#include <string>
#endif

namespace mlxn::base {

#if defined(__APPLE__)

SystemMemory system_memory() {
  SystemMemory memory;
  size_t size = sizeof(memory.total);
  if (::sysctlbyname("hw.memsize", &memory.total, &size, nullptr, 0) != 0) memory.total = 0;
  vm_statistics64_data_t pages{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  if (::host_statistics64(::mach_host_self(), HOST_VM_INFO64,
                          reinterpret_cast<host_info64_t>(&pages), &count) == KERN_SUCCESS) {
    memory.available = (uint64_t{pages.free_count} + pages.inactive_count) * vm_kernel_page_size;
  }
  return memory;
}

#else

// proc(5), /proc/meminfo: lines "Key:   number kB".
SystemMemory system_memory() {
  SystemMemory memory;
  const auto bytes_after = [](const std::string& line, size_t key_length) {
    return uint64_t{std::strtoull(line.c_str() + key_length, nullptr, 10)} * 1024;
  };
  constexpr std::string_view kTotal = "MemTotal:", kAvailable = "MemAvailable:";
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kTotal)) memory.total = bytes_after(line, kTotal.size());
    if (line.starts_with(kAvailable)) memory.available = bytes_after(line, kAvailable.size());
  }
  return memory;
}

#endif

}  // namespace mlxn::base
