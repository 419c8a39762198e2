// SPDX-License-Identifier: Apache-2.0
// Small figures as SVG: panels above each other over one row of names.
#pragma once

#include <string>
#include <vector>

namespace mlxn::cli {

struct Panel {
  std::string title;
  std::vector<double> values;       // one per name; what is not finite is left out
  std::vector<std::string> texts;   // what is written at each value
  std::vector<double> errors = {};  // half the length of an error bar
  bool bars = false;                // from zero on, else dots
  bool log_scale = false;           // of base 10; values of 0 and less are left out
};

std::string plot_svg(const std::string& title, const std::vector<std::string>& names,
                     const std::vector<Panel>& panels);

}  // namespace mlxn::cli
