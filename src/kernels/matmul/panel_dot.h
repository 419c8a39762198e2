// SPDX-License-Identifier: Apache-2.0
// Rows of quantised activations times panels of kRows weight rows, over Lanes and the codecs of
// panel_formats*.h. Included inside the same anonymous namespace.
//
// For each block of 32 elements the integer sum of codes times activations is exact; then, in f32,
//   t = scale * sum (+ bias * sum of activations)    per half of the block if its scales are
//   acc = fma(activation scale, t, acc)
// block after block. Every path and every instruction set does these same operations, so the bits
// of an output depend on nothing but its row of x and its row of w.
#pragma once

constexpr int kDirectRows = 2;  // up to here decoded codes go straight into the dot products
constexpr int kTileCols = 64;   // weight rows whose sums are kept for up to 64 rows of x

template <Terms kTerms>
constexpr bool kHasHalves = kTerms == Terms::kHalves || kTerms == Terms::kHalvesBias;

// Where the integer sum of half h of a block starts.
template <Terms kTerms>
inline Int first_sum(const ActivationBlock& x, int h) {
  return Lanes::splat(kTerms == Terms::kHalvesBias ? 0 : x.offset[h]);
}

// acc after one block; sums: of its halves, or their total and nothing.
template <Terms kTerms>
inline Float add_block(Float acc, Int sum0, Int sum1, const float* terms,
                       const ActivationBlock& x) {
  const auto term = [&](int i) { return Lanes::load(terms + i * kRows); };
  Float t = Lanes::mul(term(0), Lanes::to_float(sum0));
  if constexpr (kHasHalves<kTerms>) t = Lanes::mul_add(term(1), Lanes::to_float(sum1), t);
  if constexpr (kTerms == Terms::kScaleBias) {
    t = Lanes::mul_add(term(1), Lanes::splat(x.sum), t);
  }
  if constexpr (kTerms == Terms::kHalvesBias) {
    t = Lanes::mul_add(term(2), Lanes::splat(static_cast<float>(x.offset[0])), t);
    t = Lanes::mul_add(term(3), Lanes::splat(static_cast<float>(x.offset[1])), t);
  }
  return Lanes::mul_add(Lanes::splat(x.scale), t, acc);
}

constexpr int kAheadParts = 8;

// Asks for a range of memory bit by bit, ahead of its use; by default for none.
class Ahead {
 public:
  Ahead() = default;
  Ahead(const std::byte* begin, int64_t bytes, int64_t steps)
      : begin_(begin), bytes_(bytes), per_step_(bytes / steps + 1) {}
  // As of StreamAhead; here the first part is all.
  void part(int i) {
    if (i == 0) step();
  }
  void advance() {}
  void step() {
    due_ = std::min(due_ + per_step_, bytes_);
    for (; next_ < due_; next_ += kLine) __builtin_prefetch(begin_ + next_, 0, 2);
  }

 private:
  static constexpr int64_t kLine = 64;
  const std::byte* begin_ = nullptr;
  int64_t bytes_ = 0;
  int64_t per_step_ = 0;
  int64_t next_ = 0;  // first byte not asked for
  int64_t due_ = 0;   // where it should be by now
};

// The same along one stream without an end, kLines cache lines a step. Addresses may lie past the
// weight: asking for them does no harm.
template <int kLines>
class StreamAhead {
 public:
  StreamAhead(const std::byte* begin, int64_t distance, int64_t per_step)
      : next_(reinterpret_cast<uintptr_t>(begin) + static_cast<uintptr_t>(distance)),
        per_step_(static_cast<uintptr_t>(per_step)) {}
  // Part i of kAheadParts of a step, after all of which it advances: more lines at once than the
  // core can wait for would stop it.
  void part(int i) const {
    constexpr int kMost = (kLines + kAheadParts - 1) / kAheadParts;
    const int begin = kLines * i / kAheadParts, end = kLines * (i + 1) / kAheadParts;
#pragma GCC unroll 8
    for (int j = 0; j < kMost; ++j) {
      if (begin + j >= end) break;
      __builtin_prefetch(
          reinterpret_cast<const void*>(next_ + 64 * static_cast<uintptr_t>(begin + j)), 0, 3);
    }
  }
  void advance() { next_ += per_step_; }

 private:
  uintptr_t next_;
  uintptr_t per_step_;
};

// The same for values that are floats.
template <class Codec, template <class> class Span, int kM, class Source, class Next>
void dot_direct(const Source& source, int64_t blocks, const FloatBlock* const* x, Next ahead,
                float* out) {
  alignas(64) float scales[kSpanBlocks * kRows];
  Float acc[kM][1];
  for (int m = 0; m < kM; ++m) acc[m][0] = Lanes::splat(0.0f);
  for (int64_t first = 0; first < blocks; first += kSpanBlocks) {
    const int count = static_cast<int>(std::min<int64_t>(kSpanBlocks, blocks - first));
    const Span<Codec> span(source, first);
    Codec::scales(span, count, scales);
    for (int b = 0; b < count; ++b) {
      Float values[kBlock];
      Codec::codes(
          span, b, [&](int, int element, Float value) __attribute__((always_inline)) {
            if (element % 4 == 0) ahead.part(element / 4);
            values[element] = value;
          });
      ahead.advance();
      const FloatBlock* block[kM];
      for (int m = 0; m < kM; ++m) block[m] = x[m] + first + b;
      const Float scale = Lanes::load(scales + b * kRows);
      add_float_block<kM, 1>(
          [&](int, int e) __attribute__((always_inline)) { return values[e]; }, &scale, block, acc);
    }
  }
  for (int m = 0; m < kM; ++m) Lanes::store(acc[m][0], out + m * kRows);
}

// kM rows of x, codes straight from the weight. out: [kM][kRows].
template <class Codec, template <class> class Span, int kM, class Source, class Next>
void dot_direct(const Source& source, int64_t blocks, const ActivationBlock* const* x, Next ahead,
                float* out) {
  constexpr Terms kTerms = Codec::kTerms;
  constexpr int kStep = Codec::kStepBlocks, kTermRows = count_of(kTerms) * kRows;
  // Chains of a half block: a dot product waits four cycles for the last. Several blocks at a time
  // are chains enough, and with more of them registers run out.
  constexpr int kChains = kStep == 1 ? 2 : 1;
  alignas(64) float terms[kSpanBlocks * kTermRows];
  Float acc[kM];
  for (int m = 0; m < kM; ++m) acc[m] = Lanes::splat(0.0f);
  for (int64_t first = 0; first < blocks; first += kSpanBlocks) {
    const int count = static_cast<int>(std::min<int64_t>(kSpanBlocks, blocks - first));
    const Span<Codec> span(source, first);
    Codec::scales(span, count, terms);
    for (int at = 0; at < count; at += kStep) {
      Int sum[kM][kStep][2 * kChains];
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
        for (int b = 0; b < kStep; ++b) {
          const ActivationBlock& block = x[m][first + at + b];
          sum[m][b][0] = first_sum<kTerms>(block, 0);
          sum[m][b][kChains] = first_sum<kTerms>(block, 1);
          if constexpr (kChains == 2) sum[m][b][1] = sum[m][b][3] = Lanes::splat(0);
        }
      }
      Codec::codes(
          span, at, [&](int b, int pair, Int codes) __attribute__((always_inline)) {
            if (b == 0 && pair % 2 == 0) ahead.part(pair / 2);
#pragma GCC unroll 8
            for (int m = 0; m < kM; ++m) {
              Int& s = sum[m][b][pair / 8 * kChains + pair % kChains];
              s = Lanes::dot(s, codes, Lanes::pair(x[m][first + at + b].q + 2 * pair));
            }
          });
      ahead.advance();
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
        for (int b = 0; b < kStep; ++b) {
          Int sum0 = sum[m][b][0], sum1 = sum[m][b][kChains];
          if constexpr (kChains == 2) {
            sum0 = Lanes::add(sum0, sum[m][b][1]);
            sum1 = Lanes::add(sum1, sum[m][b][3]);
          }
          if constexpr (!kHasHalves<kTerms>) sum0 = Lanes::add(sum0, sum1);
          acc[m] = add_block<kTerms>(acc[m], sum0, sum1, terms + (at + b) * kTermRows,
                                     x[m][first + at + b]);
        }
      }
    }
  }
  for (int m = 0; m < kM; ++m) Lanes::store(acc[m], out + m * kRows);
}

// A span of one panel, decoded: 16 pairs of codes a block, 8 KiB, or 32 floats, 16 KiB.
template <Terms kTerms>
struct Packed {
  static constexpr int kVectors = kIsFloat<kTerms> ? kBlock : kBlock / 2;
  using Element = std::conditional_t<kIsFloat<kTerms>, float, int32_t>;
  alignas(64) Element codes[kSpanBlocks][kVectors][kRows];
  alignas(64) float terms[kSpanBlocks][count_of(kTerms)][kRows];
};

template <class Codec, template <class> class Span, class Source>
void unpack(const Source& source, int64_t first, int count, Packed<Codec::kTerms>& packed) {
  const Span<Codec> span(source, first);
  Codec::scales(span, count, &packed.terms[0][0][0]);
  for (int b = 0; b < count; b += Codec::kStepBlocks) {
    Codec::codes(
        span, b, [&](int block, int at, auto codes) __attribute__((always_inline)) {
          Lanes::store(codes, packed.codes[b + block][at]);
        });
  }
}

// kM rows of x times `count` decoded blocks of kP panels, on top of out, whose rows are kTileCols
// apart.
template <Terms kTerms, int kP, int kM>
void dot_packed(const Packed<kTerms>* packed, int count, const ActivationBlock* const* x,
                int64_t first, float* out) {
  constexpr int kHalves = kHasHalves<kTerms> ? 2 : 1;
  Float acc[kM][kP];
  const ActivationBlock* row[kM];
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
    row[m] = x[m] + first;
#pragma GCC unroll 2
    for (int p = 0; p < kP; ++p) acc[m][p] = Lanes::load(out + m * kTileCols + p * kRows);
  }
  for (int b = 0; b < count; ++b) {
    Int sum[kHalves][kM][kP];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p) sum[h][m][p] = first_sum<kTerms>(row[m][b], h);
      }
#pragma GCC unroll 16
      for (int pair = h * 8; pair < (kHalves == 2 ? h * 8 + 8 : 16); ++pair) {
        Int codes[kP];
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p) codes[p] = Lanes::load(packed[p].codes[b][pair]);
#pragma GCC unroll 8
        for (int m = 0; m < kM; ++m) {
          const auto two = Lanes::pair(row[m][b].q + 2 * pair);
#pragma GCC unroll 2
          for (int p = 0; p < kP; ++p) sum[h][m][p] = Lanes::dot(sum[h][m][p], codes[p], two);
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) {
        acc[m][p] = add_block<kTerms>(acc[m][p], sum[0][m][p], sum[kHalves - 1][m][p],
                                      packed[p].terms[b][0], row[m][b]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 2
    for (int p = 0; p < kP; ++p) Lanes::store(acc[m][p], out + m * kTileCols + p * kRows);
  }
}

template <Terms kTerms, int kP, int kM>
void dot_packed(const Packed<kTerms>* packed, int count, const FloatBlock* const* x, int64_t first,
                float* out) {
  Float acc[kM][kP];
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 2
    for (int p = 0; p < kP; ++p) acc[m][p] = Lanes::load(out + m * kTileCols + p * kRows);
  }
  for (int b = 0; b < count; ++b) {
    const FloatBlock* block[kM];
    Float scale[kP];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) block[m] = x[m] + first + b;
#pragma GCC unroll 2
    for (int p = 0; p < kP; ++p) scale[p] = Lanes::load(packed[p].terms[b][0]);
    add_float_block<kM, kP>(
        [&](int p, int e)
            __attribute__((always_inline)) { return Lanes::load(packed[p].codes[b][e]); },
        scale, block, acc);
  }
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 2
    for (int p = 0; p < kP; ++p) Lanes::store(acc[m][p], out + m * kTileCols + p * kRows);
  }
}

// m <= kM rows: the instance for exactly m.
template <Terms kTerms, int kP, int kM>
void dot_packed_rows(int m, const Packed<kTerms>* packed, int count,
                     const BlockOf<kTerms>* const* x, int64_t first, float* out) {
  if (m == kM) return dot_packed<kTerms, kP, kM>(packed, count, x, first, out);
  if constexpr (kM > 1) dot_packed_rows<kTerms, kP, kM - 1>(m, packed, count, x, first, out);
}

template <Terms kTerms, int kP>
void dot_all_rows(const Packed<kTerms>* packed, int count, const BlockOf<kTerms>* const* x,
                  int rows, int64_t first, std::array<Ahead, Lanes::kTilePanels> ahead,
                  float* out) {
  for (int m = 0; m < rows; m += Lanes::kTileRows) {
    for (Ahead& a : ahead) a.step();
    dot_packed_rows<kTerms, kP, Lanes::kTileRows>(std::min(rows - m, Lanes::kTileRows), packed,
                                                  count, x + m, first, out + m * kTileCols);
  }
}

// Up to kTileCols weight rows from n on; what a span of x holds stays near while panels pass.
template <class Codec, template <class> class Span, class Sources>
void dot_tile(const Sources& sources, int64_t n, int64_t n_end, int64_t blocks,
              const BlockOf<Codec::kTerms>* const* x, int rows, float* out) {
  constexpr int kP = Lanes::kTilePanels;
  const int panels =
      static_cast<int>(base::ceil_div(std::min<int64_t>(kTileCols, n_end - n), int64_t{kRows}));
  const int64_t steps = base::ceil_div(rows, Lanes::kTileRows);
  Packed<Codec::kTerms> packed[kP];
  std::memset(out, 0, static_cast<size_t>(rows) * kTileCols * sizeof(float));
  for (int64_t first = 0; first < blocks; first += kSpanBlocks) {
    const int count = static_cast<int>(std::min<int64_t>(kSpanBlocks, blocks - first));
    for (int panel = 0; panel < panels; panel += kP) {
      const int used = std::min(kP, panels - panel);
      for (int p = 0; p < used; ++p) {
        unpack<Codec, Span>(sources.at(n + (panel + p) * kRows), first, count, packed[p]);
      }
      std::array<Ahead, kP> ahead;
      for (int p = 0; p < used; ++p)
        ahead[p] = sources.next_span(n + (panel + p) * kRows, first, steps);
      if (used == kP) {
        dot_all_rows<Codec::kTerms, kP>(packed, count, x, rows, first, ahead, out + panel * kRows);
      } else {
        dot_all_rows<Codec::kTerms, 1>(packed, count, x, rows, first, ahead, out + panel * kRows);
      }
    }
  }
}

// The rows of one expert as the file has them.
class FileRows {
 public:
  FileRows(const quant::WeightView& weight, int64_t expert) : w_(weight), expert_(expert) {}

  Rows at(int64_t n) const {
    Rows rows;
    rows.scale_dtype = w_.scale_dtype;
    rows.group_size = w_.group_size;
    rows.bits = w_.bits;
    for (int r = 0; r < kRows; ++r) {
      const int64_t row = std::min(n + r, w_.rows - 1);
      rows.data[r] = w_.row_data(expert_, row);
      rows.scales[r] = w_.scales == nullptr ? nullptr : w_.row_scales(expert_, row);
      rows.biases[r] = w_.row_biases(expert_, row);
    }
    return rows;
  }
  // What to fetch while the rows before n are worked on, in `steps` steps: kRows short streams at
  // once are more than the hardware follows. Scales are few and fetched at once. Nothing if two
  // sets of rows would not fit the second-level cache.
  template <class Codec>
  Ahead ahead(int64_t n, int64_t n_end, int64_t steps) const {
    constexpr int64_t kMaxBytes = 384 * 1024;
    n += kRows;
    const int64_t rows = std::min<int64_t>(kRows, n_end - n);
    if (rows <= 0 || rows * w_.row_bytes > kMaxBytes) return {};
    if (w_.scales != nullptr) Ahead(w_.row_scales(expert_, n), rows * w_.row_scale_bytes, 1).step();
    if (w_.biases != nullptr) Ahead(w_.row_biases(expert_, n), rows * w_.row_scale_bytes, 1).step();
    return Ahead(w_.row_data(expert_, n), rows * w_.row_bytes, steps);
  }
  Ahead next_span(int64_t, int64_t, int64_t) const { return {}; }

 private:
  const quant::WeightView& w_;
  int64_t expert_;
};

// The prepared panels of one expert.
class Panels {
 public:
  Panels(const quant::WeightView& weight, int64_t expert)
      : w_(weight),
        layout_(quant::panel_layout(weight)),
        first_(weight.packed + expert * layout_.panels * layout_.panel_bytes),
        full_span_bytes_(layout_.full_span_bytes()) {}

  PanelLanes at(int64_t n) const {
    constexpr int kPanelRows = quant::PanelLayout::kRows;
    return {.panel = first_ + std::min(n / kPanelRows, layout_.panels - 1) * layout_.panel_bytes,
            .layout = &layout_,
            .full_span_bytes = full_span_bytes_,
            .scale_dtype = w_.scale_dtype,
            .lane = static_cast<int>(n % kPanelRows)};
  }
  // One stream, fetched a little earlier than the hardware would; long rows leave room for more. A
  // line more than the codes of a step pays for scales that lie between them.
  template <class Codec>
  auto ahead(int64_t n, int64_t, int64_t steps) const {
    const int64_t distance = std::clamp<int64_t>(layout_.panel_bytes / 4, 4096, 8192);
    constexpr int kStepBytes =
        Codec::kStepBlocks * kBlock * Codec::kUnitBytes / Codec::kUnitElements * kRows;
    static_assert(kStepBytes > 0);
    constexpr bool kScaleArray = Codec::kUnitBytes == 4 * Codec::kWords;
    return StreamAhead<(kStepBytes + 63) / 64 + (kScaleArray ? 1 : 0)>(at(n).panel, distance,
                                                                       layout_.panel_bytes / steps);
  }
  // The span after block `first` of the panels from row n on; asked for while the one at `first` is
  // multiplied: spans are too short for the hardware to see where they lead.
  Ahead next_span(int64_t n, int64_t first, int64_t steps) const {
    const std::byte* next = at(n).panel + (first / kSpanBlocks + 1) * full_span_bytes_;
    return Ahead(next, full_span_bytes_, steps);
  }

 private:
  const quant::WeightView& w_;
  quant::PanelLayout layout_;
  const std::byte* first_;
  int64_t full_span_bytes_;
};

template <class Codec, template <class> class Span, class Sources>
void run_sources(const Tile& tile, const Sources& sources) {
  const MatmulParams& p = *tile.params;
  const int64_t blocks = p.weight.cols / kBlock;
  const int rows = tile.rows->count;
  const BlockOf<Codec::kTerms>* x[kMaxTileRows];
  for (int m = 0; m < rows; ++m) {
    x[m] = reinterpret_cast<const BlockOf<Codec::kTerms>*>(tile.staged_row(m));
  }
  alignas(64) float out[kMaxTileRows * kTileCols];
  const bool direct = rows <= kDirectRows;
  const int step = direct ? kRows : kTileCols;
  for (int64_t n = tile.n_begin; n < tile.n_end; n += step) {
    if (direct) {
      const auto ahead = sources.template ahead<Codec>(n, tile.n_end, blocks / Codec::kStepBlocks);
      rows == 1 ? dot_direct<Codec, Span, 1>(sources.at(n), blocks, x, ahead, out)
                : dot_direct<Codec, Span, kDirectRows>(sources.at(n), blocks, x, ahead, out);
    } else {
      dot_tile<Codec, Span>(sources, n, tile.n_end, blocks, x, rows, out);
    }
    const int64_t count = std::min<int64_t>(step, tile.n_end - n);
    for (int m = 0; m < rows; ++m) {
      store_row(p, tile.rows->out_row[m], n, count, out + m * step);
    }
  }
}

template <class Codec>
void run_format(const Tile& tile) {
  const quant::WeightView& w = tile.params->weight;
  if (w.packed != nullptr) {
    run_sources<Codec, PanelSpan>(tile, Panels(w, tile.expert));
  } else {
    run_sources<Codec, RowSpan>(tile, FileRows(w, tile.expert));
  }
}
