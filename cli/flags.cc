// SPDX-License-Identifier: Apache-2.0
#include "flags.h"

#include <random>

#include "machine.h"

namespace mlxn::cli {

CLI::Option* with_environment(CLI::Option* option, const std::string& name) {
  return option->envname("MLXN_" + name);
}

DType parse_kv_type(const std::string& text) {
  if (text == "f32") return f32;
  if (text == "bf16") return bf16;
  return f16;
}

void CommonFlags::add_to(CLI::App& app) {
  with_environment(app.add_flag("-q,--quiet", quiet, "Print nothing but the result and errors"),
                   "QUIET");
  with_environment(app.add_option("--color", color, "Colour on stderr: auto, on or off"), "COLOR")
      ->check(CLI::IsMember({"auto", "on", "off"}));
}

void DeviceFlags::add_to(CLI::App& app) {
  with_environment(app.add_option("--device", device, "cpu or best; `mlxn doctor` lists devices"),
                   "DEVICE");
  with_environment(app.add_option("-t,--threads", threads, "CPU threads; 0: all cores"), "THREADS")
      ->check(CLI::Range(0, 1024));
  with_environment(
      app.add_flag("--strict", strict, "Refuse every kernel but the best one for the device"),
      "STRICT");
}

Device DeviceFlags::open() const {
  DeviceOptions options;
  options.num_threads = threads;
  options.strict = strict;
  return Device::open(device, options);
}

void ModelFlags::add_to(CLI::App& app, bool model_required) {
  auto* option = with_environment(
      app.add_option("-m,--model", model,
                     "MLX or Hugging Face directory, GGUF file, or a Hugging Face id in the local "
                     "cache"),
      "MODEL");
  if (model_required) option->required();
  with_environment(app.add_option("--kv-type", kv_type, "KV cache element: f32, f16 or bf16"),
                   "KV_TYPE")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  with_environment(app.add_option("-c,--ctx-size,--max-kv-size", max_kv_size,
                                  "Tokens a sequence may hold, prompt and reply together; 0: what "
                                  "the model was trained for, at most 8192"),
                   "MAX_KV_SIZE")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
}

std::string ModelFlags::path() const { return resolve_model_path(model, hugging_face_cache()); }

ModelOptions ModelFlags::options() const {
  ModelOptions options;
  options.kv_type = parse_kv_type(kv_type);
  options.max_context = max_kv_size;
  return options;
}

void SamplingFlags::add_to(CLI::App& app) {
  with_environment(app.add_option("--temp,--temperature", temperature,
                                  "0: always the likeliest token. Default: the model's, else 0"),
                   "TEMP")
      ->check(CLI::Range(0.0f, 100.0f));
  with_environment(app.add_option("--top-k", top_k, "Keep the k likeliest tokens; 0: off"), "TOP_K")
      ->check(CLI::Range(0, 1 << 24));
  with_environment(
      app.add_option("--top-p", top_p, "Keep the likeliest tokens up to this mass; 1: off"),
      "TOP_P")
      ->check(CLI::Range(0.0f, 1.0f));
  with_environment(app.add_option("--min-p", min_p,
                                  "Keep tokens of at least this share of the likeliest; 0: off"),
                   "MIN_P")
      ->check(CLI::Range(0.0f, 1.0f));
  with_environment(app.add_option("--repetition-penalty,--repeat-penalty", repetition_penalty,
                                  "Divide the logits of the last 64 tokens; 1: off"),
                   "REPETITION_PENALTY")
      ->check(CLI::Range(0.01f, 100.0f));
  with_environment(app.add_option("-s,--seed", seed, "Seed of the sampler; default: random"),
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
