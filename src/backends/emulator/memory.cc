// SPDX-License-Identifier: Apache-2.0
// What a kernel may touch, and who touched it last.
#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>

#include "backends/emulator/machine.h"

namespace mlxn::backends::emulator {
namespace {

constexpr size_t kRedZone = 64;  // between threadgroup arrays

extern "C" const char __executable_start, _end;

bool is_buffer(ParamKind kind) { return kind != ParamKind::kParams && kind != ParamKind::kTgBuf; }
bool is_written(ParamKind kind) { return kind == ParamKind::kOut || kind == ParamKind::kInOut; }

bool overlap(const Binding& a, const Binding& b) {
  const auto a_begin = reinterpret_cast<uintptr_t>(a.data),
             b_begin = reinterpret_cast<uintptr_t>(b.data);
  return a_begin < b_begin + b.bytes && b_begin < a_begin + a.bytes;
}

bool in_image(uintptr_t address) {
  return address >= image_begin() && address < reinterpret_cast<uintptr_t>(&_end);
}

}  // namespace

uintptr_t image_begin() { return reinterpret_cast<uintptr_t>(&__executable_start); }

std::string source_line(uintptr_t pc) {
  Dl_info info{};
  if (pc == 0 || dladdr(reinterpret_cast<void*>(pc), &info) == 0) return "?";
  char offset[32];
  std::snprintf(offset, sizeof offset, "%#zx",
                pc - 1 - reinterpret_cast<uintptr_t>(info.dli_fbase));
  const std::string command = "addr2line -i -e '" + std::string(info.dli_fname) + "' " + offset;
  std::string found = "?";
  if (FILE* pipe = popen(command.c_str(), "r")) {
    char line[512];
    while (std::fgets(line, sizeof line, pipe) != nullptr) {
      std::string text = line;
      text = text.substr(0, text.find_first_of(" \n"));
      const size_t folder = text.rfind('/', text.rfind('/') - 1);
      found = text.substr(folder == std::string::npos ? 0 : folder + 1);
      // The frames of the dialect itself say less than the line that uses it.
      const bool dialect = found.starts_with("common/gpu_metal.h") ||
                           found.starts_with("common/gpu_rows.h") ||
                           found.starts_with("include/metal_stdlib");
      if (!dialect) break;
    }
    pclose(pipe);
  }
  return found;
}

void Machine::add_region(std::string name, uintptr_t begin, size_t bytes, size_t element_size,
                         bool writable, bool threadgroup) {
  Region region{begin, begin + bytes, std::move(name), element_size, writable, threadgroup, false,
                0,     nullptr};
  region.shift = static_cast<uint32_t>(
      std::countr_zero(std::min<size_t>(element_size & (~element_size + 1), 16)));
  if (begin % (size_t{1} << region.shift) != 0) region.shift = 0;
  if (writable && (options_.races || options_.uninitialised)) {
    region.cells.reset(static_cast<Cell*>(std::calloc((bytes >> region.shift) + 1, sizeof(Cell))),
                       std::free);
  }
  for (Region& other : regions_) {
    if (other.begin < region.end && region.begin < other.end)
      other.overlaps = region.overlaps = true;
  }
  regions_.push_back(std::move(region));
}

void* Machine::allocate_threadgroup(const std::string& name, size_t element_size, size_t bytes) {
  arena_used_ = (arena_used_ + kRedZone + 15) / 16 * 16;
  threadgroup_bytes_ += (bytes + 15) / 16 * 16;
  if (threadgroup_bytes_ > launch_->max_threadgroup_bytes || arena_used_ + bytes > kArenaBytes) {
    return nullptr;
  }
  char* const memory = arena_ + arena_used_;
  arena_used_ += bytes;
  add_region("threadgroup array " + name, reinterpret_cast<uintptr_t>(memory), bytes, element_size,
             true, true);
  remember(nullptr);
  return memory;
}

std::string Machine::bind_operands() {
  const std::vector<Param>& params = launch_->kernel->params;
  const std::vector<Binding>& bindings = launch_->bindings;
  regions_.clear();
  shared_.clear();
  remember(nullptr);
  arena_used_ = threadgroup_bytes_ = 0;
  args_.assign(params.size(), nullptr);
  if (bindings.size() != params.size()) {
    return std::to_string(bindings.size()) + " arguments for " + std::to_string(params.size()) +
           " parameters";
  }
  for (size_t i = 0; i < params.size(); ++i) {
    if (params[i].kind != ParamKind::kIn || bindings[i].data == nullptr) continue;
    for (size_t j = 0; j < params.size(); ++j) {
      if (bindings[j].data == nullptr || !is_written(params[j].kind)) continue;
      if (overlap(bindings[i], bindings[j])) {
        return "IN " + params[i].name + " overlaps " + params[j].name + ", which is written";
      }
    }
  }
  // Written regions first: they win where an operand is read and written.
  for (const bool written : {true, false}) {
    for (size_t i = 0; i < params.size(); ++i) {
      if (!is_buffer(params[i].kind) || is_written(params[i].kind) != written) continue;
      args_[i] = bindings[i].data;
      if (bindings[i].data == nullptr) continue;
      add_region(params[i].name, reinterpret_cast<uintptr_t>(bindings[i].data), bindings[i].bytes,
                 params[i].size, written, false);
    }
  }
  for (size_t i = 0; i < params.size(); ++i) {
    if (params[i].kind == ParamKind::kTgBuf) {
      args_[i] = allocate_threadgroup(params[i].name, params[i].size, bindings[i].bytes);
      if (args_[i] == nullptr) {
        return "too much threadgroup memory: " + std::to_string(threadgroup_bytes_) + " bytes";
      }
    } else if (params[i].kind == ParamKind::kParams) {
      if (bindings[i].bytes != params[i].size) {
        return "params of " + std::to_string(bindings[i].bytes) + " bytes for a struct of " +
               std::to_string(params[i].size);
      }
      args_[i] = bindings[i].data;
      add_region(params[i].name, reinterpret_cast<uintptr_t>(bindings[i].data), bindings[i].bytes,
                 4, false, false);
    }
  }
  return {};
}

void* Machine::shared(const void* key, const char* name, size_t element_size, size_t count) {
  for (const SharedArray& array : shared_) {
    if (array.key == key) return reinterpret_cast<void*>(array.begin);
  }
  in_kernel_ = false;
  void* const memory = allocate_threadgroup(name, element_size, element_size * count);
  if (memory == nullptr) {
    fail("too much threadgroup memory: " + std::to_string(threadgroup_bytes_) + " bytes");
  }
  shared_.push_back({key, reinterpret_cast<uintptr_t>(memory)});
  in_kernel_ = true;
  return memory;
}

Region* Machine::find(uintptr_t address, size_t bytes) {
  for (Region& region : regions_) {
    if (address >= region.begin && address + bytes <= region.end) return &region;
  }
  return nullptr;
}

// The next access is likely to touch this region (null: any).
void Machine::remember(Region* region) {
  last_ = region;
  const bool passes = region != nullptr && region->cells == nullptr && !region->writable;
  passing.begin = passes ? region->begin : 0;
  passing.bytes = passes ? region->end - region->begin : 0;
}

// "y[100], byte 400 of 400": the region that holds the address or is nearest to it.
std::string Machine::describe(uintptr_t address) const {
  const Region* best = nullptr;
  uintptr_t best_distance = ~uintptr_t{0};
  for (const Region& region : regions_) {
    const uintptr_t distance = address < region.begin  ? region.begin - address
                               : address >= region.end ? address - region.end
                                                       : 0;
    if (distance < best_distance) {
      best_distance = distance;
      best = &region;
    }
  }
  if (best == nullptr) return "no operand";
  const auto byte = static_cast<int64_t>(address - best->begin);
  const auto size = static_cast<int64_t>(best->element_size);
  const int64_t index = byte >= 0 ? byte / size : -((-byte + size - 1) / size);
  return best->name + "[" + std::to_string(index) + "], byte " + std::to_string(byte) + " of " +
         std::to_string(best->end - best->begin);
}

bool Machine::conflicts(const Touch& other, const Touch& me, bool threadgroup) const {
  if (other.epoch == 0) return false;
  if (other.foreign != 0) return true;
  if (other.epoch < group_start_) return !threadgroup;  // another threadgroup of this launch
  if (other.epoch < me.epoch) return false;             // a barrier lies between
  if (other.many != 0) return true;
  if (other.thread == me.thread && other.several == 0 && me.several == 0) return false;
  return other.thread / kSimd != me.thread / kSimd || other.simd_epoch == me.simd_epoch;
}

void Machine::fail_race(const char* what, uintptr_t address, uintptr_t pc, const Touch& other,
                        uint32_t other_pc) {
  const bool foreign = other.epoch < group_start_ || other.foreign != 0;
  fail("race, " + std::string(what) + " on " + describe(address) + ": " + source_line(pc) +
       " and " + source_line(image_begin() + other_pc) +
       (foreign ? " of another threadgroup" : " of thread " + std::to_string(other.thread)));
}

void Machine::check_cells(Region& region, uintptr_t address, size_t bytes, bool write,
                          uintptr_t pc) {
  Touch me;
  me.epoch = epoch_[region.threadgroup ? 1 : 0];
  me.simd_epoch = simd_epoch_[current_->ids.simd];
  me.thread = static_cast<uint16_t>(current_->index & (kMaxThreads - 1));
  me.several = whole_simd_ ? 1 : 0;
  const auto short_pc = static_cast<uint32_t>(pc - image_begin());
  const size_t first = (address - region.begin) >> region.shift;
  const size_t last = (address + bytes - 1 - region.begin) >> region.shift;
  for (size_t i = first; i <= last; ++i) {
    Cell& cell = region.cells.get()[i];
    if (options_.races && conflicts(cell.write, me, region.threadgroup)) {
      fail_race(write ? "write after write" : "read after write", address, pc, cell.write,
                cell.write_pc);
    }
    if (write) {
      if (options_.races && conflicts(cell.read, me, region.threadgroup)) {
        fail_race("write after read", address, pc, cell.read, cell.read_pc);
      }
      cell.write = me;
      cell.write_pc = short_pc;
      continue;
    }
    if (options_.uninitialised && region.threadgroup && cell.write.epoch < group_start_) {
      fail("uninitialised read (or written later: no barrier?) of " + describe(address) + " at " +
           source_line(pc));
    }
    const Touch& other = cell.read;
    Touch merged = me;
    if (other.epoch != 0 && other.epoch < group_start_) merged.foreign = region.threadgroup ? 0 : 1;
    if (other.foreign != 0) merged.foreign = 1;
    if (other.epoch == me.epoch) {
      merged.several = other.several != 0 || whole_simd_ || other.thread != me.thread ? 1 : 0;
      merged.many = other.many != 0 || other.thread / kSimd != me.thread / kSimd ? 1 : 0;
    }
    cell.read = merged;
    cell.read_pc = short_pc;
  }
}

void Machine::access(uintptr_t address, size_t bytes, bool write, bool aligned, uintptr_t pc) {
  if (!in_kernel_ || bytes == 0) return;
  if (address - current_->stack < kStackBytes) return;
  Region* region = last_;
  if (region == nullptr || address < region->begin || address + bytes > region->end) {
    region = find(address, bytes);
    if (region == nullptr) {
      if (!options_.bounds || (in_image(address) && !write)) return;  // a constant table
      fail("out-of-bounds " + std::string(write ? "write" : "read") + " of " +
           std::to_string(bytes) + " bytes: " + describe(address) + " at " + source_line(pc));
    }
    remember(region->overlaps ? nullptr : region);
  }
  if (options_.alignment && aligned && bytes <= 16 && address % bytes != 0) {
    fail("misaligned " + std::to_string(bytes) + "-byte access: " + describe(address) + " at " +
         source_line(pc));
  }
  if (options_.bounds && write && !region->writable) {
    fail("write to read-only " + describe(address) + " at " + source_line(pc));
  }
  if (region->cells != nullptr) check_cells(*region, address, bytes, write, pc);
}

void Machine::matrix_access(uintptr_t address, size_t bytes, bool write, uintptr_t pc) {
  whole_simd_ = true;
  access(address, bytes, write, true, pc);
  whole_simd_ = false;
}

}  // namespace mlxn::backends::emulator
