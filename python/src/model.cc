// SPDX-License-Identifier: Apache-2.0
// Model configurations and models. A model is used by one thread at a time; others wait.
#include <memory>

#include "binding.h"

namespace mlxn::python {
namespace {

nb::dict config_dict(const ModelConfig& c) {
  nb::dict d;
  d["family"] = std::string(name(c.family));
  d["model_type"] = text_of(c.model_type);
  d["vocab_size"] = c.vocab_size;
  d["hidden_size"] = c.hidden_size;
  d["num_heads"] = c.num_heads;
  d["num_layers"] = c.num_layers();
  d["window_size"] = c.window_size;
  d["max_position_embeddings"] = c.max_position_embeddings;
  d["num_experts"] = c.moe.num_experts;
  d["eos_token_ids"] = c.eos_token_ids;
  d["quantization"] = text_of(c.quantization.description);
  nb::list layers;
  for (const LayerConfig& layer : c.layers) {
    nb::dict l;
    l["type"] = std::string(name(layer.type));
    l["head_dim"] = layer.head_dim;
    l["num_kv_heads"] = layer.num_kv_heads;
    l["intermediate_size"] = layer.intermediate_size;
    l["k_eq_v"] = layer.k_eq_v;
    layers.append(l);
  }
  d["layers"] = layers;
  return d;
}

std::shared_ptr<SharedModel> load_model(const Device& device, const Checkpoint& checkpoint,
                                        int64_t max_context, int batch, const std::string& kv_type,
                                        std::optional<std::string> kv_type_v,
                                        bool kv_norm_correction, int64_t prefill_chunk,
                                        bool prepare) {
  ModelOptions options{.max_context = max_context,
                       .batch = batch,
                       .kv_type = parse_kv(kv_type),
                       .kv_norm_correction = kv_norm_correction,
                       .prefill_chunk = prefill_chunk,
                       .prepare = prepare};
  if (kv_type_v) options.kv_type_v = parse_kv(*kv_type_v);
  const nb::gil_scoped_release no_gil;
  return std::make_shared<SharedModel>(Model::load(device, checkpoint, options));
}

nb::dict memory_dict(SharedModel& m) {
  const ModelMemory memory = m.value.memory();
  nb::dict d;
  d["weights"] = memory.weights;
  d["prepared"] = memory.prepared;
  d["caches"] = memory.caches;
  d["scratch"] = memory.scratch;
  return d;
}

NumPyArray rows_of(SharedModel& m, std::vector<float> values, bool one_row) {
  const auto vocab = static_cast<size_t>(m.value.config().vocab_size);
  const size_t rows = values.size() / vocab;
  if (one_row) return numpy_floats(std::move(values), {vocab});
  return numpy_floats(std::move(values), {rows, vocab});
}

Perplexity perplexity_of(SharedModel& m, const std::vector<int32_t>& tokens, int64_t context,
                         int64_t stride, std::optional<int32_t> bos) {
  return m.use([&](Model& model) {
    return perplexity(model, tokens, {.context = context, .stride = stride, .bos = bos});
  });
}

KvTypes types_of(const std::string& text) {
  if (const std::optional<KvTypes> types = parse_kv_types(text)) return *types;
  refuse("kv_report", "types", text, "f32, f16, bf16, tq2 to tq8, or two widths as tq8/tq4");
}

nb::dict row_dict(const KvReportRow& row) {
  nb::dict d;
  d["types"] = name(row.types);
  d["bytes_per_token"] = row.bytes_per_token;
  d["perplexity"] = row.perplexity.perplexity;
  d["standard_error"] = row.perplexity.standard_error;
  d["change"] = row.change;
  d["change_error"] = row.change_error;
  d["logit_change"] = row.logit_change;
  d["mean_logit_change"] = row.mean_logit_change;
  d["recall_right"] = row.recall_right;
  d["recall_items"] = row.recall_items;
  d["prompt_rate"] = row.prompt_rate;
  d["generation_rate"] = row.generation_rate;
  return d;
}

nb::list kv_report_of(SharedModel& m, const Tokenizer& tokenizer,
                      const std::vector<int32_t>& tokens, const std::vector<std::string>& types,
                      const std::string& baseline, int64_t context, std::optional<int32_t> bos,
                      const std::vector<std::pair<std::vector<int32_t>, std::string>>& recall,
                      int64_t depth) {
  KvReportOptions options{
      .baseline = types_of(baseline), .context = context, .bos = bos, .depth = depth};
  for (const std::string& text : types) options.types.push_back(types_of(text));
  for (const auto& [prompt, digits] : recall) options.recall.push_back({prompt, digits});
  const std::vector<KvReportRow> rows =
      m.use([&](Model& model) { return kv_report(model, tokenizer, tokens, options); });
  nb::list dicts;
  for (const KvReportRow& row : rows) dicts.append(row_dict(row));
  return dicts;
}

}  // namespace

void bind_model(nb::module_& m) {
  nb::class_<ModelConfig>(m, "ModelConfig", "What a model file says about its decoder.")
      .def_static("load", &load_model_config, "path"_a,
                  "Of a config.json, a model directory or a .gguf file, without its weights.")
      .def("as_dict", &config_dict, "Sizes, formats and token ids; layers as a list of dicts.")
      .def_ro("vocab_size", &ModelConfig::vocab_size)
      .def_ro("hidden_size", &ModelConfig::hidden_size)
      .def_prop_ro("num_layers", &ModelConfig::num_layers)
      .def_ro("max_position_embeddings", &ModelConfig::max_position_embeddings)
      .def_ro("eos_token_ids", &ModelConfig::eos_token_ids)
      .def_prop_ro("temperature", [](const ModelConfig& c) { return c.sampling.temperature; })
      .def_prop_ro("top_k", [](const ModelConfig& c) { return c.sampling.top_k; })
      .def_prop_ro("top_p", [](const ModelConfig& c) { return c.sampling.top_p; });
  nb::class_<Perplexity>(m, "Perplexity", "How well a model predicts a text; lower is better.")
      .def_ro("perplexity", &Perplexity::perplexity)
      .def_ro("standard_error", &Perplexity::standard_error)
      .def_ro("mean_nll", &Perplexity::mean_nll, "Nats a token.")
      .def_ro("tokens", &Perplexity::tokens, "Tokens scored.")
      .def_ro("windows", &Perplexity::windows);
  nb::class_<SharedModel>(m, "Model", "A decoder with its weights and KV caches, ready to run.")
      .def_static(
          "load", &load_model, "device"_a, "checkpoint"_a, nb::kw_only(), "max_context"_a = 0,
          "batch"_a = 1, "kv_type"_a = "f16", "kv_type_v"_a = nb::none(),
          "kv_norm_correction"_a = false, "prefill_chunk"_a = 512, "prepare"_a = true,
          "max_context: tokens a sequence may hold; 0: what it was trained for, at most "
          "8192. kv_type: f32, f16, bf16, or tq2 to tq8. kv_norm_correction: norms of codes "
          "are lengthened by what rounding to levels takes from a row.")
      .def_prop_ro("device", [](SharedModel& s) { return s.value.device(); })
      .def_prop_ro("config", [](SharedModel& s) { return s.value.config(); })
      .def_prop_ro("max_context", [](SharedModel& s) { return s.value.options().max_context; })
      .def_prop_ro("batch", [](SharedModel& s) { return s.value.options().batch; })
      .def_prop_ro("memory", &memory_dict, "Bytes that are allocated.")
      .def_prop_ro("warnings", [](SharedModel& s) { return texts_of(s.value.warnings()); })
      .def(
          "length",
          [](SharedModel& s, int sequence) {
            return s.use([=](Model& model) { return model.length(sequence); });
          },
          "sequence"_a = 0, "Tokens that the caches of a sequence hold.")
      .def("reset", &call<&Model::reset, Model>, "Forgets what the sequences hold.")
      .def(
          "trim",
          [](SharedModel& s, int64_t length, int sequence) {
            return s.use([=](Model& model) { return model.trim(sequence, length); });
          },
          "length"_a, "sequence"_a = 0, "False if rings have overwritten what is needed.")
      .def(
          "prefill",
          [](SharedModel& s, const std::vector<int32_t>& tokens, bool all, int sequence) {
            return rows_of(
                s, s.use([&](Model& model) { return model.prefill(sequence, tokens, all); }), !all);
          },
          "tokens"_a, "all_positions"_a = false, "sequence"_a = 0,
          "Runs tokens after what the sequence holds; f32 logits [V], or of all positions [T, V].")
      .def(
          "decode",
          [](SharedModel& s, const std::vector<int32_t>& tokens) {
            return rows_of(s, s.use([&](Model& model) { return model.decode(tokens); }), false);
          },
          "tokens"_a, "One token for each of the first sequences -> [len(tokens), V].")
      .def(
          "logits",
          [](SharedModel& s, const std::vector<int32_t>& tokens, bool all) {
            return rows_of(s, s.use([&](Model& model) { return model.logits(tokens, all); }), !all);
          },
          "tokens"_a, "all_positions"_a = false,
          "Logits after the soft cap, f32 [V] of the last token or [T, V]; forgets what was held.")
      .def("perplexity", &perplexity_of, "tokens"_a, nb::kw_only(), "context"_a = 512,
           "stride"_a = 0, "bos"_a = nb::none(),
           "Of a text in windows of `context` tokens. stride 0: windows follow each other and the "
           "second half of each is scored; else the last `stride` tokens of windows that far "
           "apart. bos replaces the first token of a window.")
      .def("kv_report", &kv_report_of, "tokenizer"_a, "tokens"_a, nb::kw_only(), "types"_a,
           "baseline"_a = "f16", "context"_a = 512, "bos"_a = nb::none(),
           "recall"_a = std::vector<std::pair<std::vector<int32_t>, std::string>>(), "depth"_a = 0,
           "Types of KV cache on the same weights and tokens: a dict each. recall: prompts and the "
           "digits that must follow. depth: tokens in the cache where speed is measured; 0: not.");
}

}  // namespace mlxn::python
