// SPDX-License-Identifier: Apache-2.0
// The extension module. mlxn/*.py gives it the face that people see.
#include "binding.h"

NB_MODULE(_mlxn, m) {
  using namespace mlxn::python;  // NOLINT
  m.doc() = "The C++ library, as it is. Use the package mlxn.";
  nb::set_leak_warnings(false);  // objects in global variables of a program are no leaks
  m.attr("version") = std::string(mlxn::version());
  bind_errors(m);
  bind_device(m);
  bind_array(m);
  bind_weight(m);
  bind_ops(m);
  bind_op_helpers(m);
  bind_cache(m);
  bind_model(m);
  bind_text(m);
  bind_files(m);
}
