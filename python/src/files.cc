// SPDX-License-Identifier: Apache-2.0
// Whole files: finding and converting them.
#include "binding.h"

namespace mlxn::python {
namespace {

nb::dict result_dict(const QuantizeResult& result) {
  nb::dict d;
  nb::list tensors;
  for (const QuantizedTensor& tensor : result.tensors) {
    nb::dict t;
    t["name"] = text_of(tensor.name);
    t["type"] = tensor.type;
    t["shape"] = nb::tuple(nb::cast(tensor.shape));
    t["bits_per_weight"] = tensor.bits_per_weight;
    t["relative_rms_error"] = tensor.relative_rms_error;
    t["max_abs_error"] = tensor.max_abs_error;
    tensors.append(t);
  }
  d["tensors"] = tensors;
  d["bytes_in"] = result.bytes_in;
  d["bytes_out"] = result.bytes_out;
  d["bits_per_weight"] = result.bits_per_weight;
  d["notes"] = texts_of(result.notes);
  return d;
}

nb::dict convert(const std::string& input, const std::string& output, const std::string& format,
                 const std::string& type, int bits, int group_size,
                 const std::vector<std::pair<std::string, std::string>>& keep, bool overwrite,
                 bool measure_errors) {
  if (format != "mlx" && format != "gguf") refuse("mlxn.quantize", "format", format, "mlx, gguf");
  QuantizeOptions options;
  options.format = format == "mlx" ? OutputFormat::kMlx : OutputFormat::kGguf;
  options.type = type;
  options.bits = bits;
  options.group_size = group_size;
  options.overwrite = overwrite;
  options.measure_errors = measure_errors;
  for (const auto& [pattern, kept] : keep) options.keep.push_back({pattern, kept});
  bool interrupted = false;  // and Python's error is set
  options.progress = [&interrupted](const QuantizeProgress&) {
    const nb::gil_scoped_acquire gil;
    interrupted = interrupted || PyErr_CheckSignals() != 0;
    return !interrupted;
  };
  QuantizeResult result;
  {
    const nb::gil_scoped_release no_gil;
    result = quantize(input, output, options);
  }
  if (interrupted) throw nb::python_error();
  return result_dict(result);
}

}  // namespace

void bind_files(nb::module_& m) {
  m.def("resolve_model_path", &resolve_model_path, "spec"_a, "hf_cache_dir"_a);
  m.def("quantize", &convert, "input"_a, "output"_a, nb::kw_only(), "format"_a = "mlx",
        "type"_a = "affine", "bits"_a = 4, "group_size"_a = 64,
        "keep"_a = std::vector<std::pair<std::string, std::string>>(), "overwrite"_a = false,
        "measure_errors"_a = false,
        "Writes a float checkpoint as an MLX directory or a GGUF file; keep: (pattern, type) "
        "pairs, the first match wins. Returns what became of each tensor.");
}

}  // namespace mlxn::python
