// SPDX-License-Identifier: Apache-2.0
// What makes a kernel faster on some devices and means nothing on the others.
//   KERNEL_UP_TO(threads, name, ...)   a KERNEL whose threadgroups have at most so many threads,
//                                      which share the registers of a compute unit
//   prefetch(p)                        asks for the 128 bytes at p, which are read later, and then
//                                      only; it may stand in front of await_inputs()
#pragma once
#include "kernels/common/gpu.h"

#ifdef __CUDACC__
#define GPU_BOUND(threads) __launch_bounds__(threads)
#else
#define GPU_BOUND(threads)
#endif
#define KERNEL_UP_TO(threads, name, ...)                                 \
  GPU_ENTRY GPU_BOUND(threads) void name(GPU_MAP(GPU_PARAM, __VA_ARGS__) \
                                             GPU_HIDDEN_PARAMS(#__VA_ARGS__))

GPU_LIBRARY_BEGIN

template <typename T>
GPU_FN void prefetch(DEVICE const T* p) {
#ifdef __CUDACC__
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
#else
  (void)p;
#endif
}

GPU_LIBRARY_END
