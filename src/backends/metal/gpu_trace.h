// SPDX-License-Identifier: Apache-2.0
// One commit of a device as a .gputrace document, which Xcode opens.
#pragma once

#include <atomic>
#include <string>

#include "backends/metal/metal_cpp.h"
#include "mlxn/device.h"

namespace mlxn::backends::metal {

class GpuTrace {
 public:
  // Throws kInvalidArgument if a trace is asked for that this process may not write.
  explicit GpuTrace(const DeviceOptions& options);

  // Around a commit of any stream: command buffers are made and committed between the two. begin
  // says whether this is the commit to trace; end is called if so.
  bool begin(MTL::Device* device);
  void end();

 private:
  std::string path_;  // empty: nothing is traced
  int commit_;        // the one to trace, counted from 0
  std::atomic<int> commits_{0};
};

}  // namespace mlxn::backends::metal
