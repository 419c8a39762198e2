// SPDX-License-Identifier: Apache-2.0
// Ops take one aggregate of named fields. An op is bound by naming them in the order of their
// declaration.
#pragma once

#include <algorithm>
#include <iterator>
#include <sstream>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "binding.h"

namespace mlxn::python {

// Names of enumerators in Python, in the order of their values.
struct EnumNames {
  const char* parameter;
  std::vector<std::string> names;
};
template <typename Enum>
extern const EnumNames kEnumNames;

// What Python must make of an argument before it comes here.
template <typename T>
constexpr const char* kind_of() {
  if constexpr (std::is_same_v<T, Buffer>) return "array";
  if constexpr (std::is_same_v<T, Weight>) return "weight";
  if constexpr (std::is_same_v<T, Lengths>) return "lengths";
  if constexpr (std::is_same_v<T, ops::TqRows>) return "rows";
  if constexpr (std::is_same_v<T, ops::AttnMaskTiles>) return "tiles";
  return "value";
}

template <typename T>
T from_python(nb::handle value) {
  if constexpr (std::is_same_v<T, Buffer>) {
    return nb::cast<const Array&>(value).buffer;
  } else if constexpr (std::is_same_v<T, Weight>) {
    return nb::cast<const DeviceWeight&>(value).weight;
  } else if constexpr (std::is_same_v<T, ops::TqRows>) {
    return nb::cast<const DeviceRows&>(value).rows;
  } else if constexpr (std::is_same_v<T, Lengths>) {
    if (nb::isinstance<Array>(value)) return nb::cast<const Array&>(value).buffer;
    if (nb::isinstance<nb::int_>(value)) return nb::cast<int64_t>(value);
    return nb::cast<std::vector<int64_t>>(value);
  } else if constexpr (std::is_same_v<T, ops::AttnMaskTiles>) {
    const auto tuple = nb::cast<nb::tuple>(value);
    return {nb::cast<const Array&>(tuple[0]).buffer, nb::cast<int64_t>(tuple[1]),
            nb::cast<int64_t>(tuple[2])};
  } else if constexpr (std::is_enum_v<T>) {
    const auto text = nb::cast<std::string>(value);
    std::string all;
    const auto& [parameter, names] = kEnumNames<T>;
    for (size_t i = 0; i < names.size(); ++i) {
      if (text == names[i]) return static_cast<T>(i);
      all += (i > 0 ? ", " : "") + names[i];
    }
    refuse("mlxn", parameter, text, all);
  } else {
    return nb::cast<T>(value);
  }
}

#define MLXN_MEMBERS(count, ...)     \
  if constexpr (N == (count)) {      \
    auto& [__VA_ARGS__] = aggregate; \
    return std::tie(__VA_ARGS__);    \
  }
// References to the N members of an aggregate, in the order of their declaration.
template <size_t N, typename Aggregate>
auto members(Aggregate& aggregate) {
  MLXN_MEMBERS(2, a, b)
  MLXN_MEMBERS(3, a, b, c)
  MLXN_MEMBERS(4, a, b, c, d)
  MLXN_MEMBERS(5, a, b, c, d, e)
  MLXN_MEMBERS(6, a, b, c, d, e, f)
  MLXN_MEMBERS(7, a, b, c, d, e, f, g)
  MLXN_MEMBERS(8, a, b, c, d, e, f, g, h)
  MLXN_MEMBERS(9, a, b, c, d, e, f, g, h, i)
  MLXN_MEMBERS(10, a, b, c, d, e, f, g, h, i, j)
  MLXN_MEMBERS(16, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
  MLXN_MEMBERS(17, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q)
  MLXN_MEMBERS(21, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u)
  MLXN_MEMBERS(25, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y)
}
#undef MLXN_MEMBERS

// Calls visit(index, member) for each member.
template <size_t N, typename Aggregate, typename Visit>
void for_each_member(Aggregate& aggregate, Visit&& visit) {
  size_t i = 0;
  std::apply([&](auto&... member) { (visit(i++, member), ...); }, members<N>(aggregate));
}

// m.<name>(stream, **fields) records the op; m.FIELDS[name] tells the kind of each field. `fields`
// names the N members of Args in their order.
template <size_t N, typename Args>
void bind_op(nb::module_& m, const char* name, void (*op)(Stream&, const Args&),
             const char* fields) {
  std::istringstream words(fields);
  const std::vector<std::string> names(std::istream_iterator<std::string>(words), {});
  Args none;
  nb::dict kinds;
  for_each_member<N>(none, [&](size_t i, auto& member) {
    kinds[names.at(i).c_str()] = kind_of<std::remove_reference_t<decltype(member)>>();
  });
  m.attr("FIELDS")[name] = kinds;
  m.def(name, [name, op, names](SharedStream& stream, nb::kwargs given) {
    Args args;
    for (const auto& [key, value] : given) {
      const auto field = nb::cast<std::string>(key);
      const size_t at = std::find(names.begin(), names.end(), field) - names.begin();
      const std::string where = std::string(name) + ": " + field;
      if (at == N) throw nb::type_error((where + ": no such parameter").c_str());
      if (value.is_none()) continue;
      try {
        for_each_member<N>(args, [&, v = value](size_t i, auto& member) {
          if (i == at) member = from_python<std::remove_reference_t<decltype(member)>>(v);
        });
      } catch (const nb::cast_error&) {
        const auto type = nb::cast<std::string>(nb::str(nb::handle(value.type())));
        throw nb::type_error((where + ": found " + type).c_str());
      }
    }
    stream.use([&](Stream& s) { op(s, args); });
  });
}

}  // namespace mlxn::python
