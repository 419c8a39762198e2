// SPDX-License-Identifier: Apache-2.0
// Flags that several commands share, and what follows from them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "mlxn/checkpoint.h"
#include "mlxn/device.h"
#include "mlxn/generator.h"
#include "mlxn/model.h"
#include "terminal.h"

namespace mlxn::cli {

// A flag whose value turns out wrong after parsing. The text names the flag; exit code kUsage.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct CommonFlags {
  bool quiet = false;
  std::string color = "auto";

  void add_to(CLI::App& app);
  Terminal terminal() const { return Terminal(parse_color_mode(color), quiet); }
};

struct DeviceFlags {
  std::string device = "best";
  int threads = 0;
  bool strict = false;
  std::string gpu_trace;
  int gpu_trace_commit = 0;

  void add_to(CLI::App& app);
  // Throws UsageError for a trace of a device that writes none.
  Device open() const;
};

struct ModelFlags {
  std::string model;
  std::string kv_type = "f16";
  std::string kv_type_k, kv_type_v;  // empty: kv_type
  bool kv_norm_correction = false;
  std::string dtype = "f32";  // of activations
  int64_t max_kv_size = 0;
  bool no_repack = false;

  void add_to(CLI::App& app, bool model_required = true);
  void add_path_to(CLI::App& app, bool model_required);  // --model alone
  void add_dtype_to(CLI::App& app);
  void add_norm_correction_to(CLI::App& app);
  void add_file_to(CLI::App& app, bool model_required);  // those and the types of the cache
  std::string path() const;                              // resolved
  // Throws UsageError if --max-kv-size is more than the model was made for, and for types of K and
  // V that do not go together.
  ModelOptions options(const ModelConfig& config) const;
  std::string kv_types() const;  // "f16", "tq8/tq4"
};

struct SamplingFlags {
  std::optional<float> temperature;
  std::optional<int> top_k;
  std::optional<float> top_p;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  std::optional<uint64_t> seed;

  void add_to(CLI::App& app);
  // Values given on the command line win over the model's own defaults. Without --seed, or
  // with -1, the seed is drawn from the system.
  ops::SamplingParams params(const SamplingDefaults& defaults) const;
};

// A flag that may also be set by the variable MLXN_<NAME>, and its help.
CLI::Option* with_environment(CLI::Option* option, const std::string& name);

// The bytes of the file that a flag names. Throws UsageError.
std::string read_file(const char* flag, const std::string& path);

// A number between two bounds. NaN is not.
CLI::Validator number_between(double low, double high);
// Above `low`, at most `high`.
CLI::Validator number_above(double low, double high);
CLI::Validator not_empty();

}  // namespace mlxn::cli
