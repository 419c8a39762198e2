// SPDX-License-Identifier: Apache-2.0
// What the dialect promises, on the GPU backend under test.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "backends/gpu.h"
#include "kernels/common/gpu_launch.h"
#include "kernels/common/test_kit.h"
#include "kernels/gpu_dialect/gpu_args.h"

namespace mlxn {
namespace {

using backends::Access;
using backends::GpuLaunch;

class Dialect : public ::testing::Test {
 protected:
  void SetUp() override {
    if (test_device_is_cpu()) GTEST_SKIP() << "the CPU runs no GPU kernels";
  }
  static bool test_device_is_cpu() { return testing::test_device_id() == "cpu"; }

  // Runs a launch whose operands are all buffers: inputs, then outputs, then what `finish` adds.
  void run(
      GpuLaunch launch, const std::vector<Buffer>& inputs, const std::vector<Buffer>& outputs,
      const std::function<void(GpuLaunch&)>& finish = [](GpuLaunch&) {}) {
    Access access;
    for (const Buffer& buffer : inputs) {
      access.read(buffer);
      launch.buffer(buffer.data());
    }
    for (const Buffer& buffer : outputs) {
      access.write(buffer);
      launch.buffer(buffer.data());
    }
    finish(launch);
    backends::gpu_stream(stream.impl()).launch(std::move(launch), std::move(access));
    stream.commit().wait();
  }

  Device device = testing::test_device();
  Stream stream{device};
};

TEST_F(Dialect, SpecialisationConstants) {
  const std::vector<float> values = {1.5f, -2.0f, 0.25f};
  for (DType dtype : {f32, f16}) {
    const Buffer x = testing::make_buffer(device, dtype, {3}, values);
    for (uint32_t spec = 0; spec < 4; ++spec) {
      const Buffer y = device.alloc(dtype, {3});
      run({.op = "dialect", .kernel = kernels::kernel_name("dialect_spec", {dtype}), .spec = spec},
          {x}, {y}, [](GpuLaunch& launch) { launch.constants(GpuCount{3}); });
      const float factor = ((spec & 1) != 0 ? -1.0f : 1.0f) * ((spec & 2) != 0 ? 2.0f : 1.0f);
      const auto found = testing::to_floats(y);
      for (size_t i = 0; i < 3; ++i) EXPECT_EQ(found[i], factor * values[i]) << spec;
    }
  }
}

TEST_F(Dialect, SimdgroupOperations) {
  std::vector<float> v(32);
  for (size_t i = 0; i < 32; ++i) v[i] = static_cast<float>((i * 7 + 5) % 32);
  const Buffer y = device.alloc(f32, {11, 32});
  run({.op = "dialect", .kernel = "dialect_simd"}, {testing::make_buffer(device, f32, {32}, v)},
      {y});
  const auto found = testing::to_floats(y);
  const float sum = std::accumulate(v.begin(), v.end(), 0.0f);  // integers: exact in any order
  float before = 0.0f;
  for (size_t lane = 0; lane < 32; ++lane) {
    const float expected[11] = {sum,
                                31.0f,
                                0.0f,
                                v[(lane * 5 + 3) & 31],
                                v[lane ^ 9],
                                lane < 29 ? v[lane + 3] : 0.0f,
                                v[17],
                                before,
                                sum,
                                31.0f,
                                sum + 2.0f * sum - sum + 32.0f};
    for (size_t op = 0; op < 11; ++op) {
      EXPECT_EQ(found[op * 32 + lane], expected[op]) << "operation " << op << " lane " << lane;
    }
    before += v[lane];
  }
}

TEST_F(Dialect, MatricesOfASimdgroup) {
  if (testing::test_device_id() == "cuda") GTEST_SKIP() << "Metal's own";
  std::vector<float> a(128);  // small integers: exact in every type and order
  for (size_t i = 0; i < 128; ++i) a[i] = static_cast<float>((i * 7 + 3) % 11) - 5.0f;
  for (DType dtype : {f32, f16, bf16}) {
    const Buffer y = device.alloc(f32, {64});
    run({.op = "dialect", .kernel = kernels::kernel_name("dialect_matrix", {dtype})},
        {testing::make_buffer(device, dtype, {128}, a)}, {y});
    const auto found = testing::to_floats(y);
    for (size_t i = 0; i < 64; ++i) {
      float expected = 1.0f;
      for (size_t k = 0; k < 8; ++k) {
        float inner = 1.0f;
        for (size_t j = 0; j < 8; ++j) inner += a[16 * k + j] * a[i / 8 * 16 + j + 8];
        expected += a[i % 8 * 16 + k] * inner;
      }
      EXPECT_EQ(found[i], expected) << name(dtype) << " " << i;
    }
  }
}

TEST_F(Dialect, ThreadgroupMemoryAndReductions) {
  for (const uint32_t threads : {32u, 64u, 416u, 1024u}) {
    testing::Random random(threads);
    const int64_t groups = 3, width = threads;
    std::vector<float> v(static_cast<size_t>(groups * width));
    for (float& value : v) value = static_cast<float>(random.integer(-100, 100));
    const Buffer y = device.alloc(f32, {groups, width}), sums = device.alloc(f32, {groups, 2});
    run({.op = "dialect", .kernel = "dialect_group", .groups = {3, 1, 1}, .threads = threads},
        {testing::make_buffer(device, f32, {groups, width}, v)}, {y, sums},
        [&](GpuLaunch& launch) { launch.threadgroup(threads * sizeof(float)); });
    const auto found = testing::to_floats(y), found_sums = testing::to_floats(sums);
    for (size_t g = 0; g < 3; ++g) {
      const auto begin = v.begin() + static_cast<int64_t>(g) * width, end = begin + width;
      EXPECT_EQ(found_sums[2 * g], std::accumulate(begin, end, 0.0f));
      EXPECT_EQ(found_sums[2 * g + 1], *std::max_element(begin, end));
      for (int64_t i = 0; i < width; ++i) {
        ASSERT_EQ(found[g * threads + static_cast<size_t>(i)], *(end - 1 - i));
      }
    }
  }
}

TEST_F(Dialect, ConversionsRoundAsTheHost) {
  const int64_t count = 4099;
  testing::Random random(7);
  std::vector<float> v = random.normals(count);
  const float special[] = {0.0f,     -0.0f,    1.0f + 0x1p-11f, 1.0f + 3 * 0x1p-11f,
                           65504.0f, 65520.0f, 0x1p-24f,        0x1p-25f,
                           3e38f,    INFINITY, -INFINITY};
  std::copy(std::begin(special), std::end(special), v.begin());
  for (DType to : {f16, bf16}) {
    const Buffer wide = testing::make_buffer(device, f32, {count}, v);
    const Buffer narrow = device.alloc(to, {count}), back = device.alloc(f32, {count});
    const auto convert = [&](const char* from_name, const Buffer& x, const Buffer& y) {
      run({.op = "dialect",
           .kernel = "dialect_convert_" + std::string(from_name),
           .groups = {kernels::divide_up(count, 8 * 64), 1, 1},
           .threads = 64},
          {x}, {y}, [&](GpuLaunch& launch) { launch.constants(GpuCount{uint32_t{count}}); });
    };
    convert(to == f16 ? "f32_f16" : "f32_bf16", wide, narrow);
    convert(to == f16 ? "f16_f32" : "bf16_f32", narrow, back);
    const Buffer expected = testing::make_buffer(device, to, {count}, v);
    EXPECT_EQ(testing::bytes_of(narrow), testing::bytes_of(expected)) << name(to);
    EXPECT_EQ(testing::to_floats(back), testing::to_floats(expected)) << name(to);
  }
}

TEST_F(Dialect, GridsHaveTwoDimensions) {
  const Buffer y = device.alloc(f32, {5, 7});
  run({.op = "dialect", .kernel = "dialect_grid", .groups = {7, 5, 1}}, {}, {y},
      [](GpuLaunch& launch) { launch.constants(GpuCount{7}); });
  const auto found = testing::to_floats(y);
  for (size_t i = 0; i < 35; ++i) EXPECT_EQ(found[i], static_cast<float>(100 * (i / 7) + i % 7));
}

TEST_F(Dialect, NothingIsContracted) {
  const float a = 1.0f + 0x1p-12f;
  const std::vector<float> abc = {a, a, 3.0f};
  const Buffer y = device.alloc(f32, {4});
  run({.op = "dialect", .kernel = "dialect_contract"},
      {testing::make_buffer(device, f32, {3}, abc)}, {y});
  const auto found = testing::to_floats(y);
  const float product = a * a;
  EXPECT_EQ(found[0], product + 3.0f);
  EXPECT_EQ(found[1], std::fma(a, a, 3.0f));
  EXPECT_EQ(found[2], -a);
  EXPECT_EQ(found[3], 1.0f / std::sqrt(3.0f));
}

TEST_F(Dialect, UnknownKernelsAndForeignOperandsAreErrors) {
  const Buffer y = device.alloc(f32, {35});
  testing::expect_error(ErrorKind::kKernelNotFound, {"dialect", "no_such_kernel"},
                        [&] { run({.op = "dialect", .kernel = "no_such_kernel"}, {}, {y}); });
  if (!testing::on_emulator()) return;
  // The emulator holds an op to what it has declared.
  GpuLaunch launch{.op = "dialect", .kernel = "dialect_contract"};
  launch.buffer(y.data()).buffer(y.data());
  Access reads_only;
  reads_only.read(y);
  testing::expect_error(ErrorKind::kInvalidArgument, {"dialect", "y in no buffer", "written"}, [&] {
    backends::gpu_stream(stream.impl()).launch(std::move(launch), std::move(reads_only));
  });
}

}  // namespace
}  // namespace mlxn
