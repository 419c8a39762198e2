// SPDX-License-Identifier: Apache-2.0
// What the benchmarks of memory-bound ops share: the rate at which memory can be read.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "backends/cpu/cpu_stream.h"
#include "mlxn/device.h"
#include "mlxn/stream.h"

namespace mlxn::testing {

// Data that is worked on in turn covers this many bytes, far more than caches hold.
inline constexpr size_t kBenchRotation = size_t{512} << 20;

// Bytes per second that a plain sum over memory reads with `threads` threads; best of five.
inline double measure_read_bandwidth(int threads) {
  constexpr int64_t kTask = 1 << 20;
  DeviceOptions options;
  options.num_threads = threads;
  const Device device = Device::open("cpu", options);
  Stream stream(device);
  const Buffer data = device.alloc(u8, {static_cast<int64_t>(kBenchRotation)});
  std::atomic<uint64_t> sink{0};
  const auto pass = [&] {
    backends::Access access;
    access.read(data);
    backends::cpu::cpu_stream(stream.impl())
        .dispatch("read", "bench", std::move(access), kBenchRotation / kTask, [&](uint32_t task) {
          // Eight sums, so that loads run ahead of additions.
          const auto* words = reinterpret_cast<const uint64_t*>(data.data() + task * kTask);
          uint64_t sums[8] = {};
          for (int64_t i = 0; i < kTask / 8; i += 8) {
            for (int lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
          }
          for (const uint64_t sum : sums) sink += sum;
        });
    stream.commit().wait();
  };
  pass();
  double best = 0.0;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    pass();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, static_cast<double>(kBenchRotation) / seconds.count());
  }
  return best;
}

}  // namespace mlxn::testing
