// SPDX-License-Identifier: Apache-2.0
// mlxn::Error as the exceptions of mlxn/errors.py, with the same text.
#include "binding.h"

namespace mlxn::python {

void refuse(std::string where, std::string parameter, std::string found, std::string required) {
  throw Error(ErrorKind::kInvalidArgument, ErrorDetail{std::move(where), std::move(parameter),
                                                       std::move(found), std::move(required)});
}

// What comes from files may be no UTF-8, which Python's text must be.
std::string text_of(std::string_view text) {
  const auto decoded =
      nb::steal(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
  return nb::cast<std::string>(decoded);
}

nb::list texts_of(const std::vector<std::string>& texts) {
  nb::list all;
  for (const std::string& text : texts) all.append(text_of(text));
  return all;
}

DType parse_dtype(std::string_view text) {
  constexpr std::pair<std::string_view, DType> kNames[] = {
      {"float32", f32}, {"float16", f16}, {"bfloat16", bf16}, {"uint8", u8},
      {"uint16", u16},  {"uint32", u32},  {"int32", i32}};
  for (const auto& [long_name, dtype] : kNames) {
    if (text == long_name || text == name(dtype)) return dtype;
  }
  refuse("mlxn", "dtype", std::string(text), "f32, f16, bf16, u8, u16, u32 or i32");
}

KvType parse_kv(std::string_view text) {
  if (const std::optional<KvType> type = parse_kv_type(text)) return *type;
  refuse("mlxn", "kv_type", std::string(text), "f32, f16, bf16, tq2, tq3, tq4, tq5, tq6 or tq8");
}

void bind_errors(nb::module_&) {
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const Error& error) {
      const nb::object classes = nb::module_::import_("mlxn.errors").attr("KINDS");
      const nb::object type = classes[static_cast<size_t>(error.kind())];
      const nb::object object = type(text_of(error.what()));
      const ErrorDetail& detail = error.detail();
      object.attr("kind") = text_of(name(error.kind()));
      object.attr("where") = text_of(detail.where);
      object.attr("parameter") = text_of(detail.parameter);
      object.attr("found") = text_of(detail.found);
      object.attr("required") = text_of(detail.required);
      object.attr("is_transient") = error.is_transient();
      PyErr_SetObject(type.ptr(), object.ptr());
    }
  });
}

}  // namespace mlxn::python
