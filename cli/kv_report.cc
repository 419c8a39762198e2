// SPDX-License-Identifier: Apache-2.0
// mlxn kv-report: what each type of KV cache takes, and what it does to a model's answers.
#include "mlxn/kv_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "commands.h"
#include "exit_codes.h"
#include "interrupt.h"
#include "machine.h"
#include "output.h"
#include "plot.h"
#include "recall.h"
#include "session.h"
#include "table.h"

namespace mlxn::cli {
namespace {

constexpr int64_t kDefaultDepth = 2048;

constexpr const char* kFooter =
    "The text is cut into windows of --context tokens, of which the second half is scored, as\n"
    "`mlxn perplexity` does; the weights are loaded once for all types. Columns:\n"
    "  bytes/token: keys and values of one token in all layers, norms of codes included\n"
    "  perplexity: with its standard error, that of the text\n"
    "  change: of perplexity against --baseline, with a standard error over the same tokens\n"
    "  logits: largest and mean change of a logit against --baseline over all scored tokens; in\n"
    "    a model with experts the largest is that of a token that went to other experts\n"
    "  recall: items of --recall whose greedy reply has the right digits\n"
    "  tokens/s: a decode step behind --n-depth tokens\n"
    "A recall file is {\"items\": [{\"prompt\": .., \"digits\": \"1234\"}, ..]}; a prompt is a "
    "list\n"
    "of token ids, or a string of two base64 characters a token (demo/recall.json).";

struct KvReportFlags {
  CommonFlags common;
  DeviceFlags device;
  ModelFlags model;
  std::string file;
  std::vector<std::string> types = {std::begin(kKvTypeNames), std::end(kKvTypeNames)};
  std::string baseline = "f16";
  int64_t context = 0;
  int64_t windows = 0;
  std::string recall;
  int64_t recall_items = 6;
  int64_t depth = -1;
  std::string plot;
  std::string output = "md";
};

std::string check_types(const std::string& text) {
  if (parse_kv_types(text)) return {};
  return fmt::format(
      "found {}, required f32, f16, bf16, tq2, tq3, tq4, tq5, tq6, tq8, or two of "
      "the tq as K/V",
      text);
}

int64_t depth_of(const KvReportFlags& flags, const ModelConfig& config, int64_t steps) {
  const int64_t most = config.max_position_embeddings - steps - 1;
  if (flags.depth > most) {
    throw UsageError(
        fmt::format("--n-depth: found {}, required at most {}, what the model was "
                    "trained for less {} steps",
                    flags.depth, most, steps + 1));
  }
  return flags.depth >= 0 ? flags.depth : std::clamp<int64_t>(most, 0, kDefaultDepth);
}

KvReportOptions options_of(const KvReportFlags& flags, const ModelConfig& config,
                           const Tokenizer& tokenizer) {
  KvReportOptions options;
  for (const std::string& text : flags.types) {
    const KvTypes types = *parse_kv_types(text);
    if (std::ranges::find(options.types, types) == options.types.end()) {
      options.types.push_back(types);
    }
  }
  options.baseline = *parse_kv_types(flags.baseline);
  options.norm_correction = flags.model.kv_norm_correction;
  options.context = context_of(flags.context, config);
  options.depth = depth_of(flags, config, options.steps);
  if (tokenizer.adds_bos()) options.bos = tokenizer.bos_id();
  std::string recall = flags.recall;
  if (recall.empty()) recall = recall_file_beside(flags.model.path());
  if (!recall.empty() && flags.recall_items > 0) {
    options.recall = read_recall(recall, static_cast<size_t>(flags.recall_items));
  }
  return options;
}

// The tokens of the windows that are asked for.
std::vector<int32_t> tokens_of(const KvReportFlags& flags, const KvReportOptions& options,
                               const Tokenizer& tokenizer) {
  const std::string text = read_file("--file", flags.file);
  std::vector<int32_t> tokens =
      tokenizer.encode(text, {.add_special = true, .parse_special = false});
  const auto count = static_cast<int64_t>(tokens.size());
  if (count < options.context) {
    throw UsageError(fmt::format("--file: {}: found {} tokens, required at least {}, the --context",
                                 flags.file, count, options.context));
  }
  if (flags.windows > 0 && count / options.context > flags.windows) {
    tokens.resize(static_cast<size_t>(flags.windows * options.context));
  }
  return tokens;
}

// Refuses what has no room beside the weights: caches and scratch of all types at once, as the text
// is scored, then longer ones of a type at a time.
ModelOptions checked_memory(const Terminal& terminal, const Device& device,
                            const Checkpoint& checkpoint, const KvReportOptions& report) {
  // The model's own caches are not used.
  ModelOptions options{.max_context = 1, .prefill_chunk = 1};
  ModelMemory memory = estimate_memory(device, checkpoint, options);
  const auto of = [&](const KvTypes& types, int64_t context) {
    return estimate_memory(checkpoint.config(),
                           {.max_context = context, .kv_type = types.k, .kv_type_v = types.v});
  };
  std::vector<KvTypes> all = {report.baseline};
  for (const KvTypes& types : report.types) {
    if (std::find(all.begin(), all.end(), types) == all.end()) all.push_back(types);
  }
  ModelMemory scoring;
  for (const KvTypes& types : all) {
    const ModelMemory one = of(types, report.context);
    scoring.caches += one.caches;
    scoring.scratch += one.scratch;
  }
  ModelMemory most = scoring;
  const int64_t longest = report.longest_cache();
  for (const KvTypes& types : report.types) {
    if (longest == 0) break;
    const ModelMemory one = of(types, longest);
    if (one.total() > most.total()) most = one;
  }
  memory.caches += most.caches;
  memory.scratch += most.scratch;
  require_memory(terminal, device, memory, options);
  return options;
}

std::vector<KvReportRow> measure(const Terminal& terminal, const Model& model,
                                 const Tokenizer& tokenizer, const std::vector<int32_t>& tokens,
                                 KvReportOptions options) {
  ProgressBar bar(terminal, "Measuring");
  options.progress = [&bar](double fraction) {
    bar.update(fraction);
    return !interrupted() && !stdout_broken();
  };
  auto rows = kv_report(model, tokenizer, tokens, options);
  bar.finish();
  return rows;
}

std::string short_number(double value) { return fmt::format("{:.2g}", value); }

Row row_of(const KvReportRow& found, const KvTypes& baseline) {
  const bool is_baseline = found.types == baseline, scored = found.perplexity.windows > 0;
  Row row;
  row["kv_type"] = name(found.types);
  row["bytes_per_token"] = found.bytes_per_token;
  row["cache_bytes"] = found.cache_bytes;
  row["perplexity"] = scored ? Row(found.perplexity.perplexity) : Row();
  row["stderr"] = scored ? Row(found.perplexity.standard_error) : Row();
  row["perplexity_text"] = !scored ? "-"
                                   : fmt::format("{:.4f} ± {:.4f}", found.perplexity.perplexity,
                                                 found.perplexity.standard_error);
  row["tokens"] = found.perplexity.tokens;
  row["change"] = scored ? Row(found.change) : Row();
  row["change_stderr"] = scored ? Row(found.change_error) : Row();
  row["change_text"] =
      is_baseline || !scored
          ? "-"
          : fmt::format("{:+.3f} ± {:.3f} %", 100.0 * found.change, 100.0 * found.change_error);
  row["logit_change"] = scored ? Row(found.logit_change) : Row();
  row["mean_logit_change"] = scored ? Row(found.mean_logit_change) : Row();
  row["logit_change_text"] = is_baseline || !scored
                                 ? "-"
                                 : fmt::format("{}, {}", short_number(found.logit_change),
                                               short_number(found.mean_logit_change));
  row["recall_right"] = found.recall_right;
  row["recall_items"] = found.recall_items;
  row["recall_text"] = found.recall_items == 0
                           ? "-"
                           : fmt::format("{} of {}", found.recall_right, found.recall_items);
  row["prompt_ts"] = found.prompt_rate;
  row["generation_ts"] = found.generation_rate;
  row["generation_ts_text"] = rate_text(found.generation_rate);
  return row;
}

std::string render(const std::vector<Row>& rows, const std::string& format) {
  if (format == "csv") return csv(rows);
  if (format == "json") return without_texts(rows).dump(2) + "\n";
  return markdown({{"kv_type", "cache"},
                   {"bytes_per_token", "bytes/token", true},
                   {"perplexity", "perplexity", true},
                   {"change", "change", true},
                   {"logit_change", "logits", true},
                   {"recall", "recall", true},
                   {"generation_ts", "tokens/s", true}},
                  rows);
}

std::string plot_of(const KvReportFlags& flags, const KvReportOptions& options,
                    const std::vector<KvReportRow>& found, const std::vector<Row>& rows) {
  Panel bytes{"bytes per token", {}, {}, {}, true};
  Panel change{
      fmt::format("change of perplexity against {}, % (± standard error)", name(options.baseline)),
      {},
      {}};
  Panel logits{fmt::format("largest change of a logit against {}", name(options.baseline)),
               {},
               {},
               {},
               false,
               true};
  Panel recall{"recall, %", {}, {}, {}, true};
  Panel speed{fmt::format("tokens/s behind {} tokens", options.depth), {}, {}, {}, true};
  std::vector<std::string> names;
  for (size_t i = 0; i < found.size(); ++i) {
    const KvReportRow& row = found[i];
    const auto text = [&](const char* key) { return rows[i].at(key).get<std::string>(); };
    names.push_back(text("kv_type"));
    bytes.values.push_back(static_cast<double>(row.bytes_per_token));
    bytes.texts.push_back(std::to_string(row.bytes_per_token));
    change.values.push_back(row.perplexity.windows > 0 ? 100.0 * row.change : NAN);
    change.texts.push_back(fmt::format("{:+.2f}", 100.0 * row.change));
    change.errors.push_back(100.0 * row.change_error);
    logits.values.push_back(row.perplexity.windows > 0 ? row.logit_change : NAN);
    logits.texts.push_back(fmt::format("{:.2g}", row.logit_change));
    const double share = static_cast<double>(row.recall_right) /
                         static_cast<double>(std::max<int64_t>(row.recall_items, 1));
    recall.values.push_back(row.recall_items > 0 ? 100.0 * share : NAN);
    recall.texts.push_back(text("recall_text"));
    speed.values.push_back(row.generation_rate > 0.0 ? row.generation_rate : NAN);
    speed.texts.push_back(text("generation_ts_text"));
  }
  std::vector<Panel> panels = {bytes, change, logits};
  if (!options.recall.empty()) panels.push_back(recall);
  if (options.depth > 0) panels.push_back(speed);
  return plot_svg(fmt::format("KV cache types: {}", flags.model.model), names, panels);
}

int run(const KvReportFlags& flags) {
  const Terminal terminal = flags.common.terminal();
  const Device device = flags.device.open();
  const Checkpoint checkpoint = Checkpoint::open(flags.model.path());
  const Tokenizer tokenizer = load_tokenizer(checkpoint);
  const KvReportOptions options = options_of(flags, checkpoint.config(), tokenizer);
  const std::vector<int32_t> tokens = tokens_of(flags, options, tokenizer);
  const ModelOptions model_options = checked_memory(terminal, device, checkpoint, options);
  std::optional<OutputFile> plot;
  if (!flags.plot.empty()) plot.emplace(flags.plot);
  if (plot && !plot->failure().empty()) {
    terminal.error("--plot: " + plot->failure());
    return kFailed;
  }
  const Model model = load_model(terminal, device, checkpoint, model_options);
  const std::vector<KvReportRow> found = measure(terminal, model, tokenizer, tokens, options);
  std::vector<Row> rows;
  for (const KvReportRow& row : found) rows.push_back(row_of(row, options.baseline));
  write_stdout(render(rows, flags.output));
  if (plot && !plot->write(plot_of(flags, options, found, rows))) {
    terminal.error("--plot: " + plot->failure());
    return kFailed;
  }
  terminal.info(fmt::format("{} tokens scored in windows of {}", found[0].perplexity.tokens,
                            options.context));
  terminal.info("Peak memory: " + human_bytes(static_cast<double>(peak_memory_bytes())));
  return interrupted() ? interrupt_exit_code() : kOk;
}

}  // namespace

Command add_kv_report(CLI::App& app) {
  auto flags = std::make_shared<KvReportFlags>();
  CLI::App* command =
      app.add_subcommand("kv-report", "Compare types of KV cache: bytes, quality, speed");
  command->footer(kFooter);
  const auto option = [command](const char* names, auto& value, const char* help,
                                const char* variable) {
    return with_environment(command->add_option(names, value, help),
                            std::string("KV_REPORT_") + variable);
  };
  constexpr int64_t kMost = int64_t{1} << 24;
  const CLI::Validator types([](std::string& text) { return check_types(text); },
                             "f32, tq4, tq8/tq4, ..");
  flags->model.add_path_to(*command, true);
  flags->model.add_norm_correction_to(*command);
  flags->model.add_dtype_to(*command);
  option("-f,--file", flags->file, "Text file to score", "FILE")->required();
  option("--types", flags->types, "Types to compare; tq8/tq4: codes of two widths for K and V",
         "TYPES")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->delimiter(',')
      ->check(types);
  option("--baseline", flags->baseline, "Type to compare with", "BASELINE")->check(types);
  option("-c,--context", flags->context,
         "Tokens of a window; 0: 512, or what the model was trained for if that is less", "CONTEXT")
      ->check(CLI::Range(int64_t{8}, kMost) | CLI::IsMember({int64_t{0}}));
  option("--windows", flags->windows, "Windows to score; 0: all of the text", "WINDOWS")
      ->check(CLI::Range(int64_t{0}, kMost));
  option("--recall", flags->recall,
         "File of recall items; default: recall.json beside the model, if it is there", "RECALL");
  option("--recall-items", flags->recall_items, "Items to try; 0: none", "RECALL_ITEMS")
      ->check(CLI::Range(int64_t{0}, kMost));
  option("-d,--n-depth", flags->depth,
         "Tokens in the cache where speed is measured; 0: it is not; -1: 2048, or what the model "
         "allows",
         "N_DEPTH")
      ->check(CLI::Range(int64_t{-1}, kMost));
  option("--plot", flags->plot, "Write a figure of the table, SVG", "PLOT");
  option("-o,--output", flags->output, "md, csv or json", "OUTPUT")
      ->check(CLI::IsMember({"md", "csv", "json"}));
  flags->device.add_to(*command);
  flags->common.add_to(*command);
  return {command, [flags] { return run(*flags); }};
}

}  // namespace mlxn::cli
