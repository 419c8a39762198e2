// SPDX-License-Identifier: Apache-2.0
#include "mlxn/doctor.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "kernels/common/test_kit.h"

namespace mlxn {
namespace {

TEST(Doctor, ListsEveryTable) {
  size_t tables = 0;
  for (const auto& folder : std::filesystem::directory_iterator(MLXN_SOURCE_DIR "/src/kernels")) {
    std::ifstream file(folder.path() / "table.cc");
    for (std::string line; std::getline(file, line);) {
      tables += line.find("_entries() {") != std::string::npos ? 1 : 0;
    }
  }
  const auto reports = doctor(testing::cpu_device());
  EXPECT_EQ(reports.size(), tables);
  EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end(),
                             [](const auto& a, const auto& b) { return a.op < b.op; }));
  for (const KernelReport& report : reports) {
    ASSERT_FALSE(report.entries.empty()) << report.op;
    EXPECT_FALSE(report.chosen.empty()) << report.op;
  }
}

TEST(Doctor, SaysWhyAnEntryIsRefused) {
  DeviceOptions options;
  options.max_isa = Isa::kBaseline;
  for (const KernelReport& report : doctor(Device::open("cpu", options))) {
    if (report.op != "softmax") continue;
    ASSERT_EQ(report.entries.size(), 3u);
    EXPECT_EQ(report.chosen, "baseline");
    EXPECT_EQ(report.entries[0].refusal, "needs avx512");
    EXPECT_EQ(report.entries[1].refusal, "needs avx2");
    EXPECT_EQ(report.entries[2].refusal, "");
  }
  // Strict does not ask for what the device cannot run, and refuses everything but its best.
  options.strict = true;
  for (const KernelReport& report : doctor(Device::open("cpu", options))) {
    EXPECT_TRUE(report.chosen == "baseline" || report.chosen == "calls") << report.op;
  }
  options.max_isa = Isa::kAvx512Vnni;
  for (const KernelReport& report : doctor(Device::open("cpu", options))) {
    bool behind = false;
    for (const KernelReport::Entry& entry : report.entries) {
      if (behind && entry.device == DeviceKind::kCpu) {
        EXPECT_NE(entry.refusal.find("strict"), std::string::npos) << report.op;
      }
      behind = behind || entry.name == report.chosen;
    }
  }
}

TEST(Doctor, NamesTheEntryThatWasAskedFor) {
  for (const KernelReport& report : doctor(testing::cpu_device("baseline"))) {
    if (report.op != "softmax") continue;
    EXPECT_EQ(report.chosen, "baseline");
  }
}

}  // namespace
}  // namespace mlxn
