// SPDX-License-Identifier: Apache-2.0
// What tests may set and see of the stand-in.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fake_metal {

// How the device behaves. Reset by `= {}`.
struct Behaviour {
  size_t working_set = size_t{16} << 30;  // recommendedMaxWorkingSetSize
  size_t longest_buffer = size_t{8} << 30;
  bool maps_foreign_memory = true;      // else newBufferWithBytesNoCopy answers nil
  unsigned threads_by_registers = 512;  // of a pipeline that asks for no number
  long command_buffer_error = 0;        // not 0: the code with which command buffers fail
  bool may_trace = true;                // whether the process may write .gputrace documents
};
Behaviour& behaviour();

// What was done since the last `= {}`.
struct Log {
  size_t command_buffers = 0, encoders = 0, dispatches = 0, barriers = 0;
  size_t libraries = 0, pipelines = 0;
  std::vector<std::string> traces;  // "path: n command buffers", when they end
};
Log& log();

}  // namespace fake_metal
