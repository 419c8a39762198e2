// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "kernels/rms_norm/reference.h"
#include "mlxn/ops/rms_norm.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

constexpr float kEps = 1e-6f;

// ops.md D1: relative 2e-6 * (1 + dim / 4096), plus the rounding of the store; a sum that is added
// adds its own rounding.
double tolerance(DType dtype, double reference, double extra, int64_t dim) {
  const double relative = 2e-6 * (1.0 + static_cast<double>(dim) / 4096.0);
  return relative * (std::abs(reference) + extra) + testing::store_tolerance(dtype, reference) +
         1e-30;
}

// rms_norm of x without weight; tests fill in the rest.
kernels::RmsNormParams params_of(const Buffer& x, DType dtype) {
  return {.x = x.data(),
          .add_before = nullptr,
          .add_after = nullptr,
          .factor = nullptr,
          .weight = nullptr,
          .sum = nullptr,
          .out = nullptr,
          .rows = x.element_count() / x.shape().back(),
          .dim = x.shape().back(),
          .dtype = dtype,
          .weight_dtype = f32,
          .eps = kEps,
          .weight_offset = 0.0f,
          .scale = 1.0f};
}

class RmsNormTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, RmsNormTest,
                         ::testing::ValuesIn(testing::runnable(kernels::rms_norm_entries())));

TEST_P(RmsNormTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (DType dtype : {f32, f16, bf16}) {
    for (DType weight_dtype : {f32, f16, bf16}) {
      for (int64_t dim : {1, 2, 31, 32, 33, 63, 65, 127, 129, 255, 257, 511, 513, 4096, 8193}) {
        const bool many = dim == 33 && weight_dtype == f32;
        const int64_t rows = dim > 1000 ? 2 : many ? 2100 : 7;
        const Buffer x = random_buffer(device, dtype, {rows, dim}, random);
        const Buffer w = random_buffer(device, weight_dtype, {dim}, random);
        const GuardedBuffer out(device, dtype, {rows, dim});
        ops::rms_norm(stream,
                      {.x = x, .weight = w, .out = out.view(), .eps = kEps, .weight_offset = 1.0f});
        stream.commit().wait();
        kernels::RmsNormParams p = params_of(x, dtype);
        p.weight = w.data();
        p.weight_dtype = weight_dtype;
        p.weight_offset = 1.0f;
        const auto reference = kernels::rms_norm_reference(p);
        testing::expect_close(
            testing::to_floats(out.view()), reference.out,
            [&](size_t i) { return tolerance(dtype, reference.out[i], 0.0, dim); },
            "dim " + std::to_string(dim));
        out.check();
      }
    }
  }
}

TEST_P(RmsNormTest, FusedFormsMatchOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t dim : {1, 33, 256, 513}) {
      const int64_t rows = 5;
      const Buffer x = random_buffer(device, dtype, {rows, dim}, random);
      const Buffer residual = random_buffer(device, dtype, {rows, dim}, random);
      const Buffer w = random_buffer(device, f32, {dim}, random);
      const GuardedBuffer sum(device, dtype, {rows, dim}), out(device, dtype, {rows, dim});
      ops::add_rms_norm(stream, {.residual = residual,
                                 .x = x,
                                 .weight = w,
                                 .sum = sum.view(),
                                 .out = out.view(),
                                 .eps = kEps});
      const GuardedBuffer after(device, dtype, {rows, dim});
      ops::rms_norm_add(
          stream, {.residual = residual, .x = x, .out = after.view(), .eps = kEps, .scale = 0.25f});
      const GuardedBuffer times(device, dtype, {rows, dim});
      ops::rms_norm_mul(
          stream, {.x = x, .weight = w, .factor = residual, .out = times.view(), .eps = kEps});
      stream.commit().wait();
      kernels::RmsNormParams before = params_of(x, dtype), after_it = before, multiplied = before;
      before.add_before = residual.data();
      before.weight = multiplied.weight = w.data();
      after_it.add_after = residual.data();
      after_it.scale = 0.25f;
      multiplied.factor = residual.data();
      const auto before_ref = kernels::rms_norm_reference(before);
      const auto after_ref = kernels::rms_norm_reference(after_it);
      const auto times_ref = kernels::rms_norm_reference(multiplied);
      const std::string what = std::string(name(dtype)) + " dim " + std::to_string(dim);
      testing::expect_close(
          testing::to_floats(sum.view()), before_ref.sum,
          [&](size_t i) { return tolerance(dtype, before_ref.sum[i], 0.0, 1); }, "sum " + what);
      testing::expect_close(
          testing::to_floats(out.view()), before_ref.out,
          [&](size_t i) { return tolerance(dtype, before_ref.out[i], 4.0, dim); }, "out " + what);
      testing::expect_close(
          testing::to_floats(after.view()), after_ref.out,
          [&](size_t i) { return tolerance(dtype, after_ref.out[i], 4.0, dim); }, "add " + what);
      testing::expect_close(
          testing::to_floats(times.view()), times_ref.out,
          [&](size_t i) { return tolerance(dtype, times_ref.out[i], 0.0, dim); }, "mul " + what);
      sum.check();
      out.check();
      after.check();
      times.check();
    }
  }
}

TEST_P(RmsNormTest, InPlaceGivesTheSameBits) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(3);
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t dim : {1, 33, 257, 2049}) {
      const Shape shape = {9, dim};
      const auto x_values = random.normals(9 * dim), r_values = random.normals(9 * dim);
      const auto x = [&] { return testing::make_buffer(device, dtype, shape, x_values); };
      const auto r = [&] { return testing::make_buffer(device, dtype, shape, r_values); };
      const std::string what = std::string(name(dtype)) + " dim " + std::to_string(dim);
      const auto expect_same = [&](const Buffer& in_place, const Buffer& apart, const char* op) {
        EXPECT_EQ(testing::bytes_of(in_place), testing::bytes_of(apart)) << op << " " << what;
      };
      // Each op with outputs of their own, and then on each operand that it may overwrite.
      const Buffer norm = device.alloc(dtype, shape), norm_x = x();
      ops::rms_norm(stream, {.x = x(), .out = norm, .eps = kEps});
      ops::rms_norm(stream, {.x = norm_x, .out = norm_x, .eps = kEps});

      const Buffer mul = device.alloc(dtype, shape), mul_x = x(), mul_r = r();
      ops::rms_norm_mul(stream, {.x = x(), .factor = r(), .out = mul, .eps = kEps});
      ops::rms_norm_mul(stream, {.x = mul_x, .factor = r(), .out = mul_x, .eps = kEps});
      ops::rms_norm_mul(stream, {.x = x(), .factor = mul_r, .out = mul_r, .eps = kEps});

      const Buffer add = device.alloc(dtype, shape), add_x = x(), add_r = r();
      ops::rms_norm_add(stream, {.residual = r(), .x = x(), .out = add, .eps = kEps});
      ops::rms_norm_add(stream, {.residual = r(), .x = add_x, .out = add_x, .eps = kEps});
      ops::rms_norm_add(stream, {.residual = add_r, .x = x(), .out = add_r, .eps = kEps});

      const Buffer sum = device.alloc(dtype, shape), out = device.alloc(dtype, shape);
      ops::add_rms_norm(stream, {.residual = r(), .x = x(), .sum = sum, .out = out, .eps = kEps});
      const Buffer sum_x = x(), out_x = device.alloc(dtype, shape);
      ops::add_rms_norm(stream,
                        {.residual = r(), .x = sum_x, .sum = sum_x, .out = out_x, .eps = kEps});
      const Buffer sum_r = r(), out_r = device.alloc(dtype, shape);
      ops::add_rms_norm(stream,
                        {.residual = sum_r, .x = x(), .sum = sum_r, .out = out_r, .eps = kEps});
      stream.commit().wait();
      expect_same(norm_x, norm, "rms_norm");
      expect_same(mul_x, mul, "rms_norm_mul on x");
      expect_same(mul_r, mul, "rms_norm_mul on the factor");
      expect_same(add_x, add, "rms_norm_add on x");
      expect_same(add_r, add, "rms_norm_add on the residual");
      expect_same(sum_x, sum, "add_rms_norm's sum on x");
      expect_same(out_x, out, "add_rms_norm with its sum on x");
      expect_same(sum_r, sum, "add_rms_norm's sum on the residual");
      expect_same(out_r, out, "add_rms_norm with its sum on the residual");
    }
  }
}

TEST_P(RmsNormTest, ThreadsAndRowsDoNotChangeBits) {
  Random random(4);
  const int64_t rows = 300, dim = 129;
  const auto values = random.normals(rows * dim);
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const Buffer x = testing::make_buffer(device, f32, {rows, dim}, values);
    const Buffer out = device.alloc(f32, {rows, dim}), one = device.alloc(f32, {1, dim});
    ops::rms_norm(stream, {.x = x, .out = out, .eps = kEps});
    ops::rms_norm(stream, {.x = x.rows(rows - 1, 1), .out = one, .eps = kEps});
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(out);
    EXPECT_EQ(testing::bytes_of(out), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(out.rows(rows - 1, 1)), testing::bytes_of(one));
  }
}

// Rows that IEEE rules decide: zeros (NaN without eps), infinities (NaN there, zeros beside them),
// NaN first and last, subnormal numbers, and one number much larger than the others.
std::vector<float> special_rows(DType dtype, int64_t dim, float eps) {
  constexpr int64_t kRows = 9;
  Random random(6);
  auto values = random.normals(kRows * dim);
  const auto row = [&](int64_t i) { return values.begin() + i * dim; };
  std::fill_n(row(1), dim, 0.0f);
  *row(2) = INFINITY;
  *(row(3) + dim - 1) = -INFINITY;
  *(row(4) + dim / 2) = INFINITY;
  *row(5) = NAN;
  *(row(6) + dim - 1) = NAN;
  // Squares of f32's subnormal numbers are 0, those of f16's are not.
  const bool has_square = dtype == f16;
  if (has_square || eps > 0.0f) std::fill_n(row(7), dim, has_square ? 1e-7f : 1e-40f);
  *(row(8) + dim / 2) = 1e4f;
  return values;
}

TEST_P(RmsNormTest, SpecialRowsMatchOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(7);
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t dim : {1, 5, 33, 257, 2049}) {
      for (float eps : {kEps, 0.0f}) {
        const auto values = special_rows(dtype, dim, eps);
        const Shape shape = {static_cast<int64_t>(values.size()) / dim, dim};
        const Buffer x = testing::make_buffer(device, dtype, shape, values);
        const Buffer other = random_buffer(device, dtype, shape, random);
        const Buffer zeros = device.alloc(dtype, shape);
        const Buffer weight = random_buffer(device, f32, {dim}, random);
        const auto expect = [&](const char* op, kernels::RmsNormParams p, const auto& record) {
          const GuardedBuffer out(device, dtype, shape);
          record(out.view());
          stream.commit().wait();
          p.eps = eps;
          const auto reference = kernels::rms_norm_reference(p);
          testing::expect_close(
              testing::to_floats(out.view()), reference.out,
              [&](size_t i) { return tolerance(dtype, reference.out[i], 4.0, dim); },
              std::string(op) + " " + std::string(name(dtype)) + " dim " + std::to_string(dim) +
                  " eps " + std::to_string(eps));
          out.check();
        };
        kernels::RmsNormParams norm = params_of(x, dtype), mul = norm, add = norm, before = norm;
        expect("rms_norm", norm,
               [&](const Buffer& out) { ops::rms_norm(stream, {.x = x, .out = out, .eps = eps}); });
        mul.factor = other.data();
        mul.weight = weight.data();
        expect("rms_norm_mul", mul, [&](const Buffer& out) {
          ops::rms_norm_mul(stream,
                            {.x = x, .weight = weight, .factor = other, .out = out, .eps = eps});
        });
        add.add_after = other.data();
        expect("rms_norm_add", add, [&](const Buffer& out) {
          ops::rms_norm_add(stream, {.residual = other, .x = x, .out = out, .eps = eps});
        });
        before.add_before = zeros.data();
        expect("add_rms_norm", before, [&](const Buffer& out) {
          ops::add_rms_norm(stream, {.residual = zeros, .x = x, .out = out, .eps = eps});
        });
      }
    }
  }
}

TEST_P(RmsNormTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(5);
  const Shape shape = {60, 257};
  const Buffer x = random_buffer(device, f32, shape, random);
  const Buffer residual = random_buffer(device, f32, shape, random);
  const Buffer weight = random_buffer(device, bf16, {257}, random);
  const Buffer out = device.alloc(f32, shape), sum = device.alloc(f32, shape);
  const Buffer before = device.alloc(f32, shape), after = device.alloc(f32, shape);
  testing::expect_repeatable(
      device,
      [&](Stream& stream) {
        ops::rms_norm(stream, {.x = x, .weight = weight, .out = out, .eps = kEps});
        ops::add_rms_norm(stream, {.residual = residual,
                                   .x = x,
                                   .weight = weight,
                                   .sum = sum,
                                   .out = before,
                                   .eps = kEps});
        ops::rms_norm_add(
            stream, {.residual = residual, .x = x, .weight = weight, .out = after, .eps = kEps});
      },
      {out, sum, before, after});
}

// What every form refuses, and what each refuses of its own operands. `bad` is a call that is fine
// but for one field.
class RmsNormErrors : public ::testing::Test {
 protected:
  Device device_ = test_device(), other_ = test_device();
  Stream stream_{device_};
  Buffer like_x() { return device_.alloc(f32, {4, 8}); }
  Buffer wide_ = device_.alloc(f32, {6, 8});  // for views that overlap

  template <typename Args>
  void expect_common(const char* op, const Args& good, void (*record)(Stream&, const Args&)) {
    const auto expect = [&](std::vector<std::string> fragments, const auto& change) {
      expect_refused(op, good, record, std::move(fragments), change);
    };
    expect({"x:", "empty"}, [](Args& bad) { bad.x = {}; });
    expect({"x:", "i32"}, [&](Args& bad) { bad.x = device_.alloc(i32, {4, 8}); });
    expect({"x:", "device"}, [&](Args& bad) { bad.x = other_.alloc(f32, {4, 8}); });
    expect({"out:", "empty"}, [](Args& bad) { bad.out = {}; });
    expect({"out:", "bf16"}, [&](Args& bad) { bad.out = device_.alloc(bf16, {4, 8}); });
    expect({"out:", "[3, 8]"}, [&](Args& bad) { bad.out = device_.alloc(f32, {3, 8}); });
    expect({"out:", "device"}, [&](Args& bad) { bad.out = other_.alloc(f32, {4, 8}); });
    expect({"out:", "overlap", "x"}, [&](Args& bad) {
      bad.x = wide_.rows(0, 4);
      bad.out = wide_.rows(1, 4);
    });
    expect({"weight:", "7 elements", "8"},
           [&](Args& bad) { bad.weight = device_.alloc(f32, {7}); });
    expect({"weight:", "u8"}, [&](Args& bad) { bad.weight = device_.alloc(u8, {8}); });
    expect({"weight:", "device"}, [&](Args& bad) { bad.weight = other_.alloc(f32, {8}); });
    expect({"out:", "overlap", "weight"}, [](Args& bad) { bad.weight = bad.out.rows(3, 1); });
    expect({"eps:"}, [](Args& bad) { bad.eps = -1.0f; });
    expect({"eps:"}, [](Args& bad) { bad.eps = NAN; });
    expect({"eps:"}, [](Args& bad) { bad.eps = INFINITY; });
    expect({"weight_offset:"}, [](Args& bad) { bad.weight_offset = NAN; });
    expect({"weight_offset:"}, [](Args& bad) { bad.weight_offset = -INFINITY; });
    EXPECT_EQ(stream_.counters().dispatches, 0u);
    record(stream_, good);
    stream_.commit().wait();
    EXPECT_EQ(stream_.counters().dispatches, 1u);
    stream_.reset_counters();
  }

  // A second operand like x, by its name.
  template <typename Args>
  void expect_operand(const char* op, const Args& good, void (*record)(Stream&, const Args&),
                      const char* parameter, Buffer Args::*operand) {
    const auto expect = [&](std::vector<std::string> fragments, const auto& change) {
      fragments.push_back(std::string(parameter) + ":");
      expect_refused(op, good, record, std::move(fragments), change);
    };
    expect({"f16"}, [&](Args& bad) { bad.*operand = device_.alloc(f16, {4, 8}); });
    expect({"u8"}, [&](Args& bad) { bad.*operand = device_.alloc(u8, {4, 8}); });
    expect({"[2, 8]"}, [&](Args& bad) { bad.*operand = device_.alloc(f32, {2, 8}); });
    expect({"device"}, [&](Args& bad) { bad.*operand = other_.alloc(f32, {4, 8}); });
  }

  template <typename Args, typename Change>
  void expect_refused(const char* op, const Args& good, void (*record)(Stream&, const Args&),
                      std::vector<std::string> fragments, const Change& change) {
    Args bad = good;
    change(bad);
    fragments.push_back(std::string(op) + ": ");
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { record(stream_, bad); });
    EXPECT_EQ(stream_.counters().dispatches, 0u);
  }
};

TEST_F(RmsNormErrors, RmsNorm) {
  using Args = ops::RmsNormArgs;
  expect_common("rms_norm", Args{.x = like_x(), .out = like_x(), .eps = kEps}, ops::rms_norm);
}

TEST_F(RmsNormErrors, RmsNormMul) {
  using Args = ops::RmsNormMulArgs;
  const char* const op = "rms_norm_mul";
  const Args good{.x = like_x(), .factor = like_x(), .out = like_x(), .eps = kEps};
  expect_common(op, good, ops::rms_norm_mul);
  expect_operand(op, good, ops::rms_norm_mul, "factor", &Args::factor);
  expect_refused(op, good, ops::rms_norm_mul, {"factor:", "empty"},
                 [](Args& bad) { bad.factor = {}; });
  expect_refused(op, good, ops::rms_norm_mul, {"out:", "overlap", "factor"}, [&](Args& bad) {
    bad.factor = wide_.rows(0, 4);
    bad.out = wide_.rows(2, 4);
  });
}

TEST_F(RmsNormErrors, RmsNormAdd) {
  using Args = ops::RmsNormAddArgs;
  const char* const op = "rms_norm_add";
  const Args good{.residual = like_x(), .x = like_x(), .out = like_x(), .eps = kEps};
  expect_common(op, good, ops::rms_norm_add);
  expect_operand(op, good, ops::rms_norm_add, "residual", &Args::residual);
  const auto expect = [&](std::vector<std::string> fragments, const auto& change) {
    expect_refused(op, good, ops::rms_norm_add, std::move(fragments), change);
  };
  expect({"residual:", "empty"}, [](Args& bad) { bad.residual = {}; });
  expect({"out:", "overlap", "residual"}, [&](Args& bad) {
    bad.residual = wide_.rows(2, 4);
    bad.out = wide_.rows(0, 4);
  });
  expect({"scale:", "nan"}, [](Args& bad) { bad.scale = NAN; });
  expect({"scale:", "inf"}, [](Args& bad) { bad.scale = INFINITY; });
}

TEST_F(RmsNormErrors, AddRmsNorm) {
  using Args = ops::AddRmsNormArgs;
  const char* const op = "add_rms_norm";
  const Args good{
      .residual = like_x(), .x = like_x(), .sum = like_x(), .out = like_x(), .eps = kEps};
  expect_common(op, good, ops::add_rms_norm);
  expect_operand(op, good, ops::add_rms_norm, "residual", &Args::residual);
  expect_operand(op, good, ops::add_rms_norm, "sum", &Args::sum);
  const auto expect = [&](std::vector<std::string> fragments, const auto& change) {
    expect_refused(op, good, ops::add_rms_norm, std::move(fragments), change);
  };
  expect({"residual:", "empty"}, [](Args& bad) { bad.residual = {}; });
  // The residual is read for the norm as well: only the sum may take its place.
  expect({"out:", "overlap", "residual"}, [](Args& bad) { bad.out = bad.residual; });
  expect({"out:", "overlap", "residual"}, [&](Args& bad) {
    bad.residual = wide_.rows(2, 4);
    bad.out = wide_.rows(0, 4);
  });
  expect({"sum:", "overlap", "residual"}, [&](Args& bad) {
    bad.residual = wide_.rows(2, 4);
    bad.sum = wide_.rows(0, 4);
  });
  expect({"sum:", "overlap", "x"}, [&](Args& bad) {
    bad.x = wide_.rows(2, 4);
    bad.sum = wide_.rows(0, 4);
  });
  expect({"sum:", "overlap", "out"}, [](Args& bad) { bad.sum = bad.out; });
  expect({"sum:", "overlap", "weight"}, [](Args& bad) { bad.weight = bad.sum.rows(1, 1); });
}

}  // namespace
}  // namespace mlxn
