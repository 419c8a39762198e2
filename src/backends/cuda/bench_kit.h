// SPDX-License-Identifier: Apache-2.0
// Ops on the GPU, timed by its events. A graph holds the calls on all working sets, which together
// are larger than the L2 cache, and is replayed several times; us is the time of one call. The rate
// counts bytes read and written once; of_copy divides it by that of cudaMemcpy within the device,
// measured in the same program. Of one row, us holds the time between two kernels too.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backends/cuda/cuda_stream.h"
#include "mlxn/ops/elementwise.h"

namespace mlxn {

inline constexpr double kWorkingSet = 512e6;  // bytes; L2 has 50 MB
inline constexpr int kMinCalls = 256;

// What one call reads and writes, and a call on working set number i.
struct Case {
  double bytes;
  std::function<std::function<void()>(const Device&, Stream&)> make;
  double operations = 0.0;
  int calls = kMinCalls;  // of a graph at least
};

// A call of `op` with what `make` allocates.
template <typename Args, typename Make>
Case case_of(double bytes, void (*op)(Stream&, const Args&), Make make) {
  return {bytes, [=](const Device& device, Stream& stream) -> std::function<void()> {
            return [&stream, op, args = Args(make(device))] { op(stream, args); };
          }};
}

// Milliseconds of one call, the median over the repetitions.
inline double time_ms(const Device& device, const Case& c) {
  Stream stream(device);
  auto& gpu = backends::cuda::cuda_stream(stream.impl());
  const int sets = std::clamp(static_cast<int>(kWorkingSet / c.bytes) + 1, 2, c.calls);
  std::vector<std::function<void()>> calls;
  for (int i = 0; i < sets; ++i) calls.push_back(c.make(device, stream));
  stream.begin_capture();
  const int count = std::max(c.calls, sets);
  for (int i = 0; i < count; ++i) calls[static_cast<size_t>(i % sets)]();
  const Graph graph = stream.end_capture();
  std::vector<double> times;
  for (int i = 0; i < 12; ++i) {
    stream.replay(graph);
    times.push_back(gpu.timed_commit() / count);
  }
  std::sort(times.begin() + 2, times.end());  // the first two warm up
  return times[7];
}

inline Case copy_case(int64_t bytes = int64_t{128} << 20) {
  return {2.0 * static_cast<double>(bytes),
          [bytes](const Device& device, Stream& stream) -> std::function<void()> {
            const Buffer from = device.alloc(u8, {bytes}), to = device.alloc(u8, {bytes});
            return [&stream, from, to] {
              backends::Access access;
              access.read(from);
              access.write(to);
              backends::cuda::cuda_stream(stream.impl())
                  .record("copy", "cudaMemcpy", std::move(access), [from, to](cudaStream_t s) {
                    backends::cuda::check(cudaMemcpyAsync(to.data(), from.data(), from.byte_len(),
                                                          cudaMemcpyDeviceToDevice, s),
                                          "copy", "cudaMemcpyAsync");
                  });
            };
          }};
}

inline double copy_rate(const Device& device) {
  static const double rate = [&] {
    const Case c = copy_case();
    return c.bytes / time_ms(device, c) * 1e3;
  }();
  return rate;
}

inline void run(benchmark::State& state, const Case& c) {
  std::optional<Device> device;
  try {
    device = Device::open("cuda");
    double ms = 0.0;
    const double copy = copy_rate(*device);
    for (auto _ : state) {
      ms = time_ms(*device, c);
      state.SetIterationTime(ms / 1e3);
    }
    state.counters["us"] = ms * 1e3;
    state.counters["GB/s"] = c.bytes / ms / 1e6;
    state.counters["of_copy"] = c.bytes / ms * 1e3 / copy;
    if (c.operations > 0.0) state.counters["TFLOP/s"] = c.operations / ms / 1e9;
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

inline double size(DType dtype) { return static_cast<double>(size_of(dtype)); }

// Random values, of which long buffers repeat the first 2^18.
inline Buffer normals(const Device& device, DType dtype, const Shape& shape) {
  constexpr size_t kUnique = 1 << 18;
  size_t count = 1;
  for (const int64_t extent : shape) count *= static_cast<size_t>(extent);
  std::vector<float> values(std::min(count, kUnique));
  uint32_t bits = 1;
  for (float& value : values) {
    bits = bits * 1664525u + 1013904223u;
    value = -3.0f * std::log(static_cast<float>((bits >> 8) + 1) * 0x1p-24f);
    if ((bits & 128) != 0) value = -value;
  }
  const Shape some = {static_cast<int64_t>(values.size())};
  const Buffer wide = device.upload(values.data(), f32, some), narrow = device.alloc(dtype, some);
  Stream stream(device);
  ops::cast(stream, {.x = wide, .out = narrow});
  stream.commit().wait();
  const Buffer all = device.alloc(dtype, shape);
  for (size_t done = 0; done < count; done += values.size()) {
    const size_t bytes = std::min(values.size(), count - done) * size_of(dtype);
    backends::cuda::check(cudaMemcpy(static_cast<std::byte*>(all.data()) + done * size_of(dtype),
                                     narrow.data(), bytes, cudaMemcpyDeviceToDevice),
                          "copy", "cudaMemcpy");
  }
  backends::cuda::check(cudaDeviceSynchronize(), "copy", "cudaDeviceSynchronize");
  return all;
}

inline void add_case(const std::string& name, const Case& c) {
  benchmark::RegisterBenchmark(name.c_str(), [c](benchmark::State& state) { run(state, c); })
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace mlxn
