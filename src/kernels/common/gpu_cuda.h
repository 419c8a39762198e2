// SPDX-License-Identifier: Apache-2.0
// The CUDA flavour of the dialect: a simdgroup is a warp. Compile with -fmad=false, so that only
// fma() is fused.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "backends/cuda/kernel_registry.h"

#define KERNELS_BEGIN(op) \
  namespace mlxn {        \
  namespace gpu {         \
  namespace kernels_##op {
#define KERNELS_END \
  }                 \
  }                 \
  }
// What kernels of every folder share.
#define GPU_LIBRARY_BEGIN \
  namespace mlxn {        \
  namespace gpu {
#define GPU_LIBRARY_END \
  }                     \
  }
#define DEVICE
#define CONSTANT const
#define THREADGROUP
#define THREAD
#ifdef MLXN_CUDA_CHECK  // nobody runs it: a function is compiled once, not in every kernel
#define GPU_FN __device__ inline
#else
#define GPU_FN __device__ __forceinline__
#endif
#define SIMD_WIDTH 32
#define UNROLL _Pragma("unroll")

#define GPU_ENTRY __global__
// Nothing is restrict: loads of what is const and restrict go through a cache that await_inputs()
// does not renew, and the compiler moves them in front of it.
#define GPU_P_IN(T, n) const T* n
#define GPU_P_SHADOW(T, n) const T* n
#define GPU_P_OUT(T, n) T* n
#define GPU_P_INOUT(T, n) T* n
#define GPU_P_PARAMS(T, n) const T n
#define GPU_P_TGBUF(T, n) ::mlxn::gpu::DynamicShared<T> n
#define GPU_A_IN(T, n) GPU_NOTHING
#define GPU_A_SHADOW(T, n) GPU_NOTHING
#define GPU_A_OUT(T, n) GPU_NOTHING
#define GPU_A_INOUT(T, n) GPU_NOTHING
#define GPU_A_PARAMS(T, n) GPU_NOTHING
#define GPU_A_TGBUF(T, n) GPU_NOTHING
#define GPU_NOTHING(i)
#define GPU_HIDDEN_PARAMS(text)
#define GROUP_ID blockIdx
#define GROUP_SIZE blockDim.x
#define THREAD_ID threadIdx.x
#define LANE (threadIdx.x & 31u)
#define SIMD_ID (threadIdx.x >> 5)
#define NUM_SIMDS (blockDim.x >> 5)

#define SHARED(T, n, N) __shared__ __align__(16) T n[N]
// A specialisation constant is one bit of a template parameter: every combination is instantiated.
#define SPEC_TPARAM , unsigned gpu_spec = 0
#define SPEC_BOOL(i, n) constexpr unsigned gpu_spec_bit_##n = i;
#define SPEC(n) (((gpu_spec >> gpu_spec_bit_##n) & 1u) != 0)
#define GPU_REGISTER(host, spec, ...)                                                     \
  static const ::mlxn::backends::cuda::KernelRegistration GPU_CAT(gpu_reg_, __COUNTER__)( \
      #host, spec, reinterpret_cast<const void*>(&__VA_ARGS__));
#define EXPORT(fn) GPU_REGISTER(fn, 0, fn)
#define INSTANTIATE(host, fn, ...) GPU_REGISTER(host, 0, fn<__VA_ARGS__>)
#define INSTANTIATE_SPEC(host, fn, n, ...) GPU_CAT(GPU_INST_SPEC, n)(host, fn, __VA_ARGS__)
#define GPU_INST_SPEC1(host, fn, ...)       \
  GPU_REGISTER(host, 0, fn<__VA_ARGS__, 0>) \
  GPU_REGISTER(host, 1, fn<__VA_ARGS__, 1>)
#define GPU_INST_SPEC2(host, fn, ...)       \
  GPU_INST_SPEC1(host, fn, __VA_ARGS__)     \
  GPU_REGISTER(host, 2, fn<__VA_ARGS__, 2>) \
  GPU_REGISTER(host, 3, fn<__VA_ARGS__, 3>)
#define GPU_INST_SPEC3(host, fn, ...)       \
  GPU_INST_SPEC2(host, fn, __VA_ARGS__)     \
  GPU_REGISTER(host, 4, fn<__VA_ARGS__, 4>) \
  GPU_REGISTER(host, 5, fn<__VA_ARGS__, 5>) \
  GPU_REGISTER(host, 6, fn<__VA_ARGS__, 6>) \
  GPU_REGISTER(host, 7, fn<__VA_ARGS__, 7>)

namespace mlxn {
namespace gpu {

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef __nv_bfloat16 bfloat;

template <typename T>
struct DynamicShared {
  GPU_FN operator T*() const {
    extern __shared__ uint4 gpu_dynamic_shared[];
    return reinterpret_cast<T*>(gpu_dynamic_shared);
  }
};

// A kernel may start before the one in front of it has ended, and from here on so may the next one;
// CudaStream says when. Older GPUs start kernels one after the other.
GPU_FN void await_inputs() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// a / b to 2 units in the last place for 1 <= |b|, without a branch; 0 from |b| = 2^126 on.
GPU_FN float quick_divide(float a, float b) { return __fdividef(a, b); }

GPU_FN float as_float(uint bits) { return __uint_as_float(bits); }
GPU_FN uint as_uint(float value) { return __float_as_uint(value); }
GPU_FN int as_int(float value) { return __float_as_int(value); }

GPU_FN float2 operator+(float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); }
GPU_FN float2 operator*(float2 a, float2 b) { return make_float2(a.x * b.x, a.y * b.y); }
GPU_FN float2 operator*(float2 a, float s) { return make_float2(a.x * s, a.y * s); }
GPU_FN float4 operator+(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
GPU_FN float4 operator-(float4 a, float4 b) {
  return make_float4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w);
}
GPU_FN float4 operator*(float4 a, float4 b) {
  return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}
GPU_FN float4 operator*(float4 a, float s) {
  return make_float4(a.x * s, a.y * s, a.z * s, a.w * s);
}
GPU_FN float4 operator*(float s, float4 a) { return a * s; }
GPU_FN float4 fma4(float4 a, float4 b, float4 c) {
  return make_float4(fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y), fmaf(a.z, b.z, c.z),
                     fmaf(a.w, b.w, c.w));
}
GPU_FN float dot4(float4 a, float4 b, float c) {
  return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, c))));
}

// Two 16-bit elements in one word.
GPU_FN float2 unpack2(uint u, half) {
  return __half22float2(*reinterpret_cast<const __half2*>(&u));
}
GPU_FN float2 unpack2(uint u, bfloat) {
  return make_float2(__uint_as_float(u << 16), __uint_as_float(u & 0xffff0000u));
}
GPU_FN uint pack2(float a, float b, half) {
  const __half2 h = __floats2half2_rn(a, b);
  return *reinterpret_cast<const uint*>(&h);
}
GPU_FN uint pack2(float a, float b, bfloat) {
  const __nv_bfloat162 h = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint*>(&h);
}

// Four consecutive elements as floats; p is aligned to all four.
template <typename T>
GPU_FN float4 load4(const T* p) {
  const uint2 u = *reinterpret_cast<const uint2*>(p);
  const float2 a = unpack2(u.x, T()), b = unpack2(u.y, T());
  return make_float4(a.x, a.y, b.x, b.y);
}
GPU_FN float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
template <typename T>
GPU_FN void store4(T* p, float4 v) {
  *reinterpret_cast<uint2*>(p) = make_uint2(pack2(v.x, v.y, T()), pack2(v.z, v.w, T()));
}
GPU_FN void store4(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }

// V consecutive elements, V a multiple of 4; p is aligned to 16 bytes or to all of them. Eight
// 16-bit elements are one 128-bit access.
template <int V, typename T>
GPU_FN void load_vec(const T* p, float* v) {
  if constexpr (sizeof(T) == 2 && V % 8 == 0) {
    UNROLL for (int i = 0; i < V; i += 8) {
      const uint4 u = *reinterpret_cast<const uint4*>(p + i);
      const uint words[4] = {u.x, u.y, u.z, u.w};
      UNROLL for (int j = 0; j < 4; j++) {
        const float2 x = unpack2(words[j], T());
        v[i + 2 * j] = x.x;
        v[i + 2 * j + 1] = x.y;
      }
    }
  } else {
    UNROLL for (int i = 0; i < V; i += 4) {
      const float4 x = load4(p + i);
      v[i] = x.x;
      v[i + 1] = x.y;
      v[i + 2] = x.z;
      v[i + 3] = x.w;
    }
  }
}
template <int V, typename T>
GPU_FN void store_vec(T* p, const float* v) {
  if constexpr (sizeof(T) == 2 && V % 8 == 0) {
    UNROLL for (int i = 0; i < V; i += 8) {
      uint words[4];
      UNROLL for (int j = 0; j < 4; j++) words[j] = pack2(v[i + 2 * j], v[i + 2 * j + 1], T());
      *reinterpret_cast<uint4*>(p + i) = make_uint4(words[0], words[1], words[2], words[3]);
    }
  } else {
    UNROLL for (int i = 0; i < V; i += 4) {
      store4(p + i, make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]));
    }
  }
}

// Sixteen bytes as they are; both addresses are aligned to 16.
template <typename T>
GPU_FN void copy16(const T* from, T* to) {
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
}

namespace mem_flags {
enum Flags : unsigned { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
}
GPU_FN void threadgroup_barrier(unsigned) { __syncthreads(); }
GPU_FN void simdgroup_barrier(unsigned) { __syncwarp(); }

template <typename T>
GPU_FN T simd_shuffle(T v, uint lane) {
  return __shfl_sync(0xffffffffu, v, lane);
}
template <typename T>
GPU_FN T simd_broadcast(T v, uint lane) {
  return __shfl_sync(0xffffffffu, v, lane);
}
template <typename T>
GPU_FN T simd_shuffle_xor(T v, uint mask) {
  return __shfl_xor_sync(0xffffffffu, v, mask);
}
GPU_FN float4 simd_shuffle_xor(float4 v, uint m) {
  return make_float4(simd_shuffle_xor(v.x, m), simd_shuffle_xor(v.y, m), simd_shuffle_xor(v.z, m),
                     simd_shuffle_xor(v.w, m));
}
// Lane i takes the value of lane i + delta; what the last delta lanes get is not defined.
template <typename T>
GPU_FN T simd_shuffle_down(T v, uint delta) {
  return __shfl_down_sync(0xffffffffu, v, delta);
}
template <typename T>
GPU_FN T simd_sum(T v) {
  UNROLL for (uint o = 16; o > 0; o /= 2) v = v + simd_shuffle_xor(v, o);
  return v;
}
template <typename T>
GPU_FN T simd_max(T v) {
  UNROLL for (uint o = 16; o > 0; o /= 2) v = max(v, simd_shuffle_xor(v, o));
  return v;
}
template <typename T>
GPU_FN T simd_min(T v) {
  UNROLL for (uint o = 16; o > 0; o /= 2) v = min(v, simd_shuffle_xor(v, o));
  return v;
}
// One instruction each; integers have one result in any order.
GPU_FN uint simd_sum(uint v) { return __reduce_add_sync(0xffffffffu, v); }
GPU_FN uint simd_max(uint v) { return __reduce_max_sync(0xffffffffu, v); }
GPU_FN uint simd_min(uint v) { return __reduce_min_sync(0xffffffffu, v); }
// The sum over the lanes in front of this one.
template <typename T>
GPU_FN T simd_prefix_exclusive_sum(T v) {
  T sum = v;
  UNROLL for (uint o = 1; o < 32; o *= 2) {
    const T below = __shfl_up_sync(0xffffffffu, sum, o);
    if (LANE >= o) sum = sum + below;
  }
  const T result = __shfl_up_sync(0xffffffffu, sum, 1);
  return LANE == 0 ? T(0) : result;
}

}  // namespace gpu
}  // namespace mlxn
