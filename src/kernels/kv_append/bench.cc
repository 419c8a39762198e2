// SPDX-License-Identifier: Apache-2.0
// Appending a chunk of f32 keys and values to a head-major cache. GB/s counts what is read and
// what is written.
#include <benchmark/benchmark.h>

#include "kernels/kv_append/params.h"
#include "mlxn/ops/attention.h"

namespace mlxn {
namespace {

void run(benchmark::State& state, DType cache_dtype, const std::string& kernel) {
  DeviceOptions options;
  options.kernel = kernel;
  const Device device = Device::open("cpu", options);
  Stream stream(device);
  const int64_t dim = state.range(0), heads = state.range(1), n = state.range(2);
  const Buffer k = device.alloc(f32, {1, n, heads, dim}), v = device.alloc(f32, {1, n, heads, dim});
  const Buffer k_cache = device.alloc(cache_dtype, {1, heads, 4096, dim});
  const Buffer v_cache = device.alloc(cache_dtype, {1, heads, 4096, dim});
  for (auto _ : state) {
    ops::kv_append(stream, {.k = k, .k_cache = k_cache, .v = v, .v_cache = v_cache, .pos = 1000});
    stream.commit().wait();
  }
  const double bytes = static_cast<double>(2 * n * heads * dim) *
                       static_cast<double>(sizeof(float) + size_of(cache_dtype));
  state.counters["GB/s"] =
      benchmark::Counter(bytes / 1e9, benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  const Device device = Device::open("cpu", {});
  for (const auto& entry : kernels::kv_append_entries()) {
    if (!kernels::refusal_of_device(entry, device).empty()) continue;
    for (DType dtype : {f16, bf16, f32}) {
      const std::string kernel = entry.name;
      auto* bench = benchmark::RegisterBenchmark(
          ("kv_append/" + kernel + "/" + std::string(name(dtype))).c_str(),
          [=](benchmark::State& state) { run(state, dtype, kernel); });
      bench->ArgNames({"D", "Hkv", "n"})->UseRealTime();
      for (int64_t n : {1, 512}) bench->Args({128, 8, n})->Args({256, 16, n});
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
