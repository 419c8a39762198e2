// SPDX-License-Identifier: Apache-2.0
// The functions that -fsanitize=thread calls. Kernels are compiled with that flag and linked to
// these instead of its runtime, so that every access of a kernel is seen and pointers stay raw.
#include <cstdint>
#include <cstring>

#include "backends/emulator/machine.h"

namespace mlxn::backends::emulator {

void check_access(uintptr_t address, size_t bytes, bool write, bool aligned, uintptr_t pc);

namespace {

inline void hook(const void* p, size_t bytes, bool write, bool aligned, uintptr_t pc) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  if (address - passing.stack < kStackBytes) return;
  const uintptr_t offset = address - passing.begin;
  const bool inside = offset < passing.bytes && bytes <= passing.bytes - offset;
  if (inside && !write && (!aligned || address % bytes == 0)) return;
  check_access(address, bytes, write, aligned, pc);
}

}  // namespace
}  // namespace mlxn::backends::emulator

#define EMU_PC reinterpret_cast<uintptr_t>(__builtin_return_address(0))
#define EMU_CHECK(p, n, write, aligned) mlxn::backends::emulator::hook(p, n, write, aligned, EMU_PC)
#define EMU_HOOKS(n)                                                        \
  void __tsan_read##n(void* p) { EMU_CHECK(p, n, false, true); }            \
  void __tsan_write##n(void* p) { EMU_CHECK(p, n, true, true); }            \
  void __tsan_unaligned_read##n(void* p) { EMU_CHECK(p, n, false, false); } \
  void __tsan_unaligned_write##n(void* p) { EMU_CHECK(p, n, true, false); } \
  void __tsan_read_write##n(void* p) {                                      \
    EMU_CHECK(p, n, false, true);                                           \
    EMU_CHECK(p, n, true, true);                                            \
  }

extern "C" {
EMU_HOOKS(1)
EMU_HOOKS(2)
EMU_HOOKS(4)
EMU_HOOKS(8)
EMU_HOOKS(16)
void __tsan_read_range(void* p, size_t n) { EMU_CHECK(p, n, false, false); }
void __tsan_write_range(void* p, size_t n) { EMU_CHECK(p, n, true, false); }
void* __tsan_memcpy(void* to, const void* from, size_t n) {
  EMU_CHECK(from, n, false, false);
  EMU_CHECK(to, n, true, false);
  return std::memcpy(to, from, n);
}
void* __tsan_memset(void* to, int value, size_t n) {
  EMU_CHECK(to, n, true, false);
  return std::memset(to, value, n);
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_init() {}
}
