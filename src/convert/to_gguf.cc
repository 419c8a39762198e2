// SPDX-License-Identifier: Apache-2.0
// Planning and writing of GGUF files.
#include <algorithm>

#include "convert/conversion.h"
#include "convert/gguf_model.h"
#include "convert/gguf_writer.h"
#include "convert/source.h"

namespace mlxn::convert {
namespace {

// Small or sensitive matrices that GGUF files keep in f32.
bool stays_f32(std::string_view canonical) {
  return canonical == "router.proj" || canonical == "per_layer_model_projection";
}

class Planner {
 public:
  Planner(const CheckpointImpl& source, const TypeChooser& types) : types_(types) {
    // GGUF holds what Gemma 3 multiplies by, 1 + w.
    const bool is_gguf = source.kind == CheckpointKind::kGguf;
    norm_offset_ = !is_gguf && source.config.family == ModelFamily::kGemma3 ? 1.0f : 0.0f;
  }

  PlannedTensor plan(const SourceTensor& tensor) const {
    PlannedTensor out;
    out.name = tensor.layer.empty() ? std::string(tensor.row->gguf)
                                    : "blk." + tensor.layer + "." + std::string(tensor.row->gguf);
    out.shape = tensor.stored->shape;
    out.source.stored = tensor.stored;
    out.source.name = tensor.name;
    const std::string_view name = tensor.row->canonical;
    if (tensor.is_matrix()) {
      out.encoding = types_.gguf_matrix(out.name, *tensor.stored, out.cols(), stays_f32(name));
    } else if (name.find("norm") != std::string_view::npos) {
      out.source.offset = norm_offset_;
    }
    out.source.rows_taken = out.source.rows_stored = std::max<int64_t>(1, out.rows());
    check_source(out);
    return out;
  }

 private:
  const TypeChooser& types_;
  float norm_offset_;
};

PlannedTensor divisors(const ModelConfig& model) {
  PlannedTensor out;
  out.name = "rope_freqs.weight";
  out.source.name = out.name;
  out.source.values = rope_freqs(model);
  out.shape = {static_cast<int64_t>(out.source.values.size())};
  return out;
}

void add_metadata(const Conversion& conversion, const std::string& model_name, GgufMetadata& out,
                  std::vector<std::string>& notes) {
  const CheckpointImpl& source = conversion.source;
  if (source.kind == CheckpointKind::kGguf) {
    copy_metadata(*source.gguf, out);
  } else {
    add_model(source.config, model_name, out);
    if (!add_tokenizer(source.path, source.config, out, notes)) {
      notes.push_back("the source has no tokenizer.json: the file has no vocabulary");
    }
  }
  add_file_type(conversion.types.file_level().format, out);
}

}  // namespace

WrittenFiles prepare_gguf(const Conversion& conversion, const std::string& path,
                          const std::string& model_name, std::vector<std::string>& notes) {
  WrittenFiles out;
  const Planner planner(conversion.source, conversion.types);
  if (conversion.source.config.family == ModelFamily::kGemma4) {
    out.tensors.push_back(divisors(conversion.source.config));
  }
  for (const SourceTensor& tensor : decoder_tensors(conversion.source, notes)) {
    out.tensors.push_back(planner.plan(tensor));
  }
  GgufMetadata metadata;
  add_metadata(conversion, model_name, metadata, notes);
  uint64_t file_bytes = 0;
  const std::string header = gguf_header(metadata, out.tensors, file_bytes);
  FileWriter& file = out.files.emplace_back(path);
  file.reserve(file_bytes);
  file.write_at(0, header);
  return out;
}

}  // namespace mlxn::convert
