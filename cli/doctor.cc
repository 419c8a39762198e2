// SPDX-License-Identifier: Apache-2.0
// mlxn doctor and mlxn completion.
#include "mlxn/doctor.h"

#include <memory>

#include "commands.h"
#include "completion.h"
#include "exit_codes.h"
#include "mlxn/version.h"
#include "output.h"
#include "session.h"
#include "table.h"

namespace mlxn::cli {
namespace {

struct DoctorFlags {
  DeviceFlags device;
  bool json = false;
};

// "8.2 GB of 16.0 GB"; "-" if nothing is known.
std::string memory_text(const DeviceMemory& memory) {
  if (memory.total == 0) return "-";
  return human_bytes(static_cast<double>(memory.free)) + " of " +
         human_bytes(static_cast<double>(memory.total));
}

std::vector<Row> device_rows() {
  std::vector<Row> list;
  for (const DeviceInfo& info : Device::list()) {
    Row row;
    row["device"] = info.id;
    row["description"] = info.description;
    row["memory_total_bytes"] = info.memory.total;
    row["memory_free_bytes"] = info.memory.free;
    row["memory_text"] = memory_text(info.memory);
    row["driver"] = info.driver;
    row["driver_text"] = info.driver.empty() ? "-" : info.driver;
    row["available"] = info.available;
    row["available_text"] = info.available ? "yes" : "no: " + info.reason;
    row["reason"] = info.reason;
    list.push_back(std::move(row));
  }
  return list;
}

// One row per op: the entry that runs, and why the others do not.
std::vector<Row> kernel_rows(const Device& device) {
  std::vector<Row> list;
  for (const KernelReport& report : doctor(device)) {
    Row row;
    row["op"] = report.op;
    row["runs"] = report.chosen.empty() ? "none" : report.chosen;
    std::string others;
    row["others"] = Row::array();
    for (const auto& entry : report.entries) {
      if (entry.name == report.chosen) continue;
      const std::string why = entry.refusal.empty() ? "a better entry runs" : entry.refusal;
      others += (others.empty() ? "" : "; ") + entry.name + ": " + why;
      row["others"].push_back({{"entry", entry.name}, {"why_not", why}});
    }
    row["others_text"] = others;
    list.push_back(std::move(row));
  }
  return list;
}

int run(const DoctorFlags& flags) {
  const Device device = flags.device.open();
  const Row devices = device_rows(), kernels = kernel_rows(device);
  if (flags.json) {
    Row report;
    report["version"] = std::string(version());
    report["device"] = device.name();
    report["isa"] = std::string(name(device.isa()));
    report["threads"] = device.num_threads();
    report["devices"] = without_texts(devices);
    report["kernels"] = without_texts(kernels);
    print("{}\n", report.dump(2));
    return kOk;
  }
  print("mlxn {}\n{}, {} threads, {}\n\n", version(), device.name(), device.num_threads(),
        name(device.isa()));
  print("{}\n", markdown({{"device", "device"},
                          {"description", "description"},
                          {"memory", "free memory"},
                          {"driver", "driver"},
                          {"available", "available"}},
                         devices));
  print("{}", markdown({{"op", "op"}, {"runs", "runs"}, {"others", "others"}}, kernels));
  return kOk;
}

}  // namespace

Command add_doctor(CLI::App& app) {
  auto flags = std::make_shared<DoctorFlags>();
  CLI::App* command = app.add_subcommand(
      "doctor", "List devices and which kernel of each op runs, and why the others do not");
  with_environment(command->add_flag("--json", flags->json, "Print one JSON object"),
                   "DOCTOR_JSON");
  flags->device.add_to(*command);
  return {command, [flags] { return run(*flags); }};
}

Command add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "Print a shell completion script");
  command->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  return {command, [shell, &app] {
            write_stdout(completion_script(app, *shell));
            return int{kOk};
          }};
}

}  // namespace mlxn::cli
