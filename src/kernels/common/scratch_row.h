// SPDX-License-Identifier: Apache-2.0
// Working memory of one task: a row of floats on the stack, on the heap only if it is long.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace mlxn::kernels {

class ScratchRow {
 public:
  static constexpr int64_t kInline = 1024;  // floats; 4 KiB of stack

  explicit ScratchRow(int64_t count)
      : heap_(count > kInline ? static_cast<size_t>(count) : 0),
        data_(count > kInline ? heap_.data() : stack_.data()) {}
  ScratchRow(const ScratchRow&) = delete;
  ScratchRow& operator=(const ScratchRow&) = delete;

  float* data() { return data_; }

 private:
  std::vector<float> heap_;
  alignas(64) std::array<float, kInline> stack_;
  float* data_;
};

}  // namespace mlxn::kernels
