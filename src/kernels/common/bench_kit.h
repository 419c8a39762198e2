// SPDX-License-Identifier: Apache-2.0
// What benchmarks share: the rate at which memory can be read, and coded caches.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "backends/cpu/cpu_stream.h"
#include "mlxn/device.h"
#include "mlxn/ops/turboquant.h"
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
  // Written: memory that nobody wrote is one page of zeros.
  std::memset(data.data(), 1, data.byte_len());
  std::atomic<uint64_t> sink{0};
  const auto pass = [&] {
    backends::Access access;
    access.read(data);
    backends::cpu::cpu_stream(stream.impl())
        .dispatch("read", "bench", std::move(access), kBenchRotation / kTask, [&](uint32_t task) {
          // Four sums of 64 bytes, fetched ahead: additions never hold up a load.
          using Line = uint64_t __attribute__((vector_size(64)));
          constexpr int64_t kAhead = 8192;
          const std::byte* at = data.data() + task * kTask;
          Line sums[4] = {};
          for (int64_t i = 0; i < kTask; i += 256) {
            for (int lane = 0; lane < 4; ++lane) {
              Line line;
              std::memcpy(&line, at + i + lane * 64, sizeof(line));
              __builtin_prefetch(at + i + lane * 64 + kAhead, 0, 2);
              sums[lane] += line;
            }
          }
          const Line sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
          for (int word = 0; word < 8; ++word) sink += sum[word];
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

// Random codes under norms of 1.
inline ops::TqRows coded_rows(const Device& device, int bits, int64_t heads, int64_t len,
                              int64_t dim) {
  const ops::TqFormat format{.bits = bits};
  const ops::TqRows rows{device.alloc(u8, {1, heads, len, ops::tq_row_bytes(format, dim)}),
                         device.alloc(f32, {1, heads, len, ops::tq_norm_count(dim)}), format};
  uint32_t value = 1;
  for (uint8_t& byte : rows.codes.span<uint8_t>())
    byte = static_cast<uint8_t>((value *= 69069) >> 24);
  for (float& norm : rows.norms.span<float>()) norm = 1.0f;
  return rows;
}

}  // namespace mlxn::testing
