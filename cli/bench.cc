// SPDX-License-Identifier: Apache-2.0
// mlxn bench: prompt and generation speed of a model, tokenisation and sampling not counted.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <random>

#include "commands.h"
#include "exit_codes.h"
#include "interrupt.h"
#include "machine.h"
#include "output.h"
#include "session.h"
#include "shape.h"
#include "table.h"

namespace mlxn::cli {
namespace {

struct BenchFlags {
  CommonFlags common;
  DeviceFlags device;
  ModelFlags model;
  std::vector<int64_t> prompt = {512};
  std::vector<int64_t> generate = {128};
  int64_t depth = 0;
  int repetitions = 5;
  int batch = 1;
  std::string output = "md";
  bool random_weights = false;
  std::string config;
  std::string profile;
  int bits = 4;
  int group_size = 64;
};

struct Subject {
  Model model;
  std::string name;
  double bandwidth;  // bytes per second, measured
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<int32_t> random_tokens(const ModelConfig& config, int64_t count) {
  std::mt19937 engine(1);
  std::uniform_int_distribution<int32_t> ids(0, static_cast<int32_t>(config.vocab_size) - 1);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = ids(engine);
  return tokens;
}

// What is measured, before it takes any memory.
struct Source {
  std::optional<Checkpoint> checkpoint;  // none: random weights
  ModelConfig config;
  ModelOptions options;
};

// Refuses a test that does not fit into the context.
void check_length(const BenchFlags& flags, const ModelConfig& config, const char* flag,
                  int64_t count) {
  const bool asked = flags.model.max_kv_size > 0;
  const int64_t limit = asked ? flags.model.max_kv_size : config.max_position_embeddings;
  if (count == 0 || count + flags.depth <= limit) return;
  throw UsageError(
      fmt::format("{}: found {} tokens behind --n-depth {}, required at most {} "
                  "together, {}",
                  flag, count, flags.depth, limit,
                  asked ? "the --max-kv-size" : "what the model was trained for"));
}

Source open_source(const BenchFlags& flags) {
  Source source;
  if (flags.random_weights) {
    source.config = load_model_config(flags.config);
  } else {
    source.checkpoint = Checkpoint::open(flags.model.path());
    source.config = source.checkpoint->config();
  }
  source.options = flags.model.options(source.config);
  source.options.batch = flags.batch;
  int64_t longest = 1;
  for (int64_t count : flags.prompt) {
    check_length(flags, source.config, "--n-prompt", count);
    longest = std::max(longest, count);
  }
  for (int64_t count : flags.generate) {
    check_length(flags, source.config, "--n-gen", count);
    longest = std::max(longest, count);
  }
  if (source.options.max_context == 0) source.options.max_context = longest + flags.depth;
  return source;
}

// Random weights of `bits` with a 16-bit scale and bias per group.
ModelMemory random_memory(const Source& source, const BenchFlags& flags) {
  ModelMemory memory = estimate_memory(source.config, source.options);
  const double per_weight = flags.bits < 16 ? flags.bits + 32.0 / flags.group_size : flags.bits;
  memory.weights = static_cast<uint64_t>(
      static_cast<double>(count_parameters(source.config).total) * per_weight / 8.0);
  if (source.options.prepare && flags.bits < 16) memory.prepared = memory.weights;
  return memory;
}

Model load_subject(const Device& device, const Source& source, const BenchFlags& flags,
                   const Terminal& terminal) {
  ProgressBar bar(terminal, flags.random_weights ? "Making weights" : "Loading");
  ModelOptions options = source.options;
  options.progress = [&bar](double fraction) { bar.update(fraction); };
  Model model = source.checkpoint
                    ? Model::load(device, *source.checkpoint, options)
                    : Model::random(device, source.config, flags.bits, flags.group_size, options);
  bar.finish();
  return model;
}

// Fills the caches of every sequence to `depth` tokens.
void fill(Model& model, int batch, int64_t depth) {
  model.reset();
  if (depth == 0) return;
  const auto tokens = random_tokens(model.config(), depth);
  for (int sequence = 0; sequence < batch; ++sequence) model.prefill(sequence, tokens);
}

// Tokens per second of one run.
double run_prompt(Model& model, const BenchFlags& flags, int64_t count) {
  fill(model, flags.batch, flags.depth);
  const auto tokens = random_tokens(model.config(), count);
  const auto start = std::chrono::steady_clock::now();
  for (int sequence = 0; sequence < flags.batch; ++sequence) model.prefill(sequence, tokens);
  return static_cast<double>(count * flags.batch) / seconds_since(start);
}

double run_generation(Model& model, const BenchFlags& flags, int64_t count) {
  fill(model, flags.batch, flags.depth);
  const auto tokens = random_tokens(model.config(), count * flags.batch);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t step = 0; step < count; ++step) {
    model.decode(std::span(tokens).subspan(static_cast<size_t>(step * flags.batch),
                                           static_cast<size_t>(flags.batch)));
  }
  return static_cast<double>(count * flags.batch) / seconds_since(start);
}

// One decode step behind the depth, as a Chrome trace.
std::string profile_of_step(Model& model, const BenchFlags& flags) {
  fill(model, flags.batch, flags.depth);
  const auto tokens = random_tokens(model.config(), 2 * flags.batch);
  const auto step = std::span(tokens).first(static_cast<size_t>(flags.batch));
  model.decode(step);
  model.set_profiling(true);
  model.decode(step);
  return chrome_trace_json(model.take_profile());
}

// Bytes that a decode step reads at least: the weights one token uses. The caches, and the further
// experts that other sequences of a batch may choose, are not counted.
double bytes_per_step(const Model& model) {
  const ParameterCount count = count_parameters(model.config());
  return static_cast<double>(model.weight_bytes()) * static_cast<double>(count.active) /
         static_cast<double>(count.total);
}

// Nothing if Ctrl-C came before the first sample.
std::optional<Row> measure(Subject& subject, const BenchFlags& flags, bool is_prompt,
                           int64_t count) {
  const auto run = [&] {
    return is_prompt ? run_prompt(subject.model, flags, count)
                     : run_generation(subject.model, flags, count);
  };
  run();  // warm: pages of the weights are read, kernels chosen, the step captured
  std::vector<double> rates;
  for (int i = 0; i < flags.repetitions && !interrupted(); ++i) rates.push_back(run());
  if (rates.empty()) return std::nullopt;
  double mean = 0.0, variance = 0.0;
  for (double rate : rates) mean += rate / static_cast<double>(rates.size());
  for (double rate : rates) variance += (rate - mean) * (rate - mean);
  const double deviation =
      rates.size() > 1 ? std::sqrt(variance / static_cast<double>(rates.size() - 1)) : 0.0;

  const ModelConfig& config = subject.model.config();
  std::string test = fmt::format("{}{}", is_prompt ? "pp" : "tg", count);
  if (flags.depth > 0) test += fmt::format(" @ d{}", flags.depth);
  if (flags.batch > 1) test += fmt::format(" x{}", flags.batch);
  Row row;
  row["model"] = subject.name;
  row["model_size"] = subject.model.weight_bytes();
  row["model_size_text"] = human_bytes(static_cast<double>(subject.model.weight_bytes()));
  row["model_n_params"] = count_parameters(config).total;
  row["model_n_params_text"] = human_count(static_cast<double>(count_parameters(config).total));
  row["backend"] = std::string(name(subject.model.device().kind()));
  row["n_threads"] = subject.model.device().num_threads();
  row["kv_type"] = flags.model.kv_types();
  row["batch_size"] = flags.batch;
  row["n_prompt"] = is_prompt ? count : 0;
  row["n_gen"] = is_prompt ? 0 : count;
  row["n_depth"] = flags.depth;
  row["test"] = test;
  row["avg_ts"] = mean;
  row["stddev_ts"] = deviation;
  row["avg_ts_text"] = fmt::format("{:.2f} ± {:.2f}", mean, deviation);
  row["peak_memory_bytes"] = peak_memory_bytes();
  row["peak_memory_bytes_text"] = human_bytes(static_cast<double>(peak_memory_bytes()));
  row["read_bandwidth"] = subject.bandwidth;
  if (is_prompt) {
    row["bandwidth_percent"] = nullptr;
    row["bandwidth_percent_text"] = "-";
  } else {
    const double percent =
        100.0 * bytes_per_step(subject.model) * mean / flags.batch / subject.bandwidth;
    row["bandwidth_percent"] = percent;
    row["bandwidth_percent_text"] = fmt::format("{:.0f}", percent);
  }
  return row;
}

std::string render(const std::vector<Row>& rows, const std::string& format) {
  if (format == "csv") return csv(rows);
  if (format == "md") {
    return markdown({{"model", "model"},
                     {"model_size", "size", true},
                     {"model_n_params", "params", true},
                     {"backend", "backend"},
                     {"n_threads", "threads", true},
                     {"kv_type", "kv"},
                     {"test", "test", true},
                     {"avg_ts", "t/s", true},
                     {"peak_memory_bytes", "peak memory", true},
                     {"bandwidth_percent", "% of bandwidth", true}},
                    rows);
  }
  const Row list = without_texts(rows);
  if (format == "json") return list.dump(2) + "\n";
  std::string lines;
  for (const Row& row : list) lines += row.dump() + "\n";
  return lines;
}

int run(const BenchFlags& flags) {
  const Terminal terminal = flags.common.terminal();
  const Device device = flags.device.open();
  Source source = open_source(flags);
  const ModelMemory memory = source.checkpoint
                                 ? estimate_memory(device, *source.checkpoint, source.options)
                                 : random_memory(source, flags);
  require_memory(terminal, device, memory, source.options);
  std::optional<OutputFile> profile;
  if (!flags.profile.empty()) profile.emplace(flags.profile);
  if (profile && !profile->failure().empty()) {
    terminal.error("--profile: " + profile->failure());
    return kFailed;
  }
  const bool on_cpu = device.kind() == DeviceKind::kCpu;
  const char* const what = on_cpu ? "read" : "copy";
  terminal.info(fmt::format("Measuring the {} bandwidth of {}", what, device.name()));
  const double bandwidth =
      on_cpu ? measure_read_bandwidth(device.num_threads()) : measure_copy_bandwidth(device);
  reset_peak_memory();  // the measurement's own buffer is not the model's
  terminal.info(
      fmt::format("{} bandwidth: {:.1f} GB/s", on_cpu ? "Read" : "Copy", bandwidth / 1e9));
  Subject subject{load_subject(device, source, flags, terminal), "", bandwidth};
  subject.name =
      fmt::format("{} {}", name(subject.model.config().family),
                  flags.random_weights ? fmt::format("random {}-bit", flags.bits)
                                       : subject.model.config().quantization.description);

  std::vector<Row> rows;
  const auto add = [&](bool is_prompt, int64_t count) {
    if (count == 0 || interrupted()) return;
    if (auto row = measure(subject, flags, is_prompt, count)) rows.push_back(std::move(*row));
  };
  for (int64_t count : flags.prompt) add(true, count);
  for (int64_t count : flags.generate) add(false, count);
  write_stdout(render(rows, flags.output));
  if (profile && !profile->write(profile_of_step(subject.model, flags))) {
    terminal.error("--profile: " + profile->failure());
    return kFailed;
  }
  return interrupted() ? interrupt_exit_code() : kOk;
}

}  // namespace

Command add_bench(CLI::App& app) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = app.add_subcommand("bench", "Measure prompt and generation speed");
  flags->model.add_to(*command, false);
  const auto option = [command](const char* names, auto& value, const char* help,
                                const char* variable) {
    return with_environment(command->add_option(names, value, help),
                            std::string("BENCH_") + variable);
  };
  const auto list = [&option](const char* names, std::vector<int64_t>& values, const char* help,
                              const char* variable) {
    option(names, values, help, variable)
        ->expected(1)
        ->take_all()
        ->allow_extra_args(false)
        ->delimiter(',')
        ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  };
  list("-p,--n-prompt", flags->prompt, "Prompt lengths to measure, such as 128,512; 0: none",
       "N_PROMPT");
  list("-n,--n-gen", flags->generate, "Generation lengths to measure; 0: none", "N_GEN");
  option("-d,--n-depth", flags->depth, "Tokens in the cache before each test", "N_DEPTH")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  option("-r,--repetitions", flags->repetitions, "Runs per test", "REPETITIONS")
      ->check(CLI::Range(1, 1000));
  option("-b,--batch-size", flags->batch, "Sequences decoded together", "BATCH_SIZE")
      ->check(CLI::Range(1, 1024));
  option("-o,--output", flags->output, "md, csv, json or jsonl", "OUTPUT")
      ->check(CLI::IsMember({"md", "csv", "json", "jsonl"}));
  auto* random =
      with_environment(command->add_flag("--random-weights", flags->random_weights,
                                         "Measure the shape of --config without a model file"),
                       "BENCH_RANDOM_WEIGHTS");
  auto* config = option("--config", flags->config, "config.json of the shape", "CONFIG");
  random->needs(config);
  config->needs(random);
  option("--profile", flags->profile, "Write a Perfetto trace of one decode step", "PROFILE");
  option("--bits", flags->bits, "Random weights: affine bits, or 16 or 32 for floats", "BITS")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 8, 16, 32}));
  option("--group-size", flags->group_size, "Random weights: weights per scale", "GROUP_SIZE")
      ->check(CLI::IsMember({32, 64, 128}));
  flags->device.add_to(*command);
  flags->common.add_to(*command);
  command->callback([flags] {
    if (flags->model.model.empty() != flags->random_weights) {
      throw CLI::RequiredError("either --model or --random-weights --config");
    }
    const auto is_zero = [](int64_t count) { return count == 0; };
    if (std::ranges::all_of(flags->prompt, is_zero) &&
        std::ranges::all_of(flags->generate, is_zero)) {
      throw CLI::ValidationError("--n-prompt, --n-gen", "one of them must be above 0");
    }
  });
  return {command, [flags] { return run(*flags); }};
}

}  // namespace mlxn::cli
