// SPDX-License-Identifier: Apache-2.0
// The Metal flavour of the dialect. Three compilers read it: Apple's; clang on Linux, to check it
// (MLXN_METAL_STRICT, with scripts/metal_check/metal_stdlib); any C++20 compiler, to run it
// (MLXN_EMULATOR, with src/backends/emulator/include/metal_stdlib).
#pragma once
#include <metal_stdlib>
using namespace metal;

#define GPU_LIBRARY_BEGIN
#define GPU_LIBRARY_END
#define DEVICE device
#define CONSTANT constant
#define THREADGROUP threadgroup
#define THREAD thread
#define GPU_FN inline
#define SIMD_WIDTH 32
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#define GPU_ENTRY kernel
#define GPU_P_IN(T, n) device const T* n
#define GPU_P_SHADOW(T, n) device const T* n
#define GPU_P_OUT(T, n) device T* n
#define GPU_P_INOUT(T, n) device T* n
#define GPU_P_PARAMS(T, n) constant T& n
#define GPU_A_IN(T, n) GPU_ATTR_BUFFER
#define GPU_A_SHADOW(T, n) GPU_ATTR_BUFFER
#define GPU_A_OUT(T, n) GPU_ATTR_BUFFER
#define GPU_A_INOUT(T, n) GPU_ATTR_BUFFER
#define GPU_A_PARAMS(T, n) GPU_ATTR_BUFFER
#define GPU_A_TGBUF(T, n) GPU_ATTR_THREADGROUP
#define GROUP_ID gpu_group
#define GROUP_SIZE gpu_size.x
#define THREAD_ID gpu_thread.x
#define LANE gpu_lane
#define SIMD_ID gpu_simd
#define NUM_SIMDS (gpu_size.x / 32u)
#define SPEC_TPARAM
#define INSTANTIATE_SPEC(host, fn, n, ...) INSTANTIATE(host, fn, __VA_ARGS__)

#if defined(MLXN_EMULATOR)
#include "kernels/common/gpu_host.h"
#else
#define GPU_P_TGBUF(T, n) threadgroup T* n
#define GPU_ATTR_BUFFER(i) [[buffer(i)]]
#define GPU_HIDDEN_PARAMS(text)                                                                \
  , uint3 gpu_group [[threadgroup_position_in_grid]],                                          \
      uint3 gpu_thread [[thread_position_in_threadgroup]],                                     \
      uint3 gpu_size [[threads_per_threadgroup]], uint gpu_lane [[thread_index_in_simdgroup]], \
      uint gpu_simd [[simdgroup_index_in_threadgroup]]
#define SPEC(n) n
#define EXPORT(fn)
#define KERNELS_BEGIN(op)
#define KERNELS_END
#endif

// What upstream clang spells differently.
#if defined(MLXN_METAL_STRICT)
#define GPU_ATTR_THREADGROUP(i)
#define SHARED(T, n, N) \
  threadgroup T* n = (threadgroup T*)gpu_strict_arena<sizeof(T) * (N)>(gpu_simd)
#define SPEC_BOOL(i, n) constant bool n = i > 100;
#define INSTANTIATE(host, fn, ...) template decltype(fn<__VA_ARGS__>) fn<__VA_ARGS__>;
#define GPU_CONVERT(V, x) __builtin_convertvector(x, V)
#define GPU_VECTOR(V, ...) \
  V { __VA_ARGS__ }
#else
#define GPU_CONVERT(V, x) V(x)
#define GPU_VECTOR(V, ...) V(__VA_ARGS__)
#if !defined(MLXN_EMULATOR)
#pragma METAL fp contract(off)
#define GPU_ATTR_THREADGROUP(i) [[threadgroup(0)]]
#define SHARED(T, n, N) threadgroup T n[N]
#define SPEC_BOOL(i, n) constant bool n [[function_constant(i)]];
#define INSTANTIATE(host, fn, ...) \
  template [[host_name(#host)]] kernel decltype(fn<__VA_ARGS__>) fn<__VA_ARGS__>;
#endif
#endif

inline float4 make_float4(float x, float y, float z, float w) {
  return GPU_VECTOR(float4, x, y, z, w);
}
inline float2 make_float2(float x, float y) { return GPU_VECTOR(float2, x, y); }
inline void await_inputs() {}
inline float quick_divide(float a, float b) { return a / b; }
inline float as_float(uint bits) { return as_type<float>(bits); }
inline uint as_uint(float value) { return as_type<uint>(value); }
inline int as_int(float value) { return as_type<int>(value); }
inline float4 fma4(float4 a, float4 b, float4 c) { return fma(a, b, c); }
inline float dot4(float4 a, float4 b, float c) {
  return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, c))));
}

// Four consecutive elements as floats; p is aligned to all four.
template <typename T>
inline float4 load4(device const T* p) {
  typedef vec<T, 4> V;
  return GPU_CONVERT(float4, *(device const V*)p);
}
template <typename T>
inline void store4(device T* p, float4 v) {
  typedef vec<T, 4> V;
  *(device V*)p = GPU_CONVERT(V, v);
}
#if !defined(MLXN_EMULATOR)  // on the host the address spaces are one
inline float4 load4(threadgroup const float* p) { return *(threadgroup const float4*)p; }
inline void store4(threadgroup float* p, float4 v) { *(threadgroup float4*)p = v; }
#endif

// V consecutive elements, V a multiple of 4; p is aligned to 16 bytes or to all of them.
template <int V, typename T>
inline void load_vec(device const T* p, thread float* v) {
  UNROLL for (int i = 0; i < V; i += 4) {
    const float4 x = load4(p + i);
    v[i] = x.x;
    v[i + 1] = x.y;
    v[i + 2] = x.z;
    v[i + 3] = x.w;
  }
}
template <int V, typename T>
inline void store_vec(device T* p, thread const float* v) {
  UNROLL for (int i = 0; i < V; i += 4)
      store4(p + i, make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]));
}

#if !defined(MLXN_EMULATOR)
template <int V>
inline void store_vec(threadgroup float* p, thread const float* v) {
  UNROLL for (int i = 0; i < V; i += 4)
      store4(p + i, make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]));
}
#endif

// Sixteen bytes as they are; both addresses are aligned to 16.
template <typename T>
inline void copy16(device const T* from, device T* to) {
  *(device uint4*)to = *(device const uint4*)from;
}
