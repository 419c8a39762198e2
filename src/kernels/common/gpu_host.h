// SPDX-License-Identifier: Apache-2.0
// What the emulator replaces in the Metal flavour: registration, threadgroup arrays, specialisation
// constants and the hidden parameters. Everything else is gpu_metal.h over the emulator's
// <metal_stdlib>.
#pragma once

#define GPU_P_TGBUF(T, n) ::mlxn::backends::emulator::TgBuf<T> n
#define GPU_ATTR_BUFFER(i)
#define GPU_ATTR_THREADGROUP(i)
#define GPU_HIDDEN_PARAMS(text)                                                      \
  , uint3 gpu_group, uint3 gpu_thread, uint3 gpu_size, uint gpu_lane, uint gpu_simd, \
      ::mlxn::backends::emulator::Declared<text>
#define SHARED(T, n, N)          \
  static const char n##_key = 0; \
  T* n = static_cast<T*>(::mlxn::backends::emulator::shared(&n##_key, #n, sizeof(T), N))
#define SPEC_BOOL(i, n) constexpr unsigned gpu_spec_index_##n = i;
#define SPEC(n) ::mlxn::backends::emulator::spec(gpu_spec_index_##n)
#define INSTANTIATE(host, fn, ...) \
  static const ::mlxn::backends::emulator::Registration gpu_reg_##host(#host, &fn<__VA_ARGS__>);
#define EXPORT(fn) static const ::mlxn::backends::emulator::Registration gpu_reg_##fn(#fn, &fn);
#define KERNELS_BEGIN(op) \
  namespace mlxn_gpu {    \
  namespace kernels_##op {
#define KERNELS_END \
  }                 \
  }
