// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and SIGTERM: the first one asks the current work to stop, a second one ends the process at
// once.
#pragma once

namespace mlxn::cli {

// Also makes a pipe without a reader an error of the write instead of a signal.
void catch_interrupts();
bool interrupted();
// The exit code that names the signal: kInterrupted or kTerminated.
int interrupt_exit_code();
// For chat: forget Ctrl-C after the answer was cut off. SIGTERM stays.
void clear_interrupt();

}  // namespace mlxn::cli
