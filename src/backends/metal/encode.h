// SPDX-License-Identifier: Apache-2.0
// One dispatch into a compute encoder.
#pragma once

#include "backends/metal/metal_stream.h"

namespace mlxn::backends::metal {

// The dispatch of a launch: its pipeline, its operands as buffers and offsets. Throws
// kInvalidArgument for a launch that the pipeline cannot run and for an address that lies in no
// buffer of `access`.
Dispatch resolve(MetalDevice& gpu, GpuLaunch launch, Access access);

void encode_dispatch(const Dispatch& dispatch, MTL::ComputeCommandEncoder& encoder);

}  // namespace mlxn::backends::metal
