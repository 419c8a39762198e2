// SPDX-License-Identifier: Apache-2.0
// Fibres, barriers and simdgroup operations.
#include "backends/emulator/machine.h"

#include <sys/mman.h>

#include <bit>
#include <cstring>
#include <map>
#include <new>

#include "backends/emulator/fiber.h"

namespace mlxn::backends::emulator {
namespace {

thread_local Machine* machine = nullptr;

bool same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

// Most values that lanes exchange are words, which want no call.
void copy(void* to, const void* from, size_t bytes) {
  if (bytes == 4) {
    std::memcpy(to, from, 4);
  } else {
    std::memcpy(to, from, bytes);
  }
}

char* map_memory(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<char*>(memory);
}

}  // namespace

constinit thread_local Passing passing;

std::string to_text(Uint3 v) {
  return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")";
}

std::string to_text(Site site) {
  const std::string file = site.file;
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(site.line);
}

Machine::Machine()
    : stacks_(map_memory((kStackBytes + kGuardBytes) * kMaxThreads)),
      fibers_(kMaxThreads),
      slots_(kMaxThreads),
      arena_(map_memory(kArenaBytes)) {
  for (size_t i = 0; i < kMaxThreads; ++i) {
    ::mprotect(stacks_ + i * (kStackBytes + kGuardBytes), kGuardBytes, PROT_NONE);
  }
}

Machine::~Machine() {
  ::munmap(stacks_, (kStackBytes + kGuardBytes) * kMaxThreads);
  ::munmap(arena_, kArenaBytes);
}

std::string Machine::who() const { return launch_->kernel->name + ": "; }

// Ends the launch: the fibre that failed is never resumed.
void Machine::fail(const std::string& what) {
  in_kernel_ = false;
  error_ = who() + what + "; threadgroup " + to_text(current_->ids.group) + " thread " +
           std::to_string(current_->index);
  void* dead;
  mlxn_emulator_switch(&dead, main_sp_);
  __builtin_unreachable();
}

void Machine::resume(Fiber* fiber, void** save) {
  current_ = fiber;
  passing.stack = fiber->stack;
  mlxn_emulator_switch(save, fiber->sp);
}

Fiber* Machine::next_ready(uint32_t from) {
  const uint32_t words = (threads_ + 63) / 64;
  if (options_.schedule != 0) from = static_cast<uint32_t>(random_() % threads_);
  uint32_t word = from / 64;
  uint64_t bits = ready_[word] & (~uint64_t{0} << (from % 64));
  for (uint32_t i = 0; i <= words; ++i) {
    if (bits != 0) return &fibers_[word * 64 + static_cast<uint32_t>(std::countr_zero(bits))];
    word = word + 1 == words ? 0 : word + 1;
    bits = ready_[word];
  }
  return nullptr;
}

// The fibre cannot go on: runs another one, or the launch's loop if none can.
void Machine::leave(Fiber* fiber) {
  ready_[fiber->index / 64] &= ~(uint64_t{1} << (fiber->index % 64));
  Fiber* next = next_ready(fiber->index);
  if (next != nullptr) {
    resume(next, &fiber->sp);
  } else {
    mlxn_emulator_switch(&fiber->sp, main_sp_);
  }
}

void Machine::fiber_main() {
  Machine& m = *machine;
  Fiber* const fiber = m.current_;
  m.in_kernel_ = true;
  m.launch_->kernel->call(m.launch_->kernel->function, m.args_.data(), fiber->ids);
  m.in_kernel_ = false;
  fiber->at = At::kDone;
  m.leave(fiber);
}

void Machine::release_barrier(unsigned flags) {
  for (uint32_t i = 0; i < threads_; ++i) {
    if (fibers_[i].at != At::kBarrier) continue;
    fibers_[i].at = At::kRunning;
    make_ready(i);
  }
  at_barrier_ = 0;
  for (uint32_t space = 0; space < 2; ++space) {
    if ((flags >> space & 1) != 0) epoch_[space] = ++next_epoch_;
  }
}

void Machine::barrier(unsigned flags, Site site) {
  in_kernel_ = false;
  Fiber* const fiber = current_;
  fiber->at = At::kBarrier;
  fiber->site = site;
  barrier_flags_ = flags;
  if (++at_barrier_ < threads_) {
    leave(fiber);
  } else {
    for (uint32_t i = 0; i < threads_ && options_.barriers; ++i) {
      if (!same(fibers_[i].site, site)) fail("divergent barrier: " + stuck());
    }
    release_barrier(flags);
  }
  in_kernel_ = true;
}

void Machine::release_simd(uint32_t simd) {
  const uint32_t base = simd * kSimd;
  if (simd_combine_[simd] != nullptr) {
    simd_combine_[simd](&slots_[base]);
  } else {
    ++simd_epoch_[simd];  // a simdgroup barrier; other operations order no memory
  }
  for (uint32_t i = base; i < base + kSimd; ++i) {
    if (fibers_[i].at != At::kSimd) continue;
    fibers_[i].at = At::kRunning;
    make_ready(i);
  }
  for (uint32_t i = base; i < base + kSimd; ++i) slots_[i].present = false;
  simd_waiting_[simd] = 0;
}

void Machine::arrive_simd(Site site, void (*combine)(Slot*)) {
  Fiber* const fiber = current_;
  const uint32_t simd = fiber->ids.simd;
  fiber->at = At::kSimd;
  fiber->site = site;
  simd_combine_[simd] = combine;
  if (++simd_waiting_[simd] < kSimd) return leave(fiber);
  for (uint32_t i = simd * kSimd; i < (simd + 1) * kSimd && options_.simd; ++i) {
    if (!same(fibers_[i].site, site)) {
      fail("divergent simdgroup operation: " + to_text(fibers_[i].site) + " and " + to_text(site));
    }
  }
  release_simd(simd);
}

void Machine::simd_barrier(Site site) {
  in_kernel_ = false;
  arrive_simd(site, nullptr);
  in_kernel_ = true;
}

void Machine::collective(void* inout, size_t bytes, uint32_t source, void (*combine)(Slot*),
                         Site site) {
  in_kernel_ = false;
  Slot& slot = slots_[current_->index];
  copy(slot.value, inout, bytes);
  slot.source = source;
  slot.present = true;
  arrive_simd(site, combine);
  copy(inout, slot.value, bytes);
  in_kernel_ = true;
}

void Machine::compare_lanes(Slot* slots) {
  for (uint32_t i = 1; i < kSimd && machine->options_.simd; ++i) {
    if (std::memcmp(slots[i].value, slots[0].value, slots[0].source) != 0) {
      machine->fail("divergent simdgroup operation: the arguments of lanes 0 and " +
                    std::to_string(i) + " differ at " + to_text(machine->current_->site));
    }
  }
}

// Where everybody is, when nobody can run.
std::string Machine::stuck() const {
  std::map<std::string, uint32_t> where;
  for (uint32_t i = 0; i < threads_; ++i) {
    const Fiber& fiber = fibers_[i];
    const std::string place = fiber.at == At::kDone ? "returned"
                              : fiber.at == At::kBarrier
                                  ? "at the barrier " + to_text(fiber.site)
                                  : "at the simdgroup operation " + to_text(fiber.site);
    ++where[place];
  }
  std::string text;
  for (const auto& [place, count] : where) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " threads " + place;
  }
  return text;
}

// Nobody can run and not everybody is done. With the detectors this is the defect; without them the
// waiting threads go on, as on hardware that counts those that have left.
bool Machine::release_stuck() {
  bool any_simd = false, any_barrier = false;
  for (uint32_t i = 0; i < threads_; ++i) {
    any_simd = any_simd || fibers_[i].at == At::kSimd;
    any_barrier = any_barrier || fibers_[i].at == At::kBarrier;
  }
  if (!any_simd && !any_barrier) return false;
  if (any_simd ? options_.simd : options_.barriers) {
    error_ = who() + (any_simd ? "divergent simdgroup operation: " : "divergent barrier: ") +
             stuck() + "; threadgroup " + to_text(fibers_[0].ids.group);
    return false;
  }
  if (any_simd) {
    for (uint32_t simd = 0; simd < threads_ / kSimd; ++simd) {
      if (simd_waiting_[simd] > 0) release_simd(simd);
    }
  } else {
    release_barrier(barrier_flags_);
  }
  return true;
}

void Machine::make_fibers(Uint3 group) {
  for (uint32_t i = 0; i < threads_; ++i) {
    char* const stack = stacks_ + i * (kStackBytes + kGuardBytes) + kGuardBytes;
    const Ids ids{group, {threads_, 1, 1}, {i, 0, 0}, i % kSimd, i / kSimd};
    fibers_[i] = {prepare_stack(stack + kStackBytes, &fiber_main),
                  reinterpret_cast<uintptr_t>(stack),
                  ids,
                  i,
                  At::kRunning,
                  {"", 0}};
    slots_[i].present = false;
    make_ready(i);
  }
}

void Machine::run_group(Uint3 group) {
  at_barrier_ = 0;
  simd_waiting_.fill(0);
  ready_.fill(0);
  whole_simd_ = false;
  group_start_ = ++next_epoch_;
  epoch_.fill(group_start_);
  make_fibers(group);
  do {
    Fiber* const first = next_ready(0);
    resume(first, &main_sp_);
  } while (error_.empty() && release_stuck());
}

std::string Machine::prepare() {
  threads_ = launch_->threads;
  if (threads_ == 0 || threads_ > kMaxThreads || threads_ % kSimd != 0) {
    return "threadgroups of " + std::to_string(threads_) + " threads";
  }
  const auto fits = [](uint32_t groups, uint32_t most) { return groups > 0 && groups <= most; };
  if (!fits(launch_->groups.x, kMaxGroupsX) || !fits(launch_->groups.y, kMaxGroupsYZ) ||
      !fits(launch_->groups.z, kMaxGroupsYZ)) {
    return "a grid of " + to_text(launch_->groups) + " threadgroups";
  }
  random_.seed(options_.schedule + 1);
  next_epoch_ = 0;
  return bind_operands();
}

std::string Machine::run(const Launch& launch, const Options& options) {
  launch_ = &launch;
  options_ = options;
  error_.clear();
  const std::string why = prepare();
  if (!why.empty()) return who() + why;
  machine = this;
  const uint64_t groups = uint64_t{launch.groups.x} * launch.groups.y * launch.groups.z;
  for (uint64_t i = 0; i < groups && error_.empty(); ++i) {
    const uint64_t g = options_.schedule % 2 == 1 ? groups - 1 - i : i;
    const uint64_t row = g / launch.groups.x;
    run_group({static_cast<uint32_t>(g % launch.groups.x),
               static_cast<uint32_t>(row % launch.groups.y),
               static_cast<uint32_t>(row / launch.groups.y)});
  }
  machine = nullptr;
  current_ = nullptr;
  return error_;
}

void barrier(unsigned flags, Site site) { machine->barrier(flags, site); }
void simd_barrier(Site site) { machine->simd_barrier(site); }
void collective(void* inout, size_t bytes, uint32_t source, void (*combine)(Slot*), Site site) {
  machine->collective(inout, bytes, source, combine, site);
}
void same_in_lanes(const void* value, size_t bytes, Site site) {
  Slot copy;
  std::memcpy(copy.value, value, bytes);
  machine->collective(copy.value, bytes, uint32_t(bytes), &Machine::compare_lanes, site);
}
void matrix_access(const void* address, size_t bytes, bool write, const void* pc) {
  machine->matrix_access(reinterpret_cast<uintptr_t>(address), bytes, write,
                         reinterpret_cast<uintptr_t>(pc));
}
void* shared(const void* key, const char* name, size_t element_size, size_t count) {
  return machine->shared(key, name, element_size, count);
}
bool spec(unsigned index) { return (machine->launch().spec >> index & 1) != 0; }
uint32_t lane() { return machine->current().ids.lane; }

std::string run(const Launch& launch, const Options& options) {
  static thread_local Machine storage;
  return storage.run(launch, options);
}

// Called by the hooks (hooks.cc) for every access of an instrumented file.
void check_access(uintptr_t address, size_t bytes, bool write, bool aligned, uintptr_t pc) {
  if (machine != nullptr) machine->access(address, bytes, write, aligned, pc);
}

}  // namespace mlxn::backends::emulator
