// SPDX-License-Identifier: Apache-2.0
// mlxn info: what a model file holds and what it would take to run it, without loading it.
#include <memory>

#include "commands.h"
#include "exit_codes.h"
#include "output.h"
#include "session.h"
#include "shape.h"
#include "table.h"

namespace mlxn::cli {
namespace {

struct InfoFlags {
  CommonFlags common;
  DeviceFlags device;
  ModelFlags model;
  bool fit = false;
  bool tensors = false;
  bool json = false;
  int batch = 1;
};

Row summary(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  const ParameterCount count = count_parameters(config);
  int64_t sliding = 0;
  for (const LayerConfig& layer : config.layers) sliding += layer.type == LayerType::kSliding;
  Row row;
  row["path"] = checkpoint.path();
  row["format"] = std::string(name(checkpoint.kind()));
  row["family"] = std::string(name(config.family));
  row["quantization"] = config.quantization.description;
  const std::string& file_type = config.quantization.file_type;
  if (!file_type.empty()) row["file_type"] = file_type;
  row["parameters"] = count.total;
  row["parameters_per_token"] = count.active;
  row["bytes"] = checkpoint.total_bytes();
  row["tensors"] = checkpoint.tensors().size();
  row["vocab_size"] = config.vocab_size;
  row["hidden_size"] = config.hidden_size;
  row["layers"] = config.num_layers();
  row["sliding_layers"] = sliding;
  row["window_size"] = config.window_size;
  row["num_heads"] = config.num_heads;
  row["num_experts"] = config.moe.num_experts;
  row["experts_per_token"] = config.moe.top_k;
  row["max_position_embeddings"] = config.max_position_embeddings;
  return row;
}

// Powers of two from 512 up to what the model was trained for, which is always the last.
std::vector<int64_t> contexts(const ModelConfig& config, int64_t asked) {
  if (asked > 0) return {asked};
  std::vector<int64_t> list;
  for (int64_t n = 512; n < config.max_position_embeddings; n *= 2) list.push_back(n);
  list.push_back(config.max_position_embeddings);
  return list;
}

std::vector<Row> fit_rows(const InfoFlags& flags, const Device& device,
                          const Checkpoint& checkpoint) {
  std::vector<Row> rows;
  const DeviceMemory available = device.memory();
  // As check_memory() has it.
  const bool is_unknown =
      available.total == 0 || (available.free == 0 && device.kind() == DeviceKind::kCpu);
  const ModelMemory weights =
      estimate_memory(device, checkpoint, flags.model.options(checkpoint.config()));
  for (int64_t context : contexts(checkpoint.config(), flags.model.max_kv_size)) {
    ModelOptions options = flags.model.options(checkpoint.config());
    options.max_context = context;
    options.batch = flags.batch;
    ModelMemory memory = estimate_memory(checkpoint.config(), options);
    memory.weights = weights.weights;
    memory.prepared = weights.prepared;
    Row row;
    row["context"] = context;
    const auto add = [&row](const char* key, uint64_t bytes) {
      row[key] = bytes;
      row[std::string(key) + "_text"] = human_bytes(static_cast<double>(bytes));
    };
    add("weights", memory.weights);
    add("repacked", memory.prepared);
    add("caches", memory.caches);
    add("scratch", memory.scratch);
    add("total", memory.total());
    row["fits"] = is_unknown || memory.total() <= available.free;
    row["fits_text"] = row["fits"].get<bool>() ? "yes" : "no";
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Row> tensor_rows(const Checkpoint& checkpoint) {
  std::vector<Row> rows;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    Row row;
    row["name"] = tensor.name;
    row["dtype"] = tensor.dtype;
    row["format"] = tensor.format;
    row["shape"] = tensor.shape;
    row["shape_text"] = to_string(tensor.shape);
    row["bytes"] = tensor.byte_len;
    row["bytes_text"] = human_bytes(static_cast<double>(tensor.byte_len));
    rows.push_back(std::move(row));
  }
  return rows;
}

void print_summary(const Row& row) {
  for (const auto& [key, value] : row.items()) {
    std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (key == "bytes") text = human_bytes(value.get<double>());
    if (key.starts_with("parameters")) text = human_count(value.get<double>());
    print("{:<24} {}\n", key, text);
  }
}

int run(const InfoFlags& flags) {
  const Checkpoint checkpoint = Checkpoint::open(flags.model.path());
  Row report = summary(checkpoint);
  const Device device = flags.device.open();
  const uint64_t available = device.memory().free;
  const auto fit = flags.fit ? fit_rows(flags, device, checkpoint) : std::vector<Row>();
  const auto tensors = flags.tensors ? tensor_rows(checkpoint) : std::vector<Row>();
  if (flags.json) {
    if (flags.fit) report["fit"] = without_texts(fit);
    if (flags.tensors) report["tensor_list"] = without_texts(tensors);
    if (flags.fit) report["available_memory_bytes"] = available;
    print("{}\n", report.dump(2));
    return kOk;
  }
  print_summary(report);
  if (flags.fit) {
    print("\n{}", markdown({{"context", "context", true},
                            {"weights", "weights", true},
                            {"repacked", "repacked", true},
                            {"caches", "caches", true},
                            {"scratch", "scratch", true},
                            {"total", "total", true},
                            {"fits", "fits"}},
                           fit));
    print("\nKV cache {}, batch {}; {} of memory available\n", flags.model.kv_types(), flags.batch,
          human_bytes(static_cast<double>(available)));
  }
  if (flags.tensors) {
    print("\n{}", markdown({{"name", "tensor"},
                            {"dtype", "dtype"},
                            {"format", "format"},
                            {"shape", "shape"},
                            {"bytes", "bytes", true}},
                           tensors));
  }
  return kOk;
}

}  // namespace

Command add_info(CLI::App& app) {
  auto flags = std::make_shared<InfoFlags>();
  CLI::App* command = app.add_subcommand("info", "Show what a model file holds and needs");
  flags->model.add_to(*command);
  with_environment(
      command->add_flag("--fit", flags->fit,
                        "Memory per context length: weights, repacked weights, caches, scratch"),
      "INFO_FIT");
  with_environment(command->add_flag("--tensors", flags->tensors, "List every tensor"),
                   "INFO_TENSORS");
  with_environment(command->add_flag("--json", flags->json, "Print one JSON object"), "INFO_JSON");
  with_environment(command->add_option("-b,--batch-size", flags->batch, "Sequences for --fit"),
                   "INFO_BATCH_SIZE")
      ->check(CLI::Range(1, 1024));
  flags->device.add_to(*command);
  flags->common.add_to(*command);
  return {command, [flags] { return run(*flags); }};
}

}  // namespace mlxn::cli
