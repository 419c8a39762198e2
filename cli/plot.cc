// SPDX-License-Identifier: Apache-2.0
#include "plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mlxn::cli {
namespace {

// Pixels. A panel is a title line, the plot and some room below it.
constexpr double kLeft = 64, kRight = 16, kTop = 40, kColumn = 76, kTitle = 22, kHeight = 96,
                 kBelow = 14, kNames = 26;

constexpr const char* kHead =
    R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
    R"(font-family="sans-serif" font-size="12">
<rect width="{0}" height="{1}" fill="white"/>
)";

std::string escaped(const std::string& text) {
  std::string result;
  for (char c : text) {
    result += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  }
  return result;
}

std::string text_at(double x, double y, const char* anchor, const std::string& text,
                    const char* style = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                     anchor, style, escaped(text));
}

std::string line(double x1, double y1, double x2, double y2, const char* color) {
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x1, y1, x2,
      y2, color);
}

// From values to pixels above the lower edge.
struct Axis {
  double low, high;
  bool log_scale;
  std::vector<double> ticks = {};

  double height(double value) const {
    const double at = log_scale ? std::log10(value) : value;
    return kHeight * (at - low) / (high - low);
  }
};

bool shown(const Panel& panel, size_t i) {
  return std::isfinite(panel.values[i]) && (!panel.log_scale || panel.values[i] > 0.0);
}

// 1, 2 or 5 times a power of ten, so that `range` has two to five of them.
double step_of(double range) {
  const double power = std::pow(10.0, std::floor(std::log10(range / 2.5)));
  for (double factor : {1.0, 2.0, 5.0}) {
    if (range / (factor * power) <= 5.0) return factor * power;
  }
  return 10.0 * power;
}

Axis log_axis(double low, double high) {
  Axis axis{std::floor(std::log10(low)), std::ceil(std::log10(high)), true};
  if (axis.high <= axis.low) axis.high = axis.low + 1.0;
  const double step = std::max(1.0, std::ceil((axis.high - axis.low) / 4.0));
  for (double at = axis.low; at <= axis.high; at += step) axis.ticks.push_back(std::pow(10.0, at));
  return axis;
}

Axis axis_of(const Panel& panel) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (size_t i = 0; i < panel.values.size(); ++i) {
    if (!shown(panel, i)) continue;
    const double error =
        i < panel.errors.size() && std::isfinite(panel.errors[i]) ? panel.errors[i] : 0.0;
    low = std::min(low, panel.values[i] - error);
    high = std::max(high, panel.values[i] + error);
  }
  if (low > high) low = high = panel.log_scale ? 1.0 : 0.0;
  if (panel.log_scale) return log_axis(low, high);
  if (panel.bars) low = std::min(low, 0.0);
  if (high <= low) high = low + 1.0;
  const double step = step_of(high - low);
  Axis axis{std::floor(low / step) * step, std::ceil(high / step) * step, false};
  for (double k = std::round(axis.low / step); k * step <= axis.high + 0.5 * step; ++k) {
    axis.ticks.push_back(k * step);
  }
  return axis;
}

std::string mark(const Panel& panel, const Axis& axis, size_t i, double x, double bottom) {
  constexpr const char* kBlue = "#3569a8";
  const double y = bottom - axis.height(panel.values[i]);
  std::string svg;
  double above = y;
  if (panel.bars) {
    svg += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"28\" height=\"{:.1f}\" fill=\"{}\"/>\n", x - 14.0,
        y, bottom - axis.height(0.0) - y, kBlue);
  } else {
    const double error = i < panel.errors.size() ? panel.errors[i] : 0.0;
    if (std::isfinite(error) && error > 0.0) {
      above = bottom - axis.height(panel.values[i] + error);
      const double below = bottom - axis.height(panel.values[i] - error);
      svg += line(x, above, x, below, kBlue) + line(x - 5, above, x + 5, above, kBlue) +
             line(x - 5, below, x + 5, below, kBlue);
    }
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"/>\n", x, y, kBlue);
  }
  const double room = panel.bars ? 4.0 : 8.0;
  return svg + text_at(x, above - room, "middle", panel.texts[i], " font-size=\"10\"");
}

// The panel whose title begins at `top`.
std::string panel_svg(const Panel& panel, double top, double width) {
  const Axis axis = axis_of(panel);
  const double bottom = top + kTitle + kHeight;
  std::string svg = text_at(kLeft, top + 4.0, "start", panel.title, " font-weight=\"bold\"");
  for (double tick : axis.ticks) {
    const double y = bottom - axis.height(tick);
    svg += line(kLeft, y, width - kRight, y, "#dddddd");
    svg += text_at(kLeft - 6.0, y + 4.0, "end", fmt::format("{:g}", tick), " fill=\"#555555\"");
  }
  for (size_t i = 0; i < panel.values.size(); ++i) {
    const double x = kLeft + (static_cast<double>(i) + 0.5) * kColumn;
    if (shown(panel, i)) svg += mark(panel, axis, i, x, bottom);
  }
  return svg;
}

}  // namespace

std::string plot_svg(const std::string& title, const std::vector<std::string>& names,
                     const std::vector<Panel>& panels) {
  const double width = kLeft + kColumn * static_cast<double>(names.size()) + kRight;
  const double each = kTitle + kHeight + kBelow;
  const double height = kTop + each * static_cast<double>(panels.size()) + kNames;
  std::string svg = fmt::format(kHead, width, height);
  svg += text_at(kLeft, 20.0, "start", title, " font-size=\"14\"");
  for (size_t i = 0; i < panels.size(); ++i) {
    svg += panel_svg(panels[i], kTop + 8.0 + each * static_cast<double>(i), width);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const double x = kLeft + (static_cast<double>(i) + 0.5) * kColumn;
    svg += text_at(x, height - 12.0, "middle", names[i]);
  }
  return svg + "</svg>\n";
}

}  // namespace mlxn::cli
