// SPDX-License-Identifier: Apache-2.0
// Each detector of the emulator finds its planted bugs, names the place, and is what finds them.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "backends/emulator/emulator.h"
#include "kernels/gpu_dialect/gpu_args.h"

namespace mlxn::backends::emulator {
namespace {

// 1024 floats behind each operand, of which the launch binds `x_count` and `y_count`, so that what
// a switched-off detector lets through harms nothing.
struct Fixture {
  std::vector<float> x = std::vector<float>(2048, 1.0f);
  std::vector<float> y = std::vector<float>(2048, 0.0f);
  GpuCount params{100};
  size_t x_count = 512, y_count = 512;
  uint32_t groups = 1;
  bool in_place = false, without_x = false;

  std::string run(const std::string& name, const Options& options) {
    const Kernel* const kernel = find_kernel(name);
    if (kernel == nullptr) return "no kernel " + name;
    float* const out = y.data() + 1024;
    float* const in = in_place ? out : x.data() + 1024;
    Launch launch{.kernel = kernel, .bindings = {}, .groups = {groups, 1, 1}, .threads = 128};
    launch.bindings.push_back({without_x ? nullptr : in, without_x ? 0 : x_count * sizeof(float)});
    launch.bindings.push_back({out, y_count * sizeof(float)});
    if (kernel->params.size() == 3) launch.bindings.push_back({&params, sizeof params});
    return emulator::run(launch, options);
  }
};

struct Planted {
  const char* kernel;
  bool Options::*detector;
  std::vector<std::string> report;  // fragments of the message
  void (*arrange)(Fixture&) = [](Fixture&) {};
};

const std::vector<Planted>& planted() {
  static const std::vector<Planted> bugs = {
      {"bug_write_past_end",
       &Options::bounds,
       {"out-of-bounds write of 4 bytes: y[100], byte 400 of 400", "planted_bugs", "thread 100"},
       [](Fixture& f) { f.x_count = f.y_count = 100; }},
      {"bug_read_before_begin",
       &Options::bounds,
       {"out-of-bounds read of 4 bytes: x[-1], byte -4 of 2048", "thread 0"}},
      {"bug_shared_past_end",
       &Options::bounds,
       {"out-of-bounds write", "threadgroup array s[128]", "thread 127"}},
      {"bug_absent_operand",
       &Options::bounds,
       {"out-of-bounds read"},
       [](Fixture& f) { f.without_x = true; }},
      {"bug_write_to_input", &Options::bounds, {"write to read-only x["}},
      {"bug_misaligned",
       &Options::alignment,
       // Eight bytes: a host's 16-byte vector loads would fault instead of reading on.
       {"misaligned 8-byte access: x[21], byte 42 of 2048", "thread 5"}},
      {"bug_no_barrier", &Options::races, {"race, ", "threadgroup array s["}},
      {"bug_wrong_flags", &Options::races, {"race, ", "threadgroup array s["}},
      {"bug_reuse", &Options::races, {"race, ", "threadgroup array s["}},
      {"bug_simd_share", &Options::races, {"race, ", "threadgroup array s["}},
      {"bug_groups_collide",
       &Options::races,
       {"race, write after write on y[", "another threadgroup"},
       [](Fixture& f) { f.groups = 2; }},
      {"bug_in_place", &Options::races, {"race, "}, [](Fixture& f) { f.in_place = true; }},
      {"bug_uninitialised", &Options::uninitialised, {"uninitialised read", "s[127]", "thread 0"}},
      {"bug_accumulate", &Options::uninitialised, {"uninitialised read"}},
      {"bug_early_return",
       &Options::barriers,
       {"divergent barrier: 96 threads at the barrier planted_bugs.h:", "32 threads returned"}},
      {"bug_two_barriers", &Options::barriers, {"divergent barrier: 64 threads at the barrier "}},
      {"bug_half_simd",
       &Options::simd,
       {"divergent simdgroup operation: 64 threads at the simdgroup operation planted_bugs.h:",
        "64 threads returned"}},
      {"bug_two_operations", &Options::simd, {"divergent simdgroup operation: planted_bugs.h:"}},
      {"bug_matrix_load",
       &Options::races,
       {"race, read after write", "array s[", "planted_bugs.h:"}},
      {"bug_matrix_store", &Options::races, {"race, "}},
      {"bug_matrix_past_end", &Options::bounds, {"out-of-bounds read of 4 bytes: x[512]"}},
      {"bug_matrix_half_simd", &Options::simd, {"divergent simdgroup operation: planted_bugs.h:"}},
      {"bug_matrix_lanes_differ",
       &Options::simd,
       {"divergent simdgroup operation: the arguments of lanes 0 and 1 differ at planted_bugs.h:"}},
  };
  return bugs;
}

// In order, and in two random orders of threads (odd seeds run the groups backwards).
constexpr uint32_t kSchedules[] = {0, 6, 7};

TEST(Detectors, FindTheirBugs) {
  for (const Planted& bug : planted()) {
    for (const uint32_t schedule : kSchedules) {
      Fixture fixture;
      bug.arrange(fixture);
      const std::string found = fixture.run(bug.kernel, {.schedule = schedule});
      for (const std::string& fragment : bug.report) {
        // Which thread runs into a bug first depends on the order.
        if (schedule != 0 && fragment.find("thread ") == 0) continue;
        const bool places_differ = schedule != 0 && fragment.find('[') != std::string::npos;
        const std::string part =
            fragment.substr(0, places_differ ? fragment.find('[') : fragment.size());
        EXPECT_NE(found.find(part), std::string::npos)
            << bug.kernel << ", schedule " << schedule << ": \"" << found << "\" lacks " << part;
      }
    }
  }
}

TEST(Detectors, AreWhatFindsThem) {
  for (const Planted& bug : planted()) {
    Fixture fixture;
    bug.arrange(fixture);
    if (fixture.without_x) continue;  // nothing but the detector stands before address 0
    Options options;
    options.*bug.detector = false;
    EXPECT_EQ(fixture.run(bug.kernel, options), "") << bug.kernel;
  }
}

TEST(Detectors, AreSilentAboutCorrectKernels) {
  for (const char* kernel :
       {"fine_simd_share", "fine_block_copy", "fine_in_place", "fine_shared_read"}) {
    for (const uint32_t schedule : kSchedules) {
      Fixture fixture;
      fixture.in_place = std::string(kernel) == "fine_in_place";
      EXPECT_EQ(fixture.run(kernel, {.schedule = schedule}), "") << kernel;
    }
  }
}

TEST(Detectors, RefuseLaunchesThatCannotBe) {
  Fixture fixture;
  fixture.in_place = true;
  EXPECT_NE(fixture.run("bug_groups_collide", {}).find("IN x overlaps y"), std::string::npos);
  const Kernel& kernel = *find_kernel("fine_in_place");
  std::vector<float> memory(128);
  const Binding operand{memory.data(), 512};
  EXPECT_NE(run({&kernel, {operand}, {1, 1, 1}, 128}).find("1 arguments for 2"), std::string::npos);
  for (const uint32_t threads : {0u, 33u, 2048u}) {
    EXPECT_NE(run({&kernel, {operand, operand}, {1, 1, 1}, threads}).find("threadgroups of"),
              std::string::npos);
  }
  // Nothing along an axis, or more than GPUs take: y and z 65535 each, x 2^31 - 1.
  for (const Uint3 groups : {Uint3{0, 1, 1}, Uint3{1, 0, 1}, Uint3{1, 65536, 1}, Uint3{1, 1, 65536},
                             Uint3{1, 65536, 65536}, Uint3{1u << 31, 1, 1}}) {
    EXPECT_NE(run({&kernel, {operand, operand}, groups, 128}).find("a grid of"), std::string::npos)
        << groups.x << " x " << groups.y << " x " << groups.z;
  }
  for (const Uint3 groups : {Uint3{1, 65535, 65535}, Uint3{(1u << 31) - 1, 1, 1}}) {
    EXPECT_EQ(run({&kernel, {operand, operand}, groups, 128}).find("a grid of"), std::string::npos);
  }
  const Kernel& shared = *find_kernel("fine_block_copy");
  Launch launch{&shared, {operand, operand}, {1, 1, 1}, 128};
  launch.bindings[1] = {fixture.y.data(), 2048};
  launch.max_threadgroup_bytes = 16 << 10;
  EXPECT_EQ(run(launch), "");
  launch.max_threadgroup_bytes = (16 << 10) - 1;
  EXPECT_NE(run(launch).find("too much threadgroup memory: 16384 bytes"), std::string::npos);
}

}  // namespace
}  // namespace mlxn::backends::emulator
