// SPDX-License-Identifier: Apache-2.0
// Arrays in and out. NumPy and DLPack memory is used where it lies if rows are contiguous and
// elements aligned; other host memory is copied.
#include <cstring>
#include <memory>

#include "binding.h"

namespace mlxn::python {
namespace {

using AnyArray = nb::ndarray<>;
using ReadOnlyArray = nb::ndarray<nb::ro>;

std::string spell(nb::dlpack::dtype dtype) {
  constexpr const char* kCodes[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  const std::string code =
      dtype.code < std::size(kCodes) ? kCodes[dtype.code] : "code " + std::to_string(dtype.code);
  return code + std::to_string(dtype.bits);
}

DType dtype_of(const std::string& what, nb::dlpack::dtype dtype) {
  using Code = nb::dlpack::dtype_code;
  const auto is = [dtype](Code code, int bits) {
    return dtype == nb::dlpack::dtype{static_cast<uint8_t>(code), static_cast<uint8_t>(bits), 1};
  };
  if (is(Code::Float, 32)) return f32;
  if (is(Code::Float, 16)) return f16;
  if (is(Code::Bfloat, 16)) return bf16;
  if (is(Code::UInt, 8) || is(Code::Bool, 8)) return u8;
  if (is(Code::UInt, 16)) return u16;
  if (is(Code::UInt, 32)) return u32;
  if (is(Code::Int, 32)) return i32;
  refuse("mlxn.array", what, spell(dtype),
         "float32, float16, bfloat16, uint8, uint16, uint32, int32 or bool");
}

nb::dlpack::dtype dlpack_dtype(DType dtype) {
  using Code = nb::dlpack::dtype_code;
  const Code code = dtype == bf16     ? Code::Bfloat
                    : is_float(dtype) ? Code::Float
                    : dtype == i32    ? Code::Int
                                      : Code::UInt;
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(8 * size_of(dtype)), 1};
}

bool is_contiguous(const ReadOnlyArray& array) {
  int64_t expected = 1;
  for (size_t i = array.ndim(); i-- > 0;) {
    if (array.shape(i) != 1 && array.stride(i) != expected) return false;
    expected *= static_cast<int64_t>(array.shape(i));
  }
  return true;
}

// Rows of `axis` and below, in order, to `to`.
std::byte* gather(const ReadOnlyArray& array, size_t axis, const std::byte* from, size_t size,
                  std::byte* to) {
  if (axis == array.ndim()) {
    std::memcpy(to, from, size);
    return to + size;
  }
  const int64_t step = array.stride(axis) * static_cast<int64_t>(size);
  for (size_t i = 0; i < array.shape(axis); ++i) {
    to = gather(array, axis + 1, from + step * static_cast<int64_t>(i), size, to);
  }
  return to;
}

// Keeps the array; may be let go on any thread.
std::shared_ptr<void> keep(ReadOnlyArray array) {
  return {new ReadOnlyArray(std::move(array)), [](void* p) {
            const nb::gil_scoped_acquire gil;
            delete static_cast<ReadOnlyArray*>(p);
          }};
}

Array import_array(const Device& device, nb::handle object, const std::string& what, bool writable,
                   std::optional<std::string> as) {
  ReadOnlyArray array;
  AnyArray open;
  if (!(writable ? nb::try_cast(object, open, false) : nb::try_cast(object, array, false))) {
    refuse("mlxn.array", what, nb::cast<std::string>(nb::str(nb::handle(object.type()))),
           writable ? "an array that may be written to" : "an array");
  }
  if (writable) array = ReadOnlyArray(open);
  const DType dtype = as ? parse_dtype(*as) : dtype_of(what, array.dtype());
  Shape shape;
  for (size_t i = 0; i < array.ndim(); ++i) shape.push_back(static_cast<int64_t>(array.shape(i)));
  const size_t bytes = array.nbytes();
  const bool plain =
      is_contiguous(array) && reinterpret_cast<uintptr_t>(array.data()) % size_of(dtype) == 0;
  const int where = array.device_type();
  const bool on_host = where == nb::device::cpu::value || where == nb::device::cuda_host::value;
  if (!on_host) {
    const bool is_cuda =
        where == nb::device::cuda::value || where == nb::device::cuda_managed::value;
    const bool fits = is_cuda ? device.kind() == DeviceKind::kCuda
                              : where == nb::device::metal::value && device.host_visible();
    if (!fits) {
      refuse("mlxn.array", what, "memory of DLPack device type " + std::to_string(where),
             "memory of " + std::string(name(device.kind())) + " or of the host");
    }
    if (!plain) refuse("mlxn.array", what, "a tensor with gaps", "a contiguous tensor");
    void* const data = const_cast<void*>(array.data());
    return {device.adopt(data, bytes, dtype, shape, keep(std::move(array))), device};
  }
  if (writable) {
    if (!plain || !device.host_visible()) {
      refuse("mlxn.array", what, plain ? "memory of the host" : "an array with gaps",
             plain ? "memory of the device" : "a contiguous, aligned array");
    }
    return {device.adopt(open.data(), bytes, dtype, shape, keep(std::move(array))), device};
  }
  if (plain) {
    const void* const data = array.data();
    const nb::gil_scoped_release no_gil;
    return {device.wrap(data, bytes, dtype, shape, keep(std::move(array))), device};
  }
  std::vector<std::byte> values(bytes);
  gather(array, 0, static_cast<const std::byte*>(array.data()), size_of(dtype), values.data());
  return {device.upload(values.data(), dtype, shape), device};
}

// Before the host reads what a GPU may still be busy with.
void settle(const Array& a) {
  if (!a.buffer.host_visible()) nb::module_::import_("mlxn.arrays").attr("settle")(a.device);
}

Array copy_of(const Array& a) {
  settle(a);
  const nb::gil_scoped_release no_gil;
  std::vector<std::byte> values(a.buffer.byte_len());
  a.device.download(a.buffer, values.data());
  return {a.device.upload(values.data(), a.buffer.dtype(), a.buffer.shape()), a.device};
}

bool overlaps(const Array& a, const Array& b) {
  const std::byte *pa = a.buffer.data(), *pb = b.buffer.data();
  return pa < pb + b.buffer.byte_len() && pb < pa + a.buffer.byte_len();
}

// What NumPy or a DLPack consumer is given; `as` replaces the dtype by one of the same size.
template <typename... Kind>
nb::object view(const Array& a, nb::dlpack::dtype dtype, int device_type, int device_id) {
  const Shape& extents = a.buffer.shape();
  const std::vector<size_t> shape(extents.begin(), extents.end());
  nb::object owner = nb::cast(new Array(a), nb::rv_policy::take_ownership);
  if (!a.buffer.host_visible()) owner = nb::module_::import_("mlxn.arrays").attr("Lent")(owner);
  return nb::cast(nb::ndarray<Kind...>(a.buffer.data(), shape.size(), shape.data(), owner, nullptr,
                                       dtype, device_type, device_id),
                  nb::rv_policy::reference);
}

Array on_host(const Array& a) {
  if (a.buffer.host_visible()) return a;
  settle(a);
  const nb::gil_scoped_release no_gil;
  const Device cpu = Device::open("cpu", {.num_threads = 1});
  const Buffer values = cpu.alloc(a.buffer.dtype(), a.buffer.shape());
  a.device.download(a.buffer, values.data());
  return {values, cpu};
}

// The memory itself where the host can touch it. NumPy has bf16 from ml_dtypes.
NumPyArray to_numpy(const Array& source) {
  const Array a = on_host(source);
  const bool is_bf16 = a.buffer.dtype() == bf16;
  const nb::dlpack::dtype dtype = dlpack_dtype(is_bf16 ? u16 : a.buffer.dtype());
  const int host = nb::device::cpu::value;
  const nb::object array = a.buffer.allocation()->writable
                               ? view<nb::numpy>(a, dtype, host, 0)
                               : view<nb::numpy, nb::ro>(a, dtype, host, 0);
  if (!is_bf16) return nb::borrow<NumPyArray>(array);
  return nb::borrow<NumPyArray>(
      array.attr("view")(nb::module_::import_("ml_dtypes").attr("bfloat16")));
}

// NumPy's protocol.
nb::object as_numpy(const Array& a, nb::object dtype, std::optional<bool> copy) {
  const nb::object array = to_numpy(a);
  if (!dtype.is_none() && !array.attr("dtype").equal(dtype)) {
    if (copy == false) throw nb::value_error("copy=False: another dtype needs a copy");
    return array.attr("astype")(dtype);
  }
  return copy == true ? array.attr("copy")() : array;
}

nb::tuple dlpack_device(const Array& a) {
  return a.buffer.host_visible() ? nb::make_tuple(nb::device::cpu::value, 0)
                                 : nb::make_tuple(nb::device::cuda::value, a.device.index());
}

nb::object to_dlpack(const Array& a, nb::kwargs options) {
  const nb::tuple device = dlpack_device(a);
  const int type = nb::cast<int>(device[0]), index = nb::cast<int>(device[1]);
  const nb::dlpack::dtype dtype = dlpack_dtype(a.buffer.dtype());
  const nb::object source = a.buffer.allocation()->writable
                                ? view<nb::array_api>(a, dtype, type, index)
                                : view<nb::array_api, nb::ro>(a, dtype, type, index);
  return source.attr("__dlpack__")(**options);
}

}  // namespace

Array as_array(nb::handle object, const std::optional<Device>& device, const char* what) {
  const nb::object made =
      nb::module_::import_("mlxn.arrays").attr("array")(object, device, "what"_a = what);
  return nb::cast<Array>(made);
}

NumPyArray numpy_floats(std::vector<float> values, const std::vector<size_t>& shape) {
  auto* const held = new std::vector<float>(std::move(values));
  const nb::capsule owner(held,
                          [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
  return nb::borrow<NumPyArray>(
      nb::cast(nb::ndarray<nb::numpy, float>(held->data(), shape.size(), shape.data(), owner),
               nb::rv_policy::reference));
}

void bind_array(nb::module_& m) {
  m.def("import_array", &import_array, "device"_a, "object"_a, "what"_a = "array",
        "writable"_a = false, "dtype"_a = nb::none());
  nb::class_<Array>(m, "Buffer",
                    "Device memory with a dtype ('f32', 'f16', 'bf16', 'u8', 'u16', 'u32', 'i32') "
                    "and a shape; slices are views.")
      .def_static(
          "alloc",
          [](const Device& d, const Shape& shape, const std::string& dtype) {
            const nb::gil_scoped_release no_gil;
            return Array{d.alloc(parse_dtype(dtype), shape), d};
          },
          "device"_a, "shape"_a, "dtype"_a = "f32", "Zero-filled.")
      .def_prop_ro("shape",
                   [](const Array& a) {
                     nb::list extents;
                     for (const int64_t extent : a.buffer.shape()) extents.append(extent);
                     return nb::tuple(extents);
                   })
      .def_prop_ro("dtype", [](const Array& a) { return std::string(name(a.buffer.dtype())); })
      .def_prop_ro("nbytes", [](const Array& a) { return a.buffer.byte_len(); })
      .def_prop_ro("device", [](const Array& a) { return a.device; })
      .def_prop_ro("address",
                   [](const Array& a) { return reinterpret_cast<uintptr_t>(a.buffer.data()); })
      .def_prop_ro("writable", [](const Array& a) { return a.buffer.allocation()->writable; })
      .def(
          "rows",
          [](const Array& a, int64_t begin, int64_t count) {
            return Array{a.buffer.rows(begin, count), a.device};
          },
          "begin"_a, "count"_a, "Rows of the outermost extent, as a view.")
      .def(
          "reshape",
          [](const Array& a, Shape s) {
            return Array{a.buffer.reshape(std::move(s)), a.device};
          },
          "shape"_a, "The same elements, as a view.")
      .def(
          "view_as",
          [](const Array& a, const std::string& dtype, Shape shape) {
            return Array{a.buffer.view_as(parse_dtype(dtype), std::move(shape)), a.device};
          },
          "dtype"_a, "shape"_a, "The same bytes as another dtype and shape.")
      .def_prop_ro("ndim", [](const Array& a) { return a.buffer.rank(); })
      .def("__len__", [](const Array& a) { return a.buffer.rank() == 0 ? 0 : a.buffer.dim(0); })
      .def(
          "__getitem__", [](const Array& a, nb::object i) -> nb::object { return to_numpy(a)[i]; },
          "As NumPy's: a view of memory that the host can touch.")
      .def("__setitem__",
           [](const Array& a, nb::object i, nb::object value) { to_numpy(a)[i] = value; })
      .def(
          "tolist", [](const Array& a) { return to_numpy(a).attr("tolist")(); },
          "Nested lists of Python numbers.")
      .def("__repr__",
           [](const Array& a) {
             return "<mlxn.Buffer " + std::string(name(a.buffer.dtype())) +
                    to_string(a.buffer.shape()) + " on " + std::string(name(a.device.kind())) + ">";
           })
      .def("copy", &copy_of, "Memory of its own on the same device.")
      .def("overlaps", &overlaps, "other"_a, "Whether both have a byte in common.")
      .def("numpy", &to_numpy, "The memory itself where the host can touch it, else a copy.")
      .def("__array__", &as_numpy, "dtype"_a = nb::none(), "copy"_a = nb::none())
      .def("__dlpack__", &to_dlpack)
      .def("__dlpack_device__", &dlpack_device);
}

}  // namespace mlxn::python
