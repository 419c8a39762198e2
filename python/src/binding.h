// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share. Objects that Python holds carry their device, so that an op
// finds the stream to run on.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <mutex>
#include <string>
#include <utility>

#include "mlxn/mlxn.h"

namespace mlxn::python {

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT

struct Array {
  Buffer buffer;
  Device device;
};

struct DeviceWeight {
  Weight weight;
  Device device;
};

struct DeviceRows {
  ops::TqRows rows;
  Device device;
};

// An object that several threads may use in turn. The GIL is let go before the lock is taken, never
// the other way round: what the work frees may need the GIL.
template <typename T>
struct Shared {
  explicit Shared(T object) : value(std::move(object)) {}
  template <typename Work>
  auto use(Work&& work) {
    const nb::gil_scoped_release no_gil;
    const std::lock_guard<std::mutex> lock(mutex);
    return work(value);
  }
  T value;
  std::mutex mutex;
};

// A method whose result is not wanted.
template <auto Method, typename T>
void call(Shared<T>& object) {
  object.use([](T& value) { (value.*Method)(); });
}

using SharedStream = Shared<Stream>;
using SharedModel = Shared<Model>;

// "f32", "float32"; throws kInvalidArgument.
DType parse_dtype(std::string_view text);
KvType parse_kv(std::string_view text);
[[noreturn]] void refuse(std::string where, std::string parameter, std::string found,
                         std::string required);
std::string text_of(std::string_view text);
nb::list texts_of(const std::vector<std::string>& texts);
// What mlxn.arrays.array makes of an argument.
Array as_array(nb::handle object, const std::optional<Device>& device, const char* what);
// Records on the stream that is given, or runs on this thread's stream of the device, which for a
// tensor of CUDA is the one that its owner works on.
template <typename Work>
void record(const Device& device, SharedStream* given, nb::handle tensor, Work&& work) {
  if (given != nullptr) return given->use(work);
  const nb::module_ arrays = nb::module_::import_("mlxn.arrays");
  const nb::object stream = arrays.attr("stream_for")(device, arrays.attr("native_stream")(tensor));
  nb::cast<SharedStream&>(stream).use([&](Stream& s) {
    try {
      work(s);
      s.commit().wait();
    } catch (...) {
      s.discard();
      throw;
    }
  });
}
// For signatures.
inline bool is_object(PyObject*) { return true; }
struct NumPyArray : nb::object {
  NB_OBJECT(NumPyArray, nb::object, "numpy.ndarray", is_object)
};
// The values, moved.
NumPyArray numpy_floats(std::vector<float> values, const std::vector<size_t>& shape);

void bind_errors(nb::module_& m);
void bind_device(nb::module_& m);
void bind_array(nb::module_& m);
void bind_weight(nb::module_& m);
void bind_ops(nb::module_& m);
void bind_op_helpers(nb::module_& m);
void bind_cache(nb::module_& m);
void bind_model(nb::module_& m);
void bind_text(nb::module_& m);
void bind_files(nb::module_& m);

}  // namespace mlxn::python
