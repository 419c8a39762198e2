// SPDX-License-Identifier: Apache-2.0
// Switching stacks on x86-64 and aarch64.
#pragma once

#include <cstddef>

namespace mlxn::backends::emulator {

// Saves the callee-saved registers on this stack and its stack pointer in *save, then goes on where
// `load` was saved.
extern "C" void mlxn_emulator_switch(void** save, void* load);

// A stack whose first switch enters `entry`. entry never returns.
void* prepare_stack(char* top, void (*entry)());

}  // namespace mlxn::backends::emulator
