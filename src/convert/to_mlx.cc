// SPDX-License-Identifier: Apache-2.0
// Planning and writing of MLX model directories.
#include <fmt/format.h>

#include <array>
#include <filesystem>

#include "base/mapped_file.h"
#include "checkpoint/fail.h"
#include "convert/conversion.h"
#include "convert/mlx_config.h"
#include "convert/safetensors_writer.h"
#include "convert/source.h"
#include "convert/tokenizer_json.h"

namespace mlxn::convert {
namespace {

namespace fs = std::filesystem;

constexpr int kRouterBits = 8;
constexpr size_t kMaxSmallFile = size_t{256} << 20;

// Files beside the weights that belong to the model.
constexpr std::array<const char*, 10> kCopied = {
    "generation_config.json", "tokenizer.json",          "tokenizer.model",
    "tokenizer_config.json",  "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja",    "chat_template.json",      "preprocessor_config.json",
    "processor_config.json"};

// Where the decoder's tensors stand: under language_model. if config.json nests the decoder.
struct Prefixes {
  std::string decoder;
  std::string head;
};
Prefixes prefixes_of(const CheckpointImpl& source) {
  const bool is_wrapper =
      source.kind == CheckpointKind::kSafetensors && !source.config.model_type.ends_with("_text");
  if (is_wrapper) return {"language_model.model.", "language_model."};
  return {"model.", ""};
}

class Planner {
 public:
  Planner(const CheckpointImpl& source, const TypeChooser& types)
      : source_(source), types_(types), prefixes_(prefixes_of(source)) {
    // GGUF holds what Gemma 3 multiplies by, 1 + w.
    const bool is_gguf = source.kind == CheckpointKind::kGguf;
    norm_offset_ = is_gguf && source.config.family == ModelFamily::kGemma3 ? -1.0f : 0.0f;
  }

  std::vector<PlannedTensor> plan(const std::vector<SourceTensor>& tensors) {
    for (const SourceTensor& tensor : tensors) add(tensor);
    return std::move(plan_);
  }

 private:
  std::string path(const SourceTensor& tensor, std::string_view name) const {
    const std::string layer = tensor.layer.empty() ? "" : "layers." + tensor.layer + ".";
    const bool is_head = name == "lm_head";
    return (is_head ? prefixes_.head : prefixes_.decoder) + layer + std::string(name);
  }

  void add(const SourceTensor& tensor) {
    const std::string_view name = tensor.row->canonical;
    if (name == "experts.gate_up_proj") {
      add_half(tensor, "experts.switch_glu.gate_proj", 0);
      add_half(tensor, "experts.switch_glu.up_proj", 1);
      return;
    }
    const std::string_view stored = tensor.row->converted.empty() ? name : tensor.row->converted;
    PlannedTensor out;
    out.shape = tensor.stored->shape;
    out.source.stored = tensor.stored;
    out.source.name = tensor.name;
    if (tensor.is_matrix()) {
      choose(path(tensor, stored), name == "router.proj" ? kRouterBits : 0, out);
    } else {
      out.name = path(tensor, stored);
      out.encoding = float_encoding(*tensor.stored);
      if (name.find("norm") != std::string_view::npos) out.source.offset = norm_offset_;
    }
    push(std::move(out));
  }

  // Gate or up of a fused stack [E, 2 * Ie, H].
  void add_half(const SourceTensor& tensor, std::string_view name, int64_t half) {
    PlannedTensor out;
    out.shape = tensor.stored->shape;
    const size_t rank = out.shape.size();
    if (rank < 2 || out.shape[rank - 2] % 2 != 0) {
      checkpoint::fail(source_.tensors.error_kind(), source_.path,
                       "tensor " + checkpoint::in_quotes(tensor.name), to_string(out.shape),
                       "[experts, 2 * intermediate, hidden]");
    }
    out.source.stored = tensor.stored;
    out.source.name = tensor.name;
    out.source.rows_stored = out.shape[rank - 2];
    out.shape[rank - 2] /= 2;
    out.source.rows_taken = out.shape[rank - 2];
    out.source.first_row = half * out.source.rows_taken;
    choose(path(tensor, name), 0, out);
    push(std::move(out));
  }

  void choose(const std::string& module, int forced_bits, PlannedTensor& out) const {
    out.encoding = types_.mlx_matrix(module, *out.source.stored, out.cols(), forced_bits);
    out.name = out.encoding.is_mlx() ? module : module + ".weight";
  }

  void push(PlannedTensor out) {
    check_source(out);
    plan_.push_back(std::move(out));
  }

  const CheckpointImpl& source_;
  const TypeChooser& types_;
  Prefixes prefixes_;
  float norm_offset_;
  std::vector<PlannedTensor> plan_;
};

// config.json and what stands beside it when the source is a directory.
void write_files_of_directory(const Conversion& conversion,
                              const std::vector<PlannedTensor>& tensors,
                              const std::string& directory) {
  const fs::path source = conversion.source.path;
  const std::string config = base::read_text_file((source / "config.json").string(), kMaxSmallFile);
  write_text_file(directory + "/config.json",
                  config_for_mlx(config, tensors, conversion.types.file_level()));
  for (const char* name : kCopied) {
    std::error_code error;
    if (!fs::exists(source / name, error)) continue;
    write_text_file(directory + "/" + name,
                    base::read_text_file((source / name).string(), kMaxSmallFile));
  }
}

void write_files_of_gguf(const Conversion& conversion, const std::vector<PlannedTensor>& tensors,
                         const std::string& directory, std::vector<std::string>& notes) {
  const CheckpointImpl& source = conversion.source;
  ModelConfig model = source.config;
  for (const PlannedTensor& tensor : tensors) {  // the float type of the first matrix
    if (!tensor.name.ends_with("embed_tokens") && !tensor.name.ends_with("embed_tokens.weight")) {
      continue;
    }
    const Format format = float_encoding(*tensor.source.stored).format;
    model.float_dtype = format == Format::kBF16  ? DType::kBF16
                        : format == Format::kF16 ? DType::kF16
                                                 : DType::kF32;
  }
  write_text_file(directory + "/config.json",
                  config_for_mlx(config_from_model(model), tensors, conversion.types.file_level()));
  write_text_file(directory + "/generation_config.json", generation_config_from_model(model));
  const GgufVocab vocab = conversion.checkpoint.gguf_vocab().value_or(GgufVocab());
  if (vocab.tokens.empty()) {
    notes.push_back("the source has no vocabulary: no tokenizer.json was written");
    return;
  }
  // Some writers put the file itself into the metadata.
  const auto embedded = source.gguf->text("tokenizer.huggingface.json");
  write_text_file(directory + "/tokenizer.json", embedded ? *embedded : tokenizer_json(vocab));
  write_text_file(directory + "/tokenizer_config.json", tokenizer_config(vocab));
  const auto chat = vocab.chat_templates.find("default");
  if (chat != vocab.chat_templates.end() && vocab.chat_templates.size() == 1) {
    write_text_file(directory + "/chat_template.jinja", chat->second);
  }
}

}  // namespace

WrittenFiles prepare_mlx(const Conversion& conversion, const std::string& directory,
                         uint64_t max_shard_bytes, std::vector<std::string>& notes) {
  WrittenFiles out;
  out.tensors =
      Planner(conversion.source, conversion.types).plan(decoder_tensors(conversion.source, notes));
  const std::vector<Shard> shards = plan_shards(out.tensors, max_shard_bytes);
  if (conversion.source.kind == CheckpointKind::kGguf) {
    write_files_of_gguf(conversion, out.tensors, directory, notes);
  } else {
    write_files_of_directory(conversion, out.tensors, directory);
  }
  write_text_file(directory + "/model.safetensors.index.json", shard_index(out.tensors, shards));
  for (const Shard& shard : shards) {
    FileWriter& file = out.files.emplace_back(directory + "/" + shard.name);
    file.reserve(shard.file_bytes);
    file.write_at(0, shard.header);
  }
  return out;
}

}  // namespace mlxn::convert
