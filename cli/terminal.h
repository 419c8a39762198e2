// SPDX-License-Identifier: Apache-2.0
// What the command prints besides text: messages, colour and the progress bar, all on stderr.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace mlxn::cli {

enum class ColorMode { kAuto, kOn, kOff };

// "auto", "on", "off".
ColorMode parse_color_mode(std::string_view text);

class Terminal {
 public:
  // auto: colour if stderr is a terminal, TERM is not dumb and NO_COLOR is not set.
  Terminal(ColorMode color, bool quiet);

  bool quiet() const { return quiet_; }
  bool is_interactive() const { return interactive_; }
  bool has_escapes() const { return color_; }  // escape sequences may be written

  void info(std::string_view text) const;   // a line, unless quiet
  void error(std::string_view text) const;  // "mlxn: text", in red
  std::string bold(std::string_view text) const;
  std::string dim(std::string_view text) const;

 private:
  std::string styled(std::string_view text, const char* code) const;

  bool color_;
  bool quiet_;
  bool interactive_;
};

// A bar that redraws itself at most 20 times a second on a terminal. Elsewhere it prints one line
// at the end. Nothing when quiet.
class ProgressBar {
 public:
  ProgressBar(const Terminal& terminal, std::string label);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(double fraction);  // 0 to 1
  void finish();

 private:
  double elapsed() const;
  void draw(double fraction);

  const Terminal& terminal_;
  std::string label_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
  size_t drawn_ = 0;  // characters of the line on the screen
  bool done_ = false;
};

// "11.3 MB", "1.25 GB": powers of ten.
std::string human_bytes(double bytes);

}  // namespace mlxn::cli
