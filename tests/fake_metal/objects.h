// SPDX-License-Identifier: Apache-2.0
// The Metal objects that both halves of the stand-in use.
#pragma once

#include <Metal/Metal.hpp>
#include <memory>
#include <string>
#include <vector>

#include "backends/emulator/emulator.h"
#include "fake_metal/objc.h"

namespace fake_metal {

using UInt = NS::UInteger;

struct Buffer : Object {
  char* data = nullptr;
  size_t length = 0;
  std::shared_ptr<char> owned;  // null: the caller's memory
  std::string label;
};
// A function, and a pipeline made of it.
struct Function : Object {
  const mlxn::backends::emulator::Kernel* kernel = nullptr;
  uint32_t spec = 0;
  unsigned max_threads = 0;
};
struct Queue : Object {
  std::vector<struct CommandBuffer*> committed;  // not run yet, retained
};

}  // namespace fake_metal
