// SPDX-License-Identifier: Apache-2.0
// Public entry points let no std::bad_alloc out: their bodies are try blocks that end here.
#pragma once

#include <new>

namespace mlxn::base {

// Throws Error(kBufferAllocation) without asking for memory: the error is a copy of one that was
// built when the program started.
[[noreturn]] void throw_no_memory();

}  // namespace mlxn::base
