// SPDX-License-Identifier: Apache-2.0
// The GPU dialect: one kernel text for Metal, CUDA and the emulator. docs/gpu_dialect.md explains
// it with an example; this page is the reference.
//
//     KERNELS_BEGIN(scale)
//     template <typename T>
//     KERNEL(scale, IN(T, x), OUT(T, y), PARAMS(GpuScale, p)) {
//       await_inputs();
//       const uint i = GROUP_ID.x * GROUP_SIZE + THREAD_ID;
//       if (i < p.count) y[i] = T(float(x[i]) * p.factor);
//     }
//     INSTANTIATE(scale_f16, scale, half)
//     KERNELS_END
//
// Parameters. The position of a parameter is its index in the launch (and Metal's buffer index).
//   IN(T, n)      read-only device memory that no one writes during the launch
//   SHADOW(T, n)  read-only device memory that may be the very buffer of an OUT: an element is read
//                 by the thread that writes it, before it does (in-place operands)
//   OUT(T, n)     device memory that is written
//   INOUT(T, n)   device memory that is read and written
//   PARAMS(S, n)  a constant struct of 4-byte scalars; at most one
//   TGBUF(T, n)   threadgroup memory whose size the launch gives; at most one, and last
// A launch may leave a buffer out (null); the kernel then may not touch it and learns so from
// PARAMS.
//
// In the body, which begins with await_inputs(): device memory is not touched before.
//   GROUP_ID.x .y .z, GROUP_SIZE, THREAD_ID   this threadgroup; its threads; this thread in it
//   LANE, SIMD_ID, NUM_SIMDS, SIMD_WIDTH      lane, simdgroup (a warp), simdgroups, always 32
//   SHARED(T, n, N)                           T n[N] in threadgroup memory, at the top of the body
//   SPEC(n)                                   a specialisation constant, see SPEC_BOOL
//   DEVICE, CONSTANT, THREADGROUP, THREAD     the address space (CONSTANT is const), in front of
//   every pointer and
//                                             reference of a helper's parameters
// and Metal's names: threadgroup_barrier(mem_flags::mem_threadgroup), simd_sum, simd_max, simd_min,
// simd_shuffle, simd_shuffle_xor, simd_shuffle_down, simd_broadcast, simd_prefix_exclusive_sum;
// min, max, fma, exp, log, sqrt, ... ; half, bfloat, uint, ulong, float2, float4. quick_divide(a,
// b) is for 1 <= |b|, and 0 where the quotient of a number is below 2^-100.
//
// Rules that keep the text portable.
//   1. Threadgroups are one-dimensional, a multiple of 32 threads, at most 1024.
//   2. Barriers are reached by all threads of the group, simdgroup operations by all 32 lanes.
//   3. Vectors are built by make_float4, moved by load4, load_vec, store4, ...; no swizzles.
//   4. Conversions are written float(x), T(x); arithmetic is float or integer, never half or
//   double.
//   5. A helper is GPU_FN; helpers have no threadgroup arrays of their own and do not recurse.
//   6. Structs in device or constant memory are read field by field.
//   7. min and max drop a NaN or keep it, as the device likes: kernels that promise NaN test for
//   it.
// Nothing is contracted: a * b + c rounds twice, fma(a, b, c) once, on every device.
//
// Reductions over a threadgroup, row access that needs no alignment: gpu_rows.h.
#pragma once

#define GPU_CAT2(a, b) a##b
#define GPU_CAT(a, b) GPU_CAT2(a, b)
#define GPU_COUNT(...) \
  GPU_COUNT_(__VA_ARGS__, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define GPU_COUNT_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, count, ...) count
// GPU_MAPn(M, a, b, ...): M(0, a), M(1, b), ...
#define GPU_MAP1(M, a) M(0, a)
#define GPU_MAP2(M, a, b) GPU_MAP1(M, a), M(1, b)
#define GPU_MAP3(M, a, b, c) GPU_MAP2(M, a, b), M(2, c)
#define GPU_MAP4(M, a, b, c, d) GPU_MAP3(M, a, b, c), M(3, d)
#define GPU_MAP5(M, a, b, c, d, e) GPU_MAP4(M, a, b, c, d), M(4, e)
#define GPU_MAP6(M, a, b, c, d, e, f) GPU_MAP5(M, a, b, c, d, e), M(5, f)
#define GPU_MAP7(M, a, b, c, d, e, f, g) GPU_MAP6(M, a, b, c, d, e, f), M(6, g)
#define GPU_MAP8(M, a, b, c, d, e, f, g, h) GPU_MAP7(M, a, b, c, d, e, f, g), M(7, h)
#define GPU_MAP9(M, a, b, c, d, e, f, g, h, i) GPU_MAP8(M, a, b, c, d, e, f, g, h), M(8, i)
#define GPU_MAP10(M, a, b, c, d, e, f, g, h, i, j) GPU_MAP9(M, a, b, c, d, e, f, g, h, i), M(9, j)
#define GPU_MAP11(M, a, b, c, d, e, f, g, h, i, j, k) \
  GPU_MAP10(M, a, b, c, d, e, f, g, h, i, j), M(10, k)
#define GPU_MAP12(M, a, b, c, d, e, f, g, h, i, j, k, l) \
  GPU_MAP11(M, a, b, c, d, e, f, g, h, i, j, k), M(11, l)
#define GPU_MAP13(M, a, b, c, d, e, f, g, h, i, j, k, l, m) \
  GPU_MAP12(M, a, b, c, d, e, f, g, h, i, j, k, l), M(12, m)
#define GPU_MAP14(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n) \
  GPU_MAP13(M, a, b, c, d, e, f, g, h, i, j, k, l, m), M(13, n)
#define GPU_MAP15(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o) \
  GPU_MAP14(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n), M(14, o)
#define GPU_MAP16(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
  GPU_MAP15(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o), M(15, p)
#define GPU_MAP17(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q) \
  GPU_MAP16(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p), M(16, q)
#define GPU_MAP18(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r) \
  GPU_MAP17(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q), M(17, r)
#define GPU_MAP19(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s) \
  GPU_MAP18(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r), M(18, s)
#define GPU_MAP20(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t) \
  GPU_MAP19(M, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s), M(19, t)
#define GPU_MAP(M, ...) GPU_CAT(GPU_MAP, GPU_COUNT(__VA_ARGS__))(M, __VA_ARGS__)

// IN(half, q) at position 2 becomes  GPU_P_IN(half, q) GPU_A_IN(half, q)(2):  a flavour defines the
// declaration (GPU_P_*) and what follows it (GPU_A_*: an attribute in Metal, nothing elsewhere).
#define GPU_PARAM(i, x) GPU_P_##x GPU_A_##x(i)
#define KERNEL(name, ...) \
  GPU_ENTRY void name(GPU_MAP(GPU_PARAM, __VA_ARGS__) GPU_HIDDEN_PARAMS(#__VA_ARGS__))

// KERNELS_BEGIN(op) ... KERNELS_END     around the kernels and helpers of one folder.
// INSTANTIATE(host_name, kernel, args)  makes kernel<args> known to launches as host_name.
// EXPORT(kernel)                        the same for a kernel that is no template.
// SPEC_BOOL(i, name)                    in front of KERNELS_BEGIN: bit i of the launch's spec bits,
//                                       fixed when the kernel is compiled; counted per folder from
//                                       0.
// A kernel that reads SPEC(name) writes  template <typename T SPEC_TPARAM>  and is made known by
// INSTANTIATE_SPEC(host_name, kernel, n, args), n (1 to 3) being the number of bits it may read.

#ifdef __CUDACC__
#include "kernels/common/gpu_cuda.h"
#else
#include "kernels/common/gpu_metal.h"  // Apple's compiler, clang's strict parse, and the emulator
#endif
