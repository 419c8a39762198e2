// SPDX-License-Identifier: Apache-2.0
// The device that tests of ops and of whole models run on. Not in namespace testing, which some of
// them mean to be GoogleTest's.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "mlxn/device.h"

namespace mlxn {

// The device that this run of a test program is about: "cpu", or what MLXN_TEST_DEVICE names. ctest
// runs the programs of ops with GPU kernels once more with "emulator", with "metal" and with
// "cuda".
inline std::string test_device_id() {
  const char* id = std::getenv("MLXN_TEST_DEVICE");
  return id != nullptr ? id : "cpu";
}
inline bool on_emulator() { return test_device_id() == "emulator"; }
// Whether large cases are left out: on the emulator, whose GPU threads are fibres on the host and a
// thousand times slower than a CPU, and where MLXN_TEST_SHORT says so: on Metal's stand-in, which
// is the emulator again, and under compute-sanitizer.
inline bool is_short() { return on_emulator() || std::getenv("MLXN_TEST_SHORT") != nullptr; }

// What a test program returns that found no device to test; ctest then says "skipped".
inline constexpr int kSkipped = 77;

// The device under test; only the entry `kernel` runs (empty: the best). For the emulator the
// number of threads stands for an order in which GPU threads run. A GPU's buffers are in memory
// that the tests can read if unified_memory says so. Without the GPU that was asked for the program
// ends here: tests are listed before main() begins, and their list depends on the device.
inline Device test_device(const std::string& kernel = "", int num_threads = 2,
                          bool unified_memory = true) {
  DeviceOptions options;
  options.kernel = kernel;
  options.num_threads = num_threads;
  options.unified_memory = unified_memory;
  try {
    return Device::open(test_device_id(), options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDeviceNotFound) throw;
    std::fprintf(stderr, "SKIPPED: %s\n", error.what());
    std::_Exit(kSkipped);
  }
}

}  // namespace mlxn
