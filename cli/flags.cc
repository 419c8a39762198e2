// SPDX-License-Identifier: Apache-2.0
#include "flags.h"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>

#include "machine.h"

namespace mlxn::cli {
namespace {

template <typename Accepts>
CLI::Validator number_check(std::string range, Accepts accepts) {
  return CLI::Validator(
      [range, accepts](std::string& text) {
        double value = 0.0;
        if (CLI::detail::lexical_cast(text, value) && accepts(value)) return std::string();
        return fmt::format("found {}, required {}", text, range);
      },
      range);
}

std::optional<uint64_t> parse_seed(const std::string& text) {
  if (text == "-1") return std::nullopt;
  uint64_t seed = 0;
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, seed);
  if (result.ec != std::errc() || result.ptr != end) {
    throw CLI::ValidationError("--seed", fmt::format("found {}, required -1 or 0 .. 2^64 - 1",
                                                     text.empty() ? "nothing" : text));
  }
  return seed;
}

}  // namespace

CLI::Validator number_between(double low, double high) {
  return number_check(fmt::format("{} .. {}", low, high),
                      [=](double value) { return value >= low && value <= high; });
}

CLI::Validator number_above(double low, double high) {
  return number_check(fmt::format("above {}, at most {}", low, high),
                      [=](double value) { return value > low && value <= high; });
}

CLI::Validator not_empty() {
  return CLI::Validator(
      [](std::string& text) { return text.empty() ? "found no text" : std::string(); }, "");
}

std::string read_file(const char* flag, const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      std::fopen(path.c_str(), "rb"), [](std::FILE* open) { return std::fclose(open); });
  std::string text;
  if (file) {
    char buffer[1 << 16];
    while (const size_t count = std::fread(buffer, 1, sizeof(buffer), file.get())) {
      text.append(buffer, count);
    }
    if (!std::ferror(file.get())) return text;
  }
  throw UsageError(fmt::format("{}: {}: {}", flag, path, std::strerror(errno)));
}

CLI::Option* with_environment(CLI::Option* option, const std::string& name) {
  return option->envname("MLXN_" + name);
}

void CommonFlags::add_to(CLI::App& app) {
  with_environment(app.add_flag("-q,--quiet", quiet, "Print nothing but the result and errors"),
                   "QUIET");
  with_environment(app.add_option("--color", color, "Colour on stderr: auto, on or off"), "COLOR")
      ->check(CLI::IsMember({"auto", "on", "off"}));
}

void DeviceFlags::add_to(CLI::App& app) {
  with_environment(
      app.add_option("--device", device,
                     "cpu, cuda:N, metal:N or best (a GPU if there is one); `mlxn doctor` "
                     "lists devices"),
      "DEVICE");
  with_environment(app.add_option("-t,--threads", threads, "CPU threads; 0: all cores"), "THREADS")
      ->check(CLI::Range(0, 1024));
  with_environment(
      app.add_flag("--strict", strict, "Refuse every kernel but the best one for the device"),
      "STRICT");
  with_environment(app.add_option("--gpu-trace", gpu_trace,
                                  "Metal: write one commit to this new .gputrace document; needs "
                                  "MTL_CAPTURE_ENABLED=1"),
                   "GPU_TRACE");
  with_environment(app.add_option("--gpu-trace-commit", gpu_trace_commit,
                                  "Which commit, counted from 0; a decode step is one"),
                   "GPU_TRACE_COMMIT")
      ->check(CLI::NonNegativeNumber);
}

Device DeviceFlags::open() const {
  DeviceOptions options;
  options.num_threads = threads;
  options.strict = strict;
  options.gpu_trace = gpu_trace;
  options.gpu_trace_commit = gpu_trace_commit;
  Device opened = Device::open(device, options);
  if (!gpu_trace.empty() && opened.kind() != DeviceKind::kMetal) {
    throw UsageError("--gpu-trace: found device " + std::string(name(opened.kind())) +
                     ", required metal");
  }
  return opened;
}

void ModelFlags::add_path_to(CLI::App& app, bool model_required) {
  auto* option = with_environment(
      app.add_option("-m,--model", model,
                     "MLX or Hugging Face directory, GGUF file, or a Hugging Face id in the local "
                     "cache"),
      "MODEL");
  if (model_required) option->required();
}

void ModelFlags::add_dtype_to(CLI::App& app) {
  with_environment(app.add_option("--dtype", dtype, "Activations in memory: f32, the only type"),
                   "DTYPE")
      ->check(CLI::Validator(
          [](std::string& text) {
            return text == "f32" ? std::string() : fmt::format("found {}, required f32", text);
          },
          "f32"));
}

void ModelFlags::add_norm_correction_to(CLI::App& app) {
  with_environment(app.add_flag("--kv-norm-correction", kv_norm_correction,
                                "Codes: lengthen norms by what rounding to levels takes from a "
                                "row, so that products with it are right on average"),
                   "KV_NORM_CORRECTION");
}

void ModelFlags::add_file_to(CLI::App& app, bool model_required) {
  add_path_to(app, model_required);
  const std::vector<std::string> types(std::begin(kKvTypeNames), std::end(kKvTypeNames));
  with_environment(app.add_option("--kv-type", kv_type,
                                  "KV cache: f32, f16, bf16, or tq2, tq3, tq4, tq5, tq6, tq8 for "
                                  "codes of that many bits"),
                   "KV_TYPE")
      ->check(CLI::IsMember(types));
  with_environment(app.add_option("--kv-type-k", kv_type_k, "Keys alone: codes of another width"),
                   "KV_TYPE_K")
      ->check(CLI::IsMember(types));
  with_environment(app.add_option("--kv-type-v", kv_type_v, "Values alone: codes of another width"),
                   "KV_TYPE_V")
      ->check(CLI::IsMember(types));
  add_norm_correction_to(app);
  add_dtype_to(app);
}

void ModelFlags::add_to(CLI::App& app, bool model_required) {
  add_file_to(app, model_required);
  with_environment(app.add_option("-c,--max-kv-size,--ctx-size", max_kv_size,
                                  "Tokens a sequence may hold, prompt and reply together; 0: what "
                                  "the model was trained for, at most 8192"),
                   "MAX_KV_SIZE")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  with_environment(app.add_flag("--no-repack", no_repack,
                                "Run weights as they lie in the mapped file: slower, and their "
                                "memory can be dropped and read again"),
                   "NO_REPACK");
}

std::string ModelFlags::kv_types() const {
  const std::string& k = kv_type_k.empty() ? kv_type : kv_type_k;
  const std::string& v = kv_type_v.empty() ? kv_type : kv_type_v;
  return k == v ? k : k + "/" + v;
}

std::string ModelFlags::path() const { return resolve_model_path(model, hugging_face_cache()); }

ModelOptions ModelFlags::options(const ModelConfig& config) const {
  if (max_kv_size > config.max_position_embeddings) {
    throw UsageError(
        fmt::format("--max-kv-size: found {}, required at most {}, what the model was "
                    "trained for",
                    max_kv_size, config.max_position_embeddings));
  }
  ModelOptions options;
  options.kv_type = *parse_kv_type(kv_type_k.empty() ? kv_type : kv_type_k);
  options.kv_type_v = parse_kv_type(kv_type_v.empty() ? kv_type : kv_type_v);
  if (!(options.kv_type == *options.kv_type_v) &&
      !(options.kv_type.is_coded() && options.kv_type_v->is_coded())) {
    throw UsageError(
        fmt::format("--kv-type-v: found {} beside keys of {}, required the same type, "
                    "or tq2 .. tq8 for both",
                    name(*options.kv_type_v), name(options.kv_type)));
  }
  if (kv_norm_correction && !options.kv_type.is_coded()) {
    throw UsageError(fmt::format(
        "--kv-norm-correction: found a cache of {}, required codes, tq2 .. tq8", kv_types()));
  }
  options.kv_norm_correction = kv_norm_correction;
  options.max_context = max_kv_size;
  options.prepare = !no_repack;
  return options;
}

void SamplingFlags::add_to(CLI::App& app) {
  with_environment(app.add_option("--temp,--temperature", temperature,
                                  "0: always the likeliest token. Default: the model's, else 0"),
                   "TEMP")
      ->check(number_between(0.0, 100.0));
  with_environment(app.add_option("--top-k", top_k, "Keep the k likeliest tokens; 0: off"), "TOP_K")
      ->check(CLI::Range(0, 1 << 24));
  with_environment(
      app.add_option("--top-p", top_p, "Keep the likeliest tokens up to this mass; 1: off"),
      "TOP_P")
      ->check(number_above(0.0, 1.0));
  with_environment(app.add_option("--min-p", min_p,
                                  "Keep tokens of at least this share of the likeliest; 0: off"),
                   "MIN_P")
      ->check(number_between(0.0, 1.0));
  with_environment(app.add_option("--repetition-penalty,--repeat-penalty", repetition_penalty,
                                  "Divide the logits of the last 64 tokens; 1: off"),
                   "REPETITION_PENALTY")
      ->check(number_between(0.01, 100.0));
  with_environment(app.add_option_function<std::string>(
                          "-s,--seed", [this](const std::string& text) { seed = parse_seed(text); },
                          "Seed of the sampler; -1, the default: random")
                       ->type_name("INT"),
                   "SEED");
}

ops::SamplingParams SamplingFlags::params(const SamplingDefaults& defaults) const {
  ops::SamplingParams params;
  params.temperature = temperature.value_or(static_cast<float>(defaults.temperature.value_or(0.0)));
  params.top_k = top_k.value_or(static_cast<int>(defaults.top_k.value_or(0)));
  params.top_p = top_p.value_or(static_cast<float>(defaults.top_p.value_or(1.0)));
  params.min_p = min_p;
  params.repetition_penalty = repetition_penalty;
  params.seed = seed ? *seed : std::random_device{}();
  return params;
}

}  // namespace mlxn::cli
