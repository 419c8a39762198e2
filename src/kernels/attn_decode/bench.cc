// SPDX-License-Identifier: Apache-2.0
// One decode step over a full cache, in every entry. Caches rotate over more memory than the
// processor's caches hold. GB/s counts K and V once, as they are stored; %read compares with a sum
// over memory in the same run.
#include <benchmark/benchmark.h>

#include <map>

#include "kernels/attn_decode/params.h"
#include "kernels/common/bench_kit.h"
#include "mlxn/ops/attention.h"

namespace mlxn {
namespace {

// Measured once per thread count.
double read_bandwidth(int threads) {
  static std::map<int, double> known;
  const auto [it, is_new] = known.try_emplace(threads, 0.0);
  if (is_new) it->second = testing::measure_read_bandwidth(threads);
  return it->second;
}

Buffer filled(const Device& device, DType dtype, const Shape& shape) {
  const Buffer buffer = device.alloc(dtype, shape);
  // Small positive values that are normal in every float dtype.
  for (uint16_t& value : buffer.span<uint16_t>()) value = 0x3c00;
  return buffer;
}

void run(benchmark::State& state, DType kv_dtype, const std::string& kernel) {
  const int64_t dim = state.range(0), heads = state.range(1), kv_heads = state.range(2);
  const int64_t kv_len = state.range(3);
  const int threads = static_cast<int>(state.range(4));
  const double bandwidth = read_bandwidth(threads);
  DeviceOptions options;
  options.kernel = kernel;
  options.num_threads = threads;
  const Device device = Device::open("cpu", options);
  Stream stream(device);
  const Buffer q = filled(device, f32, {1, heads, dim}), out = device.alloc(f32, {1, heads, dim});
  struct Cache {
    Buffer k, v;
  };
  std::vector<Cache> caches;
  size_t bytes = 0;
  do {
    const Shape shape = {1, kv_heads, kv_len, dim};
    caches.push_back({filled(device, kv_dtype, shape), filled(device, kv_dtype, shape)});
    bytes = caches[0].k.byte_len() + caches[0].v.byte_len();
  } while (caches.size() * bytes < testing::kBenchRotation);
  size_t turn = 0;
  for (auto _ : state) {
    const Cache& cache = caches[turn++ % caches.size()];
    ops::attn_decode(
        stream,
        {.q = q, .k = cache.k, .v = cache.v, .out = out, .kv_len = kv_len, .softmax_scale = 0.01f});
    stream.commit().wait();
  }
  const double total = static_cast<double>(bytes) * static_cast<double>(state.iterations());
  const double flops = 4.0 * static_cast<double>(heads * kv_len * dim);
  const auto rate = benchmark::Counter::kIsRate;
  state.counters["GB/s"] = benchmark::Counter(1e-9 * total, rate);
  state.counters["%read"] = benchmark::Counter(100.0 * total / bandwidth, rate);
  state.counters["GFLOP/s"] =
      benchmark::Counter(1e-9 * flops * static_cast<double>(state.iterations()), rate);
}

const bool registered = [] {
  const Device device = Device::open("cpu", {});
  for (const auto& entry : kernels::attn_decode_entries()) {
    if (!kernels::refusal_of_device(entry, device).empty()) continue;
    for (DType dtype : {f16, f32}) {
      const std::string kernel = entry.name;
      auto* bench = benchmark::RegisterBenchmark(
          ("attn_decode/" + kernel + "/" + std::string(name(dtype))).c_str(),
          [=](benchmark::State& state) { run(state, dtype, kernel); });
      bench->ArgNames({"D", "H", "Hkv", "kv_len", "threads"})->UseRealTime();
      for (int64_t len : {4096, 32768}) {
        bench->Args({128, 32, 8, len, 2})->Args({256, 16, 8, len, 2})->Args({256, 16, 2, len, 2});
        bench->Args({512, 16, 2, len, 2})->Args({256, 4, 1, len, 2})->Args({64, 8, 8, len, 2});
      }
      bench->Args({256, 16, 2, 16384, 2})->Args({256, 4, 1, 96, 2});
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
