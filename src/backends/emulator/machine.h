// SPDX-License-Identifier: Apache-2.0
// The state of one launch: fibres, memory regions, and what each element was last touched by.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/emulator/emulator.h"

namespace mlxn::backends::emulator {

inline constexpr uint32_t kSimd = 32;
inline constexpr uint32_t kMaxThreads = 1024;
// Threadgroups along the axes, as GPUs take them.
inline constexpr uint32_t kMaxGroupsX = 0x7fffffff, kMaxGroupsYZ = 65535;
inline constexpr size_t kStackBytes = size_t{64} << 10;
inline constexpr size_t kGuardBytes = 4096;
inline constexpr size_t kArenaBytes = size_t{256} << 10;  // threadgroup memory and its red zones

// One access to an element. Epochs count the barriers of a memory space, so that two accesses in
// one epoch have no barrier between them.
struct Touch {
  uint32_t epoch = 0;       // 0: none in this launch
  uint16_t simd_epoch = 0;  // simdgroup barriers of the thread's simdgroup
  uint16_t thread : 10 = 0;
  uint16_t several : 1 = 0;  // by several threads of one simdgroup, or any one of them
  uint16_t many : 1 = 0;     // by several simdgroups
  uint16_t foreign : 1 = 0;  // by another threadgroup too
};
struct Cell {
  Touch write, read;
  uint32_t write_pc = 0, read_pc = 0;  // relative to the program's start
};

// Memory that the kernel may touch: a buffer or a threadgroup array.
struct Region {
  uintptr_t begin, end;
  std::string name;
  size_t element_size;
  bool writable, threadgroup, overlaps;
  uint32_t shift = 0;           // log2 of the bytes of a cell
  std::shared_ptr<Cell> cells;  // null: read-only; zeroed lazily, so that only touched pages cost
};

enum class At : uint8_t { kRunning, kBarrier, kSimd, kDone };
struct Fiber {
  void* sp;
  uintptr_t stack;
  Ids ids;
  uint32_t index;
  At at;
  Site site;
};

// The memory that needs no look at what else has touched it: the running fibre's stack, and the
// read-only operand that was read last. Most accesses are to these, and the hooks (hooks.cc) let
// them pass without a call.
struct Passing {
  uintptr_t stack = 0;
  uintptr_t begin = 0, bytes = 0;
};
extern constinit thread_local Passing passing;

class Machine {
 public:
  Machine();
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  std::string run(const Launch& launch, const Options& options);

  // From kernels.
  void barrier(unsigned flags, Site site);
  void simd_barrier(Site site);
  void collective(void* inout, size_t bytes, uint32_t source, void (*combine)(Slot*), Site site);
  static void compare_lanes(Slot* slots);  // `source` bytes of them
  void matrix_access(uintptr_t address, size_t bytes, bool write, uintptr_t pc);
  void* shared(const void* key, const char* name, size_t element_size, size_t count);
  void access(uintptr_t address, size_t bytes, bool write, bool aligned, uintptr_t pc);
  const Launch& launch() const { return *launch_; }
  const Fiber& current() const { return *current_; }

 private:
  [[noreturn]] void fail(const std::string& what);
  std::string who() const;

  // Scheduling (machine.cc).
  std::string prepare();
  void run_group(Uint3 group);
  void make_fibers(Uint3 group);
  static void fiber_main();
  void resume(Fiber* fiber, void** save);
  Fiber* next_ready(uint32_t from);
  void leave(Fiber* fiber);
  void make_ready(uint32_t index) { ready_[index / 64] |= uint64_t{1} << (index % 64); }
  void release_barrier(unsigned flags);
  void arrive_simd(Site site, void (*combine)(Slot*));
  void release_simd(uint32_t simd);
  bool release_stuck();
  std::string stuck() const;

  // Memory (memory.cc).
  std::string bind_operands();
  void add_region(std::string name, uintptr_t begin, size_t bytes, size_t element_size,
                  bool writable, bool threadgroup);
  void* allocate_threadgroup(const std::string& name, size_t element_size, size_t bytes);
  Region* find(uintptr_t address, size_t bytes);
  void remember(Region* region);
  std::string describe(uintptr_t address) const;
  bool conflicts(const Touch& other, const Touch& me, bool threadgroup) const;
  void check_cells(Region& region, uintptr_t address, size_t bytes, bool write, uintptr_t pc);
  [[noreturn]] void fail_race(const char* what, uintptr_t address, uintptr_t pc, const Touch& other,
                              uint32_t other_pc);

  const Launch* launch_ = nullptr;
  Options options_;
  std::string error_;
  std::minstd_rand random_;

  char* stacks_ = nullptr;
  std::vector<Fiber> fibers_;
  uint32_t threads_ = 0, at_barrier_ = 0;
  std::array<uint64_t, kMaxThreads / 64> ready_ = {};
  Fiber* current_ = nullptr;
  void* main_sp_ = nullptr;
  bool in_kernel_ = false;   // false while the emulator's own code runs on a fibre
  bool whole_simd_ = false;  // the access under way is the simdgroup's

  std::vector<Slot> slots_;  // per thread
  std::array<uint32_t, kMaxThreads / kSimd> simd_waiting_ = {};
  std::array<void (*)(Slot*), kMaxThreads / kSimd> simd_combine_ = {};
  std::array<uint16_t, kMaxThreads / kSimd> simd_epoch_ = {};
  unsigned barrier_flags_ = 0;

  std::vector<void*> args_;
  std::vector<Region> regions_;
  Region* last_ = nullptr;
  struct SharedArray {
    const void* key;
    uintptr_t begin;
  };
  std::vector<SharedArray> shared_;
  char* arena_ = nullptr;
  size_t arena_used_ = 0, threadgroup_bytes_ = 0;
  uint32_t next_epoch_ = 0, group_start_ = 0;
  std::array<uint32_t, 2> epoch_ = {};  // of device and threadgroup memory
};

// "file:line" of an instruction: the innermost frame that is kernel text.
std::string source_line(uintptr_t pc);
// The start of the program's image, to which cells' addresses are relative.
uintptr_t image_begin();
std::string to_text(Uint3 v);
std::string to_text(Site site);

}  // namespace mlxn::backends::emulator
