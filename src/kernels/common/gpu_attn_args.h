// SPDX-License-Identifier: Apache-2.0
// What launchers and kernels of attention share. Read by C++, CUDA and Metal.
#pragma once

// The type of queries and outputs.
enum GpuQueryType { kGpuQueryF32, kGpuQueryF16, kGpuQueryBF16 };
