// SPDX-License-Identifier: Apache-2.0
// Makes the Metal backend known to a test program whose library has none.
#include "backends/metal/metal_devices.h"

namespace mlxn::backends::metal {
namespace {

struct Opener {
  Opener() {
    register_backend(
        "metal", [](DeviceOptions options) { return open_device("metal", std::move(options)); });
  }
};
const Opener opener;

}  // namespace
}  // namespace mlxn::backends::metal
