// SPDX-License-Identifier: Apache-2.0
// Weights made from arrays, and those of a checkpoint.
#include <string>

#include "binding.h"

namespace mlxn::python {
namespace {

constexpr Format kFormats[] = {
    Format::kF32,    Format::kF16,   Format::kBF16,     Format::kAffine,   Format::kQ4_0,
    Format::kQ8_0,   Format::kQ4_K,  Format::kQ6_K,     Format::kQ4_1,     Format::kQ5_0,
    Format::kQ5_1,   Format::kQ2_K,  Format::kQ3_K,     Format::kQ5_K,     Format::kIQ4_NL,
    Format::kIQ4_XS, Format::kMXFP4, Format::kMlxMxfp4, Format::kMlxMxfp8, Format::kMlxNvfp4};

Format parse_format(const std::string& text) {
  std::string names;
  for (const Format format : kFormats) {
    if (name(format) == text) return format;
    names += (names.empty() ? "" : ", ") + std::string(name(format));
  }
  refuse("mlxn.Weight", "format", text, names);
}

// Checks what it is given and, if asked, repacks it for the device.
DeviceWeight make(Weight weight, const Device& device, bool repack) {
  const nb::gil_scoped_release no_gil;
  check_weight(weight, "mlxn.Weight");
  return {repack ? prepare(device, weight) : std::move(weight), device};
}

DeviceWeight dense(nb::handle values, const std::optional<Device>& device, bool repack) {
  const Array data = as_array(values, device, "Weight.dense: values");
  const Format format = data.buffer.dtype() == f32   ? Format::kF32
                        : data.buffer.dtype() == f16 ? Format::kF16
                                                     : Format::kBF16;
  return make({.format = format, .shape = data.buffer.shape(), .data = data.buffer}, data.device,
              repack);
}

DeviceWeight gguf(nb::handle blocks, const std::string& type, const Shape& shape,
                  const std::optional<Device>& device, bool repack) {
  const nb::object bytes = nb::isinstance<nb::bytes>(blocks)
                               ? nb::module_::import_("numpy").attr("frombuffer")(blocks, "uint8")
                               : nb::borrow(blocks);
  const Array data = as_array(bytes, device, "Weight.gguf: data");
  return make({.format = parse_format(type), .shape = shape, .data = data.buffer}, data.device,
              repack);
}

// Codes of `bits` in 32-bit words along K, and what belongs to their groups.
DeviceWeight mlx(const std::string& format, nb::handle codes, nb::handle scales, nb::handle biases,
                 int bits, int group_size, const std::optional<Device>& device, bool repack) {
  const Array data = as_array(codes, device, "Weight: codes");
  const Device& home = data.device;
  Weight weight{.format = parse_format(format),
                .shape = data.buffer.shape(),
                .data = data.buffer,
                .scales = as_array(scales, home, "Weight: scales").buffer,
                .bits = bits,
                .group_size = group_size};
  if (!biases.is_none()) weight.biases = as_array(biases, home, "Weight: biases").buffer;
  if (bits < 2 || bits > 8) refuse("mlxn.Weight", "bits", std::to_string(bits), "2 to 6, or 8");
  if (!weight.shape.empty()) weight.shape.back() = weight.shape.back() * 32 / bits;
  return make(std::move(weight), home, repack);
}

DeviceWeight affine(nb::handle codes, nb::handle scales, nb::handle biases, int bits,
                    int group_size, const std::optional<Device>& device, bool repack) {
  return mlx("affine", codes, scales, biases, bits, group_size, device, repack);
}

DeviceWeight mlx_fp(const std::string& mode, nb::handle codes, nb::handle scales,
                    const std::optional<Device>& device, bool repack) {
  const int bits = mode == "mxfp8" ? 8 : 4, group_size = mode == "nvfp4" ? 16 : 32;
  return mlx("mlx_" + mode, codes, scales, nb::none(), bits, group_size, device, repack);
}

nb::dict tensor_dict(const TensorInfo& info) {
  nb::dict d;
  d["name"] = text_of(info.name);
  d["dtype"] = info.dtype;
  d["format"] = info.format;
  d["shape"] = nb::tuple(nb::cast(info.shape));
  d["nbytes"] = info.byte_len;
  d["file"] = text_of(info.file);
  return d;
}

}  // namespace

void bind_weight(nb::module_& m) {
  nb::class_<DeviceWeight>(m, "Weight",
                           "A matrix [N, K], or a stack of experts [E, N, K], as it is stored. "
                           "prepare=True repacks it for the device: faster, the same bits.")
      .def_static("dense", &dense, "values"_a, nb::kw_only(), "device"_a = nb::none(),
                  "prepare"_a = false, "f32, f16 or bf16 [N, K].")
      .def_static("affine", &affine, "codes"_a, "scales"_a, "biases"_a = nb::none(), nb::kw_only(),
                  "bits"_a = 4, "group_size"_a = 64, "device"_a = nb::none(), "prepare"_a = false,
                  "MLX affine, as mx.quantize returns it: codes u32 [.., N, K * bits / 32], scales "
                  "and biases [.., N, K / group_size].")
      .def_static("mlx", &mlx_fp, "mode"_a, "codes"_a, "scales"_a, nb::kw_only(),
                  "device"_a = nb::none(), "prepare"_a = false,
                  "MLX's modes 'mxfp4', 'mxfp8' and 'nvfp4': codes u32, scales u8.")
      .def_static("gguf", &gguf, "data"_a, "type"_a, "shape"_a, nb::kw_only(),
                  "device"_a = nb::none(), "prepare"_a = false,
                  "GGUF blocks: bytes or a u8 array of a type such as 'q4_0' or 'q6_k', and the "
                  "logical shape.")
      .def_prop_ro("format",
                   [](const DeviceWeight& w) { return std::string(name(w.weight.format)); })
      .def_prop_ro("shape",
                   [](const DeviceWeight& w) { return nb::tuple(nb::cast(w.weight.shape)); })
      .def_prop_ro("bits", [](const DeviceWeight& w) { return w.weight.bits; })
      .def_prop_ro("group_size", [](const DeviceWeight& w) { return w.weight.group_size; })
      .def_prop_ro(
          "nbytes", [](const DeviceWeight& w) { return stored_bytes(w.weight); },
          "Bytes as stored: codes, scales and biases.")
      .def_prop_ro("is_prepared", [](const DeviceWeight& w) { return w.weight.packed.valid(); })
      .def_prop_ro("device", [](const DeviceWeight& w) { return w.device; })
      .def(
          "prepare", [](const DeviceWeight& w) { return make(w.weight, w.device, true); },
          "Repacked for the device where that pays; the same bits come out of every op.");
  nb::class_<Checkpoint>(m, "Checkpoint", "A model's files, opened and validated.")
      .def_static(
          "open",
          [](const std::string& path) {
            const nb::gil_scoped_release no_gil;
            return Checkpoint::open(path);
          },
          "path"_a, "A directory in MLX or Hugging Face layout, or a .gguf file.")
      .def_prop_ro("kind", [](const Checkpoint& c) { return std::string(name(c.kind())); })
      .def_prop_ro("path", [](const Checkpoint& c) { return text_of(c.path()); })
      .def_prop_ro("config", &Checkpoint::config)
      .def_prop_ro("total_bytes", &Checkpoint::total_bytes)
      .def_prop_ro("warnings", [](const Checkpoint& c) { return texts_of(c.warnings()); })
      .def(
          "tensors",
          [](const Checkpoint& c) {
            nb::list all;
            for (const TensorInfo& info : c.tensors()) all.append(tensor_dict(info));
            return all;
          },
          "Every tensor in the files, as dicts.")
      .def("has", &Checkpoint::has, "name"_a, "Whether weight() and tensor() know this name.")
      .def(
          "weight",
          [](const Checkpoint& c, const Device& d, const std::string& name, const Shape& shape) {
            const nb::gil_scoped_release no_gil;
            return DeviceWeight{c.weight(d, name, shape), d};
          },
          "device"_a, "name"_a, "shape"_a,
          "A matrix [N, K] by its transformers name, such as 'layers.0.self_attn.q_proj'.")
      .def(
          "tensor",
          [](const Checkpoint& c, const Device& d, const std::string& name, const Shape& shape) {
            const nb::gil_scoped_release no_gil;
            return Array{c.tensor(d, name, shape), d};
          },
          "device"_a, "name"_a, "shape"_a, "A vector or another float tensor, likewise.");
}

}  // namespace mlxn::python
