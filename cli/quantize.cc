// SPDX-License-Identifier: Apache-2.0
// mlxn quantize: a float checkpoint as an MLX directory or a GGUF file.
#include "mlxn/quantize.h"

#include <chrono>
#include <csignal>
#include <memory>
#include <optional>

#include "commands.h"
#include "exit_codes.h"
#include "flags.h"
#include "interrupt.h"
#include "machine.h"
#include "output.h"
#include "table.h"

namespace mlxn::cli {
namespace {

constexpr const char* kFooter =
    "IN is a directory with config.json and safetensors files, a GGUF file, or a Hugging Face id "
    "in\n"
    "the local cache; its tensors are f32, f16 or bf16. OUT is a directory (mlx) or a .gguf file.\n"
    "It appears when it is complete; on an error or Ctrl-C nothing is left behind.\n"
    "Norms, scalars and other vectors are never quantised. In GGUF neither are routers and the\n"
    "projection of per-layer inputs; rows that are not whole blocks of 256 get q5_0 for q4_k, "
    "q5_1\n"
    "for q5_k, q8_0 for q6_k. In MLX directories Gemma 4's routers get 8 bits, and matrices whose\n"
    "rows are not whole groups stay as they are.\n"
    "--keep 'down_proj=8' gives every matrix with down_proj in its name another type; --report\n"
    "shows the names. Of several rules the first that matches counts.";

struct QuantizeFlags {
  CommonFlags common;
  std::string input, output;
  std::string format = "mlx";
  std::string type;
  std::optional<int> bits;
  std::optional<int> group_size;
  std::string recipe = "metal";
  std::vector<std::string> keep;
  std::string report;
  bool force = false;
  int threads = 0;
};

KeepRule parse_rule(const std::string& text) {
  // A pattern may hold '='; a type does not.
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    throw UsageError(fmt::format("--keep: found {}, required REGEX=TYPE", text));
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

bool is_gguf(const QuantizeFlags& flags) { return flags.format == "gguf"; }

QuantizeOptions options_of(const QuantizeFlags& flags) {
  QuantizeOptions options;
  options.format = is_gguf(flags) ? OutputFormat::kGguf : OutputFormat::kMlx;
  if (is_gguf(flags) && flags.type.empty()) {
    std::string types;
    for (const std::string& type : quantize_types(OutputFormat::kGguf)) types += " " + type;
    throw UsageError("--type: required for --format gguf, one of:" + types);
  }
  if (is_gguf(flags) && (flags.bits || flags.group_size)) {
    throw UsageError(fmt::format("{}: only for --format mlx; GGUF types have fixed sizes",
                                 flags.bits ? "--bits" : "--group-size"));
  }
  options.type = flags.type.empty() ? "affine" : flags.type;
  if (flags.bits && options.type != "affine") {
    throw UsageError(fmt::format("--bits: only for --type affine, not {}", options.type));
  }
  if (flags.group_size && options.type != "affine") {
    throw UsageError(fmt::format("--group-size: only for --type affine, not {}", options.type));
  }
  options.bits = flags.bits.value_or(options.bits);
  options.group_size = flags.group_size.value_or(options.group_size);
  options.recipe = flags.recipe == "cpu" ? QuantizeRecipe::kCpu : QuantizeRecipe::kMetal;
  for (const std::string& rule : flags.keep) options.keep.push_back(parse_rule(rule));
  options.overwrite = flags.force;
  options.measure_errors = !flags.report.empty();
  options.num_threads = flags.threads;
  return options;
}

std::vector<Row> report_rows(const QuantizeResult& result) {
  std::vector<Row> rows;
  for (const QuantizedTensor& tensor : result.tensors) {
    Row row;
    row["name"] = tensor.name;
    row["shape"] = to_string(tensor.shape);
    row["type"] = tensor.type;
    row["bytes"] = tensor.bytes;
    row["bits_per_weight"] = tensor.bits_per_weight;
    row["relative_rms_error"] = tensor.relative_rms_error;
    row["relative_rms_error_text"] = fmt::format("{:.3e}", tensor.relative_rms_error);
    row["max_abs_error"] = tensor.max_abs_error;
    row["max_abs_error_text"] = fmt::format("{:.3e}", tensor.max_abs_error);
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string report_text(const QuantizeResult& result, bool as_csv) {
  const std::vector<Row> rows = report_rows(result);
  if (as_csv) return csv(rows);
  return markdown({{"name", "tensor"},
                   {"shape", "shape"},
                   {"type", "type"},
                   {"bytes", "bytes", true},
                   {"bits_per_weight", "bits per weight", true},
                   {"relative_rms_error", "relative RMS error", true},
                   {"max_abs_error", "largest error", true}},
                  rows);
}

bool is_csv(const std::string& path) {
  return path.size() > 4 && path.compare(path.size() - 4, 4, ".csv") == 0;
}

std::string summary(const QuantizeResult& result, double seconds) {
  return fmt::format("{} tensors: {} to {}, {:.2f} bits per weight, {:.1f} s",
                     result.tensors.size(), human_bytes(static_cast<double>(result.bytes_in)),
                     human_bytes(static_cast<double>(result.bytes_out)), result.bits_per_weight,
                     seconds);
}

int run(const QuantizeFlags& flags) {
  const Terminal terminal = flags.common.terminal();
  QuantizeOptions options = options_of(flags);
  // A limit on the size of files is an error of the write, as a full disk is.
  std::signal(SIGXFSZ, SIG_IGN);
  const auto start = std::chrono::steady_clock::now();
  const std::string input = resolve_model_path(flags.input, hugging_face_cache());
  std::optional<OutputFile> report;
  if (!flags.report.empty() && flags.report != "-") {
    report.emplace(flags.report);
    if (!report->failure().empty()) {
      terminal.error(report->failure());
      return kFailed;
    }
  }
  ProgressBar bar(terminal, "Writing");
  options.progress = [&bar](const QuantizeProgress& progress) {
    const double total = static_cast<double>(std::max<uint64_t>(1, progress.bytes_total));
    bar.update(static_cast<double>(progress.bytes_done) / total);
    return !interrupted();
  };
  const QuantizeResult result = quantize(input, flags.output, options);
  if (!result.completed) {
    terminal.info("Interrupted: nothing was written");
    return interrupt_exit_code();
  }
  bar.finish();
  for (const std::string& note : result.notes) terminal.info("note: " + note);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  terminal.info(summary(result, seconds));
  if (flags.report == "-") print("{}", report_text(result, false));
  if (report && !report->write(report_text(result, is_csv(flags.report)))) {
    terminal.error(report->failure());
    return kFailed;
  }
  return kOk;
}

}  // namespace

Command add_quantize(CLI::App& app) {
  auto flags = std::make_shared<QuantizeFlags>();
  CLI::App* command =
      app.add_subcommand("quantize", "Write a float checkpoint as MLX or GGUF, quantised or not");
  command->footer(kFooter);
  command->add_option("IN", flags->input, "Model to read")->required()->check(not_empty());
  command->add_option("OUT", flags->output, "Directory or .gguf file to write")
      ->required()
      ->check(not_empty());
  with_environment(command->add_option("-f,--format", flags->format, "mlx or gguf"),
                   "QUANTIZE_FORMAT")
      ->check(CLI::IsMember({"mlx", "gguf"}));
  with_environment(
      command->add_option(
          "--type", flags->type,
          "What matrices become. gguf: q4_0, q8_0, q4_k, q6_k, ..., f16, bf16, f32;"
          " mlx: affine (the default), mxfp4, mxfp8, nvfp4, float (as it is), f16, bf16, f32"),
      "QUANTIZE_TYPE");
  with_environment(
      command->add_option("-b,--bits", flags->bits, "mlx: 2, 3, 4 (the default), 5, 6 or 8"),
      "QUANTIZE_BITS")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 8}));
  with_environment(command->add_option("-g,--group-size", flags->group_size,
                                       "mlx: weights that share a scale, 32, 64 (the default) or "
                                       "128"),
                   "QUANTIZE_GROUP_SIZE")
      ->check(CLI::IsMember({32, 64, 128}));
  with_environment(command->add_option("--recipe", flags->recipe,
                                       "mlx: metal, as published files were made, or cpu, the bits "
                                       "of the mlx package on a CPU"),
                   "QUANTIZE_RECIPE")
      ->check(CLI::IsMember({"metal", "cpu"}));
  with_environment(command->add_option("-k,--keep", flags->keep,
                                       "REGEX=TYPE: another type for matrices whose name matches; "
                                       "also copy, and for mlx a number of bits. Repeatable"),
                   "QUANTIZE_KEEP")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  with_environment(command->add_option("--report", flags->report,
                                       "Write size and error of every tensor: FILE.csv, a markdown "
                                       "FILE, or - for stdout"),
                   "QUANTIZE_REPORT")
      ->check(not_empty());
  with_environment(command->add_flag("--force", flags->force, "Replace OUT if it exists"),
                   "QUANTIZE_FORCE");
  with_environment(command->add_option("-t,--threads", flags->threads, "CPU threads; 0: all cores"),
                   "THREADS")
      ->check(CLI::Range(0, 1024));
  flags->common.add_to(*command);
  return {command, [flags] { return run(*flags); }};
}

}  // namespace mlxn::cli
