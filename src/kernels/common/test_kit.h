// SPDX-License-Identifier: Apache-2.0
// What op tests share: devices with a forced entry, random buffers with canaries, comparison with a
// float64 oracle.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "backends/test_kit.h"
#include "kernels/common/entry.h"
#include "kernels/common/float_io.h"
#include "mlxn/device.h"
#include "mlxn/stream.h"

namespace mlxn::testing {

// A CPU device on which only the entry `kernel` runs (empty: the best).
inline Device cpu_device(const std::string& kernel = "", int num_threads = 2) {
  DeviceOptions options;
  options.kernel = kernel;
  options.num_threads = num_threads;
  return Device::open("cpu", options);
}

using mlxn::is_short;
using mlxn::kSkipped;
using mlxn::on_emulator;
using mlxn::test_device;
using mlxn::test_device_id;

template <typename T>
std::vector<T> unless_short(std::vector<T> all, std::vector<T> few) {
  return is_short() ? few : all;
}

// Names of the table's entries that the device under test can run.
template <typename Params>
std::vector<std::string> runnable(std::span<const kernels::Entry<Params>> table) {
  const Device device = test_device("", 1);
  std::vector<std::string> names;
  for (const auto& entry : table) {
    if (kernels::refusal_of_device(entry, device).empty()) names.push_back(entry.name);
  }
  // Metal's stand-in runs on the emulator: the best entry will do, and what it leaves to others.
  if (is_short() && device.kind() == DeviceKind::kMetal) names.resize(1);
  return names;
}

// A device on which this entry runs, or what it leaves to others: "mma", "simdgroup" and
// "avx512_vnni" are the best of a GPU and of a processor, for some calls only.
inline Device entry_device(const std::string& kernel, int num_threads = 2) {
  const bool is_best = kernel == "mma" || kernel == "simdgroup" || kernel == "avx512_vnni";
  return test_device(is_best ? "" : kernel, num_threads);
}

// A type of keys for which such an entry runs itself.
inline DType entry_dtype(const std::string& kernel) {
  return kernel == "mma" || kernel == "simdgroup" ? f16 : f32;
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float normal() { return normal_(engine_); }
  float uniform(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(engine_);
  }
  int64_t integer(int64_t low, int64_t high) {  // both included
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  std::vector<float> normals(int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal();
    return values;
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

inline int64_t count_of(const Shape& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

// f32 values rounded to dtype.
inline Buffer make_buffer(const Device& device, DType dtype, const Shape& shape,
                          std::span<const float> values) {
  Buffer buffer = device.alloc(dtype, shape);
  kernels::store_f32(dtype, values.data(), count_of(shape), buffer.data(), 0);
  return buffer;
}

inline Buffer random_buffer(const Device& device, DType dtype, const Shape& shape, Random& random) {
  const auto values = random.normals(count_of(shape));
  return make_buffer(device, dtype, shape, values);
}

inline Buffer make_i32(const Device& device, const std::vector<int32_t>& values) {
  return device.upload(values.data(), DType::kI32, {static_cast<int64_t>(values.size())});
}

inline std::vector<float> to_floats(const Buffer& buffer) {
  std::vector<float> values(static_cast<size_t>(buffer.element_count()));
  kernels::load_f32(buffer.dtype(), buffer.data(), 0, buffer.element_count(), values.data());
  return values;
}

inline std::vector<std::byte> bytes_of(const Buffer& buffer) {
  return {buffer.data(), buffer.data() + buffer.byte_len()};
}

// An output view with guard bytes before and after it. `check` fails the test if one changed. The
// view itself starts as NaN, so that unwritten elements show.
class GuardedBuffer {
 public:
  GuardedBuffer(const Device& device, DType dtype, const Shape& shape) {
    constexpr int64_t kGuard = 64;  // bytes
    const int64_t len = count_of(shape) * static_cast<int64_t>(size_of(dtype));
    whole_ = device.alloc(DType::kU8, {len + 2 * kGuard});
    std::memset(whole_.data(), 0xff, whole_.byte_len());
    view_ = whole_.slice(kGuard, len).view_as(dtype, shape);
  }
  const Buffer& view() const { return view_; }
  void check() const {
    const std::byte* begin = whole_.data();
    const std::byte* end = begin + whole_.byte_len();
    for (const std::byte* p = begin; p < view_.data(); ++p) ASSERT_EQ(*p, std::byte{0xff});
    for (const std::byte* p = view_.data() + view_.byte_len(); p < end; ++p) {
      ASSERT_EQ(*p, std::byte{0xff});
    }
  }

 private:
  Buffer whole_, view_;
};

// Unit round-offs of ops.md 0.4.
inline double unit_roundoff(DType dtype) {
  return dtype == DType::kF32 ? 0x1p-24 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;
}

// What a store to `dtype` adds to a tolerance: +OUT16 / +OUTB of ops.md 0.4.
inline double store_tolerance(DType dtype, double reference) {
  if (dtype == DType::kF32) return 0.0;
  const double subnormal = dtype == DType::kF16 ? 0x1p-25 : 0.0;
  return unit_roundoff(dtype) * std::abs(reference) + subnormal;
}

// Elementwise |found - expected| <= tolerance(i); reports the worst element. NaN and infinity must
// stand at the same places.
inline void expect_close(std::span<const float> found, std::span<const double> expected,
                         const std::function<double(size_t)>& tolerance, const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  double worst = 0.0;
  size_t worst_at = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (!std::isfinite(expected[i])) {
      const bool same = std::isnan(expected[i]) ? std::isnan(found[i])
                                                : found[i] == static_cast<float>(expected[i]);
      ASSERT_TRUE(same) << what << " at " << i << ": found " << found[i] << ", expected "
                        << expected[i];
      continue;
    }
    const double error = std::abs(static_cast<double>(found[i]) - expected[i]);
    const double ratio = error / tolerance(i);
    if (!(ratio <= worst)) {
      worst = ratio;
      worst_at = i;
    }
  }
  EXPECT_LE(worst, 1.0) << what << " at " << worst_at << ": found " << found[worst_at]
                        << ", expected " << expected[worst_at] << ", tolerance "
                        << tolerance(worst_at);
}

// `record` records one call, or several, that write `outputs`. 20 direct runs, a captured run and
// its replays give the same bytes; no output may also be an input.
inline void expect_repeatable(const Device& device, const std::function<void(Stream&)>& record,
                              const std::vector<Buffer>& outputs) {
  Stream stream(device);
  std::vector<std::vector<std::byte>> expected;
  const auto run_and_compare = [&](const std::function<void()>& queue, const std::string& what) {
    for (const Buffer& output : outputs) std::memset(output.data(), 0xff, output.byte_len());
    queue();
    stream.commit().wait();
    std::vector<std::vector<std::byte>> found;
    for (const Buffer& output : outputs) found.push_back(bytes_of(output));
    if (expected.empty()) expected = found;
    EXPECT_TRUE(found == expected) << what;
  };
  for (int i = 0; i < 20; ++i) {
    run_and_compare([&] { record(stream); }, "direct run " + std::to_string(i));
  }
  for (const auto& bytes : expected) {  // something was written
    EXPECT_TRUE(bytes != std::vector<std::byte>(bytes.size(), std::byte{0xff}));
  }
  stream.begin_capture();
  record(stream);
  const Graph graph = stream.end_capture();
  for (int i = 0; i < 3; ++i) {
    run_and_compare([&] { stream.replay(graph); }, "replay " + std::to_string(i));
  }
}

// Runs `call` and expects an Error of this kind whose text contains every fragment.
inline void expect_error(ErrorKind kind, const std::vector<std::string>& fragments,
                         const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& fragment : fragments) {
      EXPECT_NE(std::string(error.what()).find(fragment), std::string::npos)
          << "\"" << error.what() << "\" lacks \"" << fragment << "\"";
    }
    return;
  }
  ADD_FAILURE() << "no error; expected one that mentions "
                << (fragments.empty() ? "" : fragments.front());
}

}  // namespace mlxn::testing
