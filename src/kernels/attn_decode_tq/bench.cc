// SPDX-License-Identifier: Apache-2.0
// One decode step over a full coded cache. Caches rotate over more memory than the processor's
// caches hold. GB/s counts codes and norms of K and V once.
#include <benchmark/benchmark.h>

#include "kernels/attn_decode_tq/params.h"
#include "kernels/common/bench_kit.h"

namespace mlxn {
namespace {

void run(benchmark::State& state, int bits, const std::string& kernel) {
  const int64_t dim = state.range(0), heads = state.range(1), kv_heads = state.range(2);
  const int64_t kv_len = state.range(3);
  DeviceOptions options;
  options.kernel = kernel;
  options.num_threads = static_cast<int>(state.range(4));
  const Device device = Device::open("cpu", options);
  Stream stream(device);
  const Buffer q = device.alloc(f32, {1, heads, dim}), out = device.alloc(f32, {1, heads, dim});
  std::vector<std::pair<ops::TqRows, ops::TqRows>> caches;
  size_t bytes = 0;
  do {
    caches.emplace_back(testing::coded_rows(device, bits, kv_heads, kv_len, dim),
                        testing::coded_rows(device, bits, kv_heads, kv_len, dim));
    bytes = 2 * (caches[0].first.codes.byte_len() + caches[0].first.norms.byte_len());
  } while (caches.size() * bytes < testing::kBenchRotation);
  size_t turn = 0;
  for (auto _ : state) {
    const auto& [k, v] = caches[turn++ % caches.size()];
    ops::AttnDecodeTqArgs args{.q = q, .k = k, .v = v, .out = out, .kv_len = kv_len};
    args.softmax_scale = 0.01f;
    ops::attn_decode_tq(stream, args);
    stream.commit().wait();
  }
  const double total = static_cast<double>(bytes) * static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(1e-9 * total, benchmark::Counter::kIsRate);
}

const bool registered = [] {
  const Device device = Device::open("cpu", {});
  for (const auto& entry : kernels::attn_decode_tq_entries()) {
    if (!kernels::refusal_of_device(entry, device).empty()) continue;
    for (int bits : {2, 3, 4, 5, 6, 8}) {
      const std::string kernel = entry.name;
      auto* bench = benchmark::RegisterBenchmark(
          ("attn_decode_tq/" + kernel + "/tq" + std::to_string(bits)).c_str(),
          [=](benchmark::State& state) { run(state, bits, kernel); });
      bench->ArgNames({"D", "H", "Hkv", "kv_len", "threads"})->UseRealTime();
      for (int64_t len : {4096, 16384}) {
        bench->Args({128, 32, 8, len, 2})->Args({256, 16, 8, len, 2})->Args({256, 16, 2, len, 2});
        bench->Args({512, 16, 2, len, 2});
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
