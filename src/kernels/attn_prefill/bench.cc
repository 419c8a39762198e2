// SPDX-License-Identifier: Apache-2.0
// A chunk of 512 queries at the end of a cache of kv_len keys, causal. GFLOP/s counts
// 4 * head_dim * heads for every (query, key) pair that is kept.
#include <benchmark/benchmark.h>

#include "kernels/attn_prefill/params.h"
#include "mlxn/ops/attention.h"

namespace mlxn {
namespace {

constexpr int64_t kChunk = 512;

void fill(const Buffer& buffer) {
  // Small positive values that are normal in every float dtype.
  for (uint16_t& value : buffer.span<uint16_t>()) value = 0x3c00;
}

void run(benchmark::State& state, DType kv_dtype, const std::string& kernel) {
  DeviceOptions options;
  options.kernel = kernel;
  const Device device = Device::open("cpu", options);
  Stream stream(device);
  const int64_t dim = state.range(0), heads = state.range(1), kv_heads = state.range(2);
  const int64_t kv_len = state.range(3);
  const Buffer q = device.alloc(f32, {1, heads, kChunk, dim});
  const Buffer out = device.alloc(f32, {1, heads, kChunk, dim});
  const Buffer k = device.alloc(kv_dtype, {1, kv_heads, kv_len, dim});
  const Buffer v = device.alloc(kv_dtype, {1, kv_heads, kv_len, dim});
  for (const Buffer& buffer : {q, k, v}) fill(buffer);
  for (auto _ : state) {
    ops::attn_prefill(
        stream, {.q = q, .k = k, .v = v, .out = out, .kv_len = kv_len, .softmax_scale = 0.01f});
    stream.commit().wait();
  }
  const int64_t pairs = kChunk * kv_len - kChunk * (kChunk - 1) / 2;
  const double flops = 4.0 * static_cast<double>(dim * heads * pairs);
  const double bytes = static_cast<double>(k.byte_len() + v.byte_len());
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["GFLOP/s"] = benchmark::Counter(flops / 1e9, rate);
  state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, rate);
}

const bool registered = [] {
  const Device device = Device::open("cpu", {});
  for (const auto& entry : kernels::attn_prefill_entries()) {
    if (!kernels::refusal_of_device(entry, device).empty()) continue;
    for (DType dtype : {f16, f32}) {
      const std::string kernel = entry.name;
      auto* bench = benchmark::RegisterBenchmark(
          ("attn_prefill/" + kernel + "/" + std::string(name(dtype))).c_str(),
          [=](benchmark::State& state) { run(state, dtype, kernel); });
      bench->ArgNames({"D", "H", "Hkv", "kv_len"})->UseRealTime();
      for (int64_t len : {4096, 32768}) {
        bench->Args({128, 32, 8, len})->Args({256, 16, 8, len});
        bench->Args({256, 16, 2, len})->Args({512, 16, 2, len});
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
