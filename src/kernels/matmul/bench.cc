// SPDX-License-Identifier: Apache-2.0
// matmul of every format: one row (bytes of weight per second, and as percent of what this run
// reads from memory) and 512 rows (operations per second). Weights rotate over more memory than
// caches hold. Arguments: rows of x, threads, N and K of the weight.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <map>

#include "kernels/common/bench_kit.h"
#include "kernels/matmul/test_cases.h"
#include "mlxn/ops/matmul.h"
#include "quant/panels.h"

namespace mlxn {
namespace {

using testing::Random;
using testing::WeightKind;

Device device_of(int threads) {
  DeviceOptions options;
  options.num_threads = threads;
  return Device::open("cpu", options);
}

// Repeats the rows of `one`.
Buffer repeat(const Device& device, const Buffer& one, int64_t times) {
  if (!one) return {};
  Shape shape = one.shape();
  shape[0] *= times;
  const Buffer all = device.alloc(one.dtype(), shape);
  for (int64_t i = 0; i < times; ++i) {
    std::memcpy(all.data() + static_cast<size_t>(i) * one.byte_len(), one.data(), one.byte_len());
  }
  return all;
}

void bench_matmul(benchmark::State& state, const WeightKind& kind, bool prepared) {
  const int64_t rows = state.range(0);
  const int threads = static_cast<int>(state.range(1));
  const int64_t n = state.range(2), k = state.range(3);
  // Anew for each weight: on a shared machine it changes from minute to minute.
  const double bandwidth = rows == 1 ? testing::measure_read_bandwidth(threads) : 0.0;
  const Device device = device_of(threads);
  Stream stream(device);
  Random random(1);
  constexpr int64_t kUnique = 64;
  const Weight unique = testing::random_weight(device, kind, {kUnique, k}, random);
  const auto make = [&] {
    Weight w = unique;
    w.shape = {n, k};
    w.data = repeat(device, unique.data, n / kUnique);
    w.scales = repeat(device, unique.scales, n / kUnique);
    w.biases = repeat(device, unique.biases, n / kUnique);
    return prepared ? prepare(device, w) : w;
  };
  std::vector<Weight> weights = {make()};
  const size_t bytes = stored_bytes(weights[0]);
  while (rows == 1 && weights.size() * bytes < testing::kBenchRotation) weights.push_back(make());
  const Buffer x = testing::random_buffer(device, f32, {rows, k}, random);
  const Buffer out = device.alloc(f32, {rows, n});
  size_t turn = 0;
  for (auto _ : state) {
    ops::matmul(stream, {.x = x, .weight = weights[turn++ % weights.size()], .out = out});
    stream.commit().wait();
  }
  const double runs = static_cast<double>(state.iterations());
  state.counters["GOP/s"] = benchmark::Counter(2e-9 * static_cast<double>(rows * n * k) * runs,
                                               benchmark::Counter::kIsRate);
  if (rows != 1) return;
  state.counters["GB/s"] =
      benchmark::Counter(1e-9 * static_cast<double>(bytes) * runs, benchmark::Counter::kIsRate);
  state.counters["%read"] = benchmark::Counter(
      100.0 * static_cast<double>(bytes) * runs / bandwidth, benchmark::Counter::kIsRate);
}

const bool registered = [] {
  std::vector<WeightKind> kinds = testing::coded_kinds();
  for (const int bits : {2, 3, 4, 5, 6, 8}) kinds.push_back({Format::kAffine, bits, 64, bf16});
  for (const Format format : {Format::kF16, Format::kBF16, Format::kF32}) kinds.push_back({format});
  std::map<std::string, WeightKind> by_name;
  for (const WeightKind& kind : kinds) by_name.emplace(kind.name(), kind);
  for (const auto& [kind_name, kind] : by_name) {
    for (bool prepared : {true, false}) {
      if (prepared && !quant::has_panels(kind.format)) continue;
      const std::string name = "matmul/" + kind_name + (prepared ? "/prepared" : "");
      benchmark::RegisterBenchmark(name.c_str(), bench_matmul, kind, prepared)
          ->ArgNames({"rows", "threads", "n", "k"})
          ->ArgsProduct({{1, 512}, {1, 2}, {4096}, {14336}})
          ->Args({1, 2, 6912, 1280})
          ->Args({1, 2, 1280, 6912})
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
