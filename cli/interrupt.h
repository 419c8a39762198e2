// SPDX-License-Identifier: Apache-2.0
// Ctrl-C: the first one asks the current work to stop, a second one ends the process at once.
#pragma once

namespace mlxn::cli {

void catch_interrupts();
bool interrupted();
// For chat: forget the interrupt after the answer was cut off.
void clear_interrupt();

}  // namespace mlxn::cli
