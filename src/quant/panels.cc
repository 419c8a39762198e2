// SPDX-License-Identifier: Apache-2.0
#include "quant/panels.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "mlxn/error.h"
#include "quant/registry.h"

namespace mlxn::quant {

namespace {

constexpr int kRows = PanelLayout::kRows;
constexpr int64_t kLine = 64;

// [count][16] values of kSize bytes out of 16 rows that lie row by row.
template <int kSize>
void interleave(const std::byte* const* rows, int64_t stride, int64_t count, std::byte* out) {
  for (int64_t i = 0; i < count; ++i, out += kRows * kSize) {
    for (int r = 0; r < kRows; ++r) std::memcpy(out + r * kSize, rows[r] + i * stride, kSize);
  }
}

void interleave(int size, const std::byte* const* rows, int64_t stride, int64_t count,
                std::byte* out) {
  if (size == 1) return interleave<1>(rows, stride, count, out);
  if (size == 2) return interleave<2>(rows, stride, count, out);
  interleave<4>(rows, stride, count, out);
}

struct Rows {
  const std::byte* at[kRows];
  Rows moved(int64_t bytes) const {
    Rows out;
    for (int r = 0; r < kRows; ++r) out.at[r] = at[r] + bytes;
    return out;
  }
};

template <typename Fn>
Rows rows_of(int64_t first, int64_t rows, Fn address) {
  Rows out;
  for (int r = 0; r < kRows; ++r) out.at[r] = address(std::min(first + r, rows - 1));
  return out;
}

}  // namespace

bool has_panels(Format format) { return format > Format::kBF16; }

int64_t PanelLayout::head_bytes(int64_t elements) const {
  int64_t bytes = elements / block_elements * side_size;
  if (group_size > 0) bytes += elements / group_size * scale_size * (has_biases ? 2 : 1);
  return base::round_up(bytes * kRows, kLine);
}

int64_t PanelLayout::full_span_bytes() const {
  return head_bytes(kSpanElements) + int64_t{kSpanElements} / block_elements * words * 4 * kRows;
}

PanelLayout panel_layout(const WeightView& view) {
  if (!has_panels(view.format)) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"panel_layout", "format", std::string(mlxn::name(view.format)),
                            "a format of codes and scales"});
  }
  PanelLayout layout;
  layout.cols = view.cols;
  if (view.scales != nullptr) {
    layout.block_elements = 32;
    layout.words = view.bits;
    layout.group_size = view.group_size;
    layout.scale_size = static_cast<int>(size_of(view.scale_dtype));
    layout.has_biases = view.biases != nullptr;
  } else {
    // What does not fill 32-bit words leads a block of 32 elements and ends one of 256.
    const FormatTraits& traits = traits_of(view.format);
    layout.block_elements = traits.block_elements;
    layout.words = traits.block_bytes / 4;
    layout.side_size = traits.block_bytes % 4;
    const bool leads = traits.block_elements == 32;
    layout.words_at = leads ? layout.side_size : 0;
    layout.side_at = leads ? 0 : layout.words * 4;
    if (view.format == Format::kQ6_K) layout.lead_words = PanelLayout::kQ6_KLeadWords;
  }
  const int64_t rest = view.cols % PanelLayout::kSpanElements;
  const int64_t rest_bytes =
      rest == 0 ? 0
                : layout.head_bytes(rest) + rest / layout.block_elements * layout.words * 4 * kRows;
  layout.panels = base::ceil_div(view.rows, int64_t{kRows});
  const int64_t spans[] = {view.cols / PanelLayout::kSpanElements, layout.full_span_bytes()};
  const auto span_bytes = base::checked_product(spans);
  const auto panel_bytes = span_bytes ? base::checked_add(*span_bytes, rest_bytes) : std::nullopt;
  const int64_t extents[] = {view.num_experts, layout.panels, panel_bytes.value_or(-1)};
  const auto total = panel_bytes ? base::checked_product(extents) : std::nullopt;
  if (!total) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"panel_layout", "cols", std::to_string(view.cols),
                            "panels of fewer than 2^63 bytes"});
  }
  layout.panel_bytes = *panel_bytes;
  layout.total_bytes = *total;
  return layout;
}

void pack_panel(const WeightView& view, const PanelLayout& layout, int64_t index, std::byte* out) {
  const int64_t expert = index / layout.panels, first = index % layout.panels * kRows;
  const Rows data =
      rows_of(first, view.rows, [&](int64_t row) { return view.row_data(expert, row); });
  Rows scales{}, biases{};
  if (layout.group_size > 0) {
    scales = rows_of(first, view.rows, [&](int64_t row) { return view.row_scales(expert, row); });
    if (layout.has_biases) {
      biases = rows_of(first, view.rows, [&](int64_t row) { return view.row_biases(expert, row); });
    }
  }
  const int64_t stride = layout.side_size + layout.words * 4;
  out += index * layout.panel_bytes;
  for (int64_t k = 0; k < view.cols; k += PanelLayout::kSpanElements) {
    const int64_t elements = std::min<int64_t>(PanelLayout::kSpanElements, view.cols - k);
    const int64_t blocks = elements / layout.block_elements;
    const Rows block = data.moved(k / layout.block_elements * stride);
    std::byte* head = out;
    const int64_t head_bytes = layout.head_bytes(elements);
    if (layout.group_size > 0) {
      const int64_t groups = elements / layout.group_size, size = layout.scale_size;
      const int64_t from = k / layout.group_size * size;
      interleave(layout.scale_size, scales.moved(from).at, size, groups, head);
      head += groups * kRows * size;
      if (layout.has_biases) {
        interleave(layout.scale_size, biases.moved(from).at, size, groups, head);
        head += groups * kRows * size;
      }
    }
    if (layout.side_size > 0) {
      interleave(layout.side_size, block.moved(layout.side_at).at, stride, blocks, head);
      head += blocks * kRows * layout.side_size;
    }
    std::memset(head, 0, static_cast<size_t>(out + head_bytes - head));
    out += head_bytes;
    const int64_t lead = layout.lead_words, rest = layout.words - lead;
    for (int64_t b = 0; b < blocks; ++b, out += int64_t{layout.words} * 4 * kRows) {
      const Rows words = block.moved(b * stride + layout.words_at);
      interleave<4>(words.moved(rest * 4).at, 4, lead, out);
      interleave<4>(words.at, 4, rest, out + lead * 4 * kRows);
    }
  }
}

}  // namespace mlxn::quant
