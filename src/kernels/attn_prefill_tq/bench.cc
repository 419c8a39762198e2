// SPDX-License-Identifier: Apache-2.0
// A chunk of 512 queries at the end of a coded cache, beside the same over f16 rows. GFLOP/s counts
// 4 * D per head and visible pair.
#include <benchmark/benchmark.h>

#include "kernels/attn_prefill_tq/params.h"
#include "kernels/common/bench_kit.h"
#include "mlxn/ops/turboquant.h"

namespace mlxn {
namespace {

constexpr int64_t kQueries = 512;

// bits 0: f16 rows.
void run(benchmark::State& state, int bits, const std::string& kernel) {
  const int64_t dim = state.range(0), heads = state.range(1), kv_heads = state.range(2);
  const int64_t kv_len = state.range(3);
  DeviceOptions options;
  options.kernel = kernel;
  options.num_threads = static_cast<int>(state.range(4));
  const Device device = Device::open("cpu", options);
  Stream stream(device);
  const Buffer q = device.alloc(f32, {1, heads, kQueries, dim});
  const Buffer out = device.alloc(f32, q.shape());
  if (bits == 0) {
    const Buffer cache = device.alloc(f16, {1, kv_heads, kv_len, dim});
    for (auto _ : state) {
      ops::attn_prefill(stream,
                        {.q = q, .k = cache, .v = cache, .out = out, .kv_len = Lengths(kv_len)});
      stream.commit().wait();
    }
  } else {
    const ops::TqRows rows = testing::coded_rows(device, bits, kv_heads, kv_len, dim);
    for (auto _ : state) {
      ops::attn_prefill_tq(stream,
                           {.q = q, .k = rows, .v = rows, .out = out, .kv_len = Lengths(kv_len)});
      stream.commit().wait();
    }
  }
  const double pairs = static_cast<double>(kQueries) * static_cast<double>(kv_len - kQueries / 2);
  const double flop = 4.0 * static_cast<double>(dim * heads) * pairs;
  state.counters["GFLOP/s"] = benchmark::Counter(
      1e-9 * flop * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

const bool registered = [] {
  const Device device = Device::open("cpu", {});
  for (const auto& entry : kernels::attn_prefill_tq_entries()) {
    if (!kernels::refusal_of_device(entry, device).empty()) continue;
    for (int bits : {0, 2, 4, 8}) {
      const std::string kernel = entry.name;
      auto* bench = benchmark::RegisterBenchmark(
          ("attn_prefill_tq/" + kernel + (bits == 0 ? "/f16" : "/tq" + std::to_string(bits)))
              .c_str(),
          [=](benchmark::State& state) { run(state, bits, kernel); });
      bench->ArgNames({"D", "H", "Hkv", "kv_len", "threads"})->UseRealTime();
      bench->Args({128, 32, 8, 4096, 2})->Args({256, 16, 2, 4096, 2});
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
