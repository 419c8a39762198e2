// SPDX-License-Identifier: Apache-2.0
// Ops take one aggregate of named fields. An op is bound by naming them in the order of their
// declaration.
#pragma once

#include <algorithm>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "binding.h"

namespace mlxn::python {

// Names of enumerators in Python, in the order of their values.
template <typename Enum>
struct EnumNames;

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
    for (size_t i = 0; i < std::size(EnumNames<T>::kNames); ++i) {
      if (text == EnumNames<T>::kNames[i]) return static_cast<T>(i);
      all += (i > 0 ? ", " : "") + std::string(EnumNames<T>::kNames[i]);
    }
    refuse("mlxn", EnumNames<T>::kParameter, text, all);
  } else {
    return nb::cast<T>(value);
  }
}

// References to the N members of an aggregate, in the order of their declaration.
template <size_t N, typename Aggregate>
auto members(Aggregate& aggregate) {
  if constexpr (N == 2) {
    auto& [a, b] = aggregate;
    return std::tie(a, b);
  }
  if constexpr (N == 3) {
    auto& [a, b, c] = aggregate;
    return std::tie(a, b, c);
  }
  if constexpr (N == 4) {
    auto& [a, b, c, d] = aggregate;
    return std::tie(a, b, c, d);
  }
  if constexpr (N == 5) {
    auto& [a, b, c, d, e] = aggregate;
    return std::tie(a, b, c, d, e);
  }
  if constexpr (N == 6) {
    auto& [a, b, c, d, e, f] = aggregate;
    return std::tie(a, b, c, d, e, f);
  }
  if constexpr (N == 7) {
    auto& [a, b, c, d, e, f, g] = aggregate;
    return std::tie(a, b, c, d, e, f, g);
  }
  if constexpr (N == 8) {
    auto& [a, b, c, d, e, f, g, h] = aggregate;
    return std::tie(a, b, c, d, e, f, g, h);
  }
  if constexpr (N == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = aggregate;
    return std::tie(a, b, c, d, e, f, g, h, i);
  }
  if constexpr (N == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = aggregate;
    return std::tie(a, b, c, d, e, f, g, h, i, j);
  }
  if constexpr (N == 16) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = aggregate;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
  }
  if constexpr (N == 17) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q] = aggregate;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q);
  }
  if constexpr (N == 21) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u] = aggregate;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u);
  }
  if constexpr (N == 25) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y] = aggregate;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y);
  }
}

// Calls visit(index, member) for each member.
template <size_t N, typename Aggregate, typename Visit>
void for_each_member(Aggregate& aggregate, Visit&& visit) {
  size_t i = 0;
  std::apply([&](auto&... member) { (visit(i++, member), ...); }, members<N>(aggregate));
}

// m.<name>(stream, **fields) records the op; m.FIELDS[name] tells the kind of each field. `fields`
// names all members of Args in their order.
template <size_t N, typename Args>
void bind_op(nb::module_& m, const char* name, void (*op)(Stream&, const Args&),
             const char* const (&fields)[N]) {
  Args none;
  nb::dict kinds;
  for_each_member<N>(none, [&](size_t i, auto& member) {
    kinds[fields[i]] = kind_of<std::remove_reference_t<decltype(member)>>();
  });
  m.attr("FIELDS")[name] = kinds;
  const std::vector<std::string> names(std::begin(fields), std::end(fields));
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
