// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/entry.h"

#include "kernels/common/test_kit.h"

namespace mlxn::kernels {
namespace {

struct Call {
  int size = 0;
};

std::optional<std::string_view> refuse_odd(const Call& call) {
  if (call.size % 2 != 0) return "needs an even size";
  return std::nullopt;
}
std::optional<std::string_view> leave_large(const Call& call) {
  if (call.size > 100) return "is for small sizes";
  return std::nullopt;
}
void launch(StreamImpl&, const Call&, backends::Access) {}

constexpr Entry<Call> kEntries[] = {
    {"gpu", DeviceKind::kCuda, Isa::kBaseline, nullptr, launch},
    {"small", DeviceKind::kCpu, Isa::kBaseline, refuse_odd, launch, leave_large},
    {"any", DeviceKind::kCpu, Isa::kBaseline, nullptr, launch},
};

std::string chosen(int size, DeviceOptions options = {}) {
  const Device device = Device::open("cpu", options);
  return choose("op", std::span<const Entry<Call>>(kEntries), device, Call{size}).name;
}

TEST(Choose, TakesTheFirstThatAccepts) {
  EXPECT_EQ(chosen(2), "small");
  EXPECT_EQ(chosen(3), "any");
  EXPECT_EQ(chosen(200), "any");
  EXPECT_EQ(chosen(2, {.kernel = "any"}), "any");
}

TEST(Choose, StrictRefusesFallbacksOnly) {
  EXPECT_EQ(chosen(2, {.strict = true}), "small");
  EXPECT_EQ(chosen(200, {.strict = true}), "any");  // left to it: the best for this call
  testing::expect_error(ErrorKind::kKernelNotFound, {"op", "needs an even size", "strict"},
                        [] { chosen(3, {.strict = true}); });
}

TEST(Choose, NamesEveryRefusal) {
  testing::expect_error(ErrorKind::kKernelNotFound,
                        {"gpu is for cuda devices", "small", "nothing was asked for"},
                        [] { chosen(2, {.kernel = "nothing"}); });
}

}  // namespace
}  // namespace mlxn::kernels
