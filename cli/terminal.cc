// SPDX-License-Identifier: Apache-2.0
#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "output.h"

namespace mlxn::cli {
namespace {

constexpr auto kRedrawInterval = std::chrono::milliseconds(50);

int terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool wants_color(ColorMode mode) {
  if (mode != ColorMode::kAuto) return mode == ColorMode::kOn;
  const char* no_color = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) && (no_color == nullptr || *no_color == '\0') &&
         (kind == nullptr || std::string_view(kind) != "dumb");
}

// Arguments may hold line breaks; an error is one line.
std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return out;
}

}  // namespace

ColorMode parse_color_mode(std::string_view text) {
  if (text == "on") return ColorMode::kOn;
  if (text == "off") return ColorMode::kOff;
  return ColorMode::kAuto;
}

Terminal::Terminal(ColorMode color, bool quiet)
    : color_(wants_color(color)), quiet_(quiet), interactive_(::isatty(STDERR_FILENO) != 0) {}

void Terminal::info(std::string_view text) const {
  if (!quiet_) write_stderr(fmt::format("{}\n", text));
}

void Terminal::error(std::string_view text) const {
  write_stderr(fmt::format("{} {}\n", styled("mlxn:", "1;31"), one_line(text)));
}

std::string Terminal::bold(std::string_view text) const { return styled(text, "1"); }
std::string Terminal::dim(std::string_view text) const { return styled(text, "2"); }

std::string Terminal::styled(std::string_view text, const char* code) const {
  return color_ ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

ProgressBar::ProgressBar(const Terminal& terminal, std::string label)
    : terminal_(terminal), label_(std::move(label)), start_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
  // Leaving early, by an error: the next message starts on a line of its own.
  if (!done_ && terminal_.is_interactive() && !terminal_.quiet()) write_stderr("\n");
}

double ProgressBar::elapsed() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void ProgressBar::draw(double fraction) {
  const int width = std::clamp(terminal_width() - static_cast<int>(label_.size()) - 22, 5, 40);
  const int filled = static_cast<int>(fraction * width);
  const double left = fraction > 0.01 ? elapsed() * (1.0 - fraction) / fraction : 0.0;
  const std::string line =
      fmt::format("{} [{:#<{}}{:.<{}}] {:3.0f}% {:5.1f} s", label_, "", filled, "", width - filled,
                  100.0 * fraction, fraction < 1.0 ? left : elapsed());
  // What a longer line left behind is erased, with spaces where escape sequences are not wanted.
  const size_t behind = std::max(drawn_, line.size()) - line.size();
  const std::string erase = terminal_.has_escapes() ? "\x1b[K" : std::string(behind, ' ');
  write_stderr("\r" + line + erase);
  drawn_ = line.size();
}

void ProgressBar::update(double fraction) {
  if (done_ || terminal_.quiet() || !terminal_.is_interactive()) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_draw_ < kRedrawInterval) return;
  last_draw_ = now;
  draw(std::clamp(fraction, 0.0, 1.0));
}

void ProgressBar::finish() {
  if (std::exchange(done_, true) || terminal_.quiet()) return;
  if (terminal_.is_interactive()) {
    draw(1.0);
    write_stderr("\n");
  } else {
    write_stderr(fmt::format("{} done in {:.2f} s\n", label_, elapsed()));
  }
}

std::string human_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 1000.0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1000.0;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 2, kUnits[unit]);
}

}  // namespace mlxn::cli
