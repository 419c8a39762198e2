// SPDX-License-Identifier: Apache-2.0
// Rows of quantised activations times a panel of kRows weight rows, over Lanes and the formats of
// panel_formats.h. Included inside the same anonymous namespace.
//
// For each block of 32 elements the integer sum of codes times activations is exact; then, in f32,
//   t = scale * sum (+ bias * sum of activations, or + second scale * sum of the second half)
//   acc = fma(activation scale, t, acc)
// block after block. Every path and every instruction set does these same operations, so the bits
// of an output depend on nothing but its row of x and its row of w.
#pragma once

constexpr int kPackedBlocks = 16;  // blocks decoded at once: 512 codes x 16 rows are 16 KiB
constexpr int kDirectRows = 2;     // up to here decoded codes go straight into the dot products

template <class Codec>
constexpr bool kSplit = Codec::kSecond == Second::kSplit;

// acc after one block; sums: of its halves.
template <class Codec>
inline Float add_block(Float acc, Int sum0, Int sum1, const float* scales,
                       const ActivationBlock& x) {
  const Float scale = Lanes::load(scales);
  const Float x_scale = Lanes::splat(x.scale);
  if constexpr (Codec::kSecond == Second::kSplit) {
    Float t = Lanes::mul(scale, Lanes::to_float(sum0));
    t = Lanes::mul_add(Lanes::load(scales + kRows), Lanes::to_float(sum1), t);
    return Lanes::mul_add(x_scale, t, acc);
  } else {
    Float t = Lanes::mul(scale, Lanes::to_float(Lanes::add(sum0, sum1)));
    if constexpr (Codec::kSecond == Second::kBias) {
      t = Lanes::mul_add(Lanes::load(scales + kRows), Lanes::splat(x.sum), t);
    }
    return Lanes::mul_add(x_scale, t, acc);
  }
}

// Fetches a range of memory into the second-level cache, bit by bit. kRows short streams at once
// are more than the hardware follows, so each panel fetches the next one, which lies behind it.
class Ahead {
 public:
  Ahead(const std::byte* begin, int64_t bytes, int64_t steps)
      : begin_(begin), bytes_(bytes), per_step_(bytes / steps + 1) {}
  void step() {
    due_ = std::min(due_ + per_step_, bytes_);
    for (; next_ < due_; next_ += kLine) __builtin_prefetch(begin_ + next_, 0, 2);
  }

 private:
  static constexpr int64_t kLine = 64;
  const std::byte* begin_;
  int64_t bytes_;
  int64_t per_step_;
  int64_t next_ = 0;  // first byte not asked for
  int64_t due_ = 0;   // where it should be by now
};

// kM rows of x, codes straight from the weight. out: [kM][kRows].
template <class Codec, int kM>
void dot_direct(const Panel& panel, int64_t blocks, const ActivationBlock* const* x, Ahead ahead,
                float* out) {
  constexpr int kStep = Codec::kStepBlocks;
  alignas(64) float scales[Codec::kSpanBlocks * 2 * kRows];
  Float acc[kM];
  for (int m = 0; m < kM; ++m) acc[m] = Lanes::splat(0.0f);
  for (int64_t span = 0; span < blocks; span += Codec::kSpanBlocks) {
    const int count = static_cast<int>(std::min<int64_t>(Codec::kSpanBlocks, blocks - span));
    Codec::scales(panel, span, count, scales);
    for (int first = 0; first < count; first += kStep) {
      ahead.step();
      Int sum[kM][kStep][2];
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
        for (int b = 0; b < kStep; ++b) {
          const ActivationBlock& block = x[m][span + first + b];
          sum[m][b][0] = Lanes::splat(block.offset[0]);
          sum[m][b][1] = Lanes::splat(block.offset[1]);
        }
      }
      Codec::codes(
          panel,
          (span + first) / kStep, [&](int b, int pair, Int codes) __attribute__((always_inline)) {
#pragma GCC unroll 8
            for (int m = 0; m < kM; ++m) {
              Int& s = sum[m][b][pair / 8];
              s = Lanes::dot(s, codes, x[m][span + first + b].q + 2 * pair);
            }
          });
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
        for (int b = 0; b < kStep; ++b) {
          acc[m] = add_block<Codec>(acc[m], sum[m][b][0], sum[m][b][1],
                                    scales + (first + b) * 2 * kRows, x[m][span + first + b]);
        }
      }
    }
  }
  for (int m = 0; m < kM; ++m) Lanes::store(acc[m], out + m * kRows);
}

// Codes and scales of kPackedBlocks blocks of a panel, decoded.
struct Packed {
  alignas(64) int32_t codes[kPackedBlocks][16][kRows];  // 16 pairs a block
  alignas(64) float scales[kPackedBlocks][2][kRows];
};

template <class Codec>
void unpack(const Panel& panel, int64_t first, int count, Packed& packed) {
  for (int b = 0; b < count; b += Codec::kSpanBlocks) {
    Codec::scales(panel, first + b, std::min(count - b, Codec::kSpanBlocks),
                  &packed.scales[b][0][0]);
  }
  for (int b = 0; b < count; b += Codec::kStepBlocks) {
    Codec::codes(
        panel, (first + b) / Codec::kStepBlocks,
        [&](int block, int pair, Int codes)
            __attribute__((always_inline)) { Lanes::store(codes, packed.codes[b + block][pair]); });
  }
}

// kM rows of x times `count` decoded blocks, on top of out [kM][kRows].
template <class Codec, int kM>
void dot_packed(const Packed& packed, int count, const ActivationBlock* const* x, int64_t first,
                float* out) {
  Float acc[kM];
  const ActivationBlock* row[kM];
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
    acc[m] = Lanes::load(out + m * kRows);
    row[m] = x[m] + first;
  }
  for (int b = 0; b < count; ++b) {
    constexpr int kHalves = kSplit<Codec> ? 2 : 1;
    Int sum[kHalves][kM];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) sum[h][m] = Lanes::splat(row[m][b].offset[h]);
#pragma GCC unroll 16
      for (int pair = h * 8; pair < (kSplit<Codec> ? h * 8 + 8 : 16); ++pair) {
        const Int codes = Lanes::load(packed.codes[b][pair]);
#pragma GCC unroll 8
        for (int m = 0; m < kM; ++m) {
          sum[h][m] = Lanes::dot(sum[h][m], codes, row[m][b].q + 2 * pair);
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      const Int second = kSplit<Codec> ? sum[kHalves - 1][m] : Lanes::splat(0);
      acc[m] = add_block<Codec>(acc[m], sum[0][m], second, packed.scales[b][0], row[m][b]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) Lanes::store(acc[m], out + m * kRows);
}

// m < kM rows: the instance for exactly m.
template <class Codec, int kM>
void dot_packed_rows(int m, const Packed& packed, int count, const ActivationBlock* const* x,
                     int64_t first, float* out) {
  if (m == kM) return dot_packed<Codec, kM>(packed, count, x, first, out);
  if constexpr (kM > 1) dot_packed_rows<Codec, kM - 1>(m, packed, count, x, first, out);
}

template <class Codec>
void dot_tile(const Panel& panel, int64_t blocks, const ActivationBlock* const* x, int rows,
              float* out) {
  Packed packed;
  std::memset(out, 0, static_cast<size_t>(rows) * kRows * sizeof(float));
  for (int64_t first = 0; first < blocks; first += kPackedBlocks) {
    const int count = static_cast<int>(std::min<int64_t>(kPackedBlocks, blocks - first));
    unpack<Codec>(panel, first, count, packed);
    for (int m = 0; m < rows; m += Lanes::kTileRows) {
      dot_packed_rows<Codec, Lanes::kTileRows>(std::min(rows - m, Lanes::kTileRows), packed, count,
                                               x + m, first, out + m * kRows);
    }
  }
}

inline Panel make_panel(const quant::WeightView& w, int64_t expert, int64_t n) {
  Panel panel;
  panel.scale_dtype = w.scale_dtype;
  panel.group_size = w.group_size;
  panel.bits = w.bits;
  panel.row_bytes = w.row_bytes;
  for (int r = 0; r < kRows; ++r) {
    const int64_t row = std::min(n + r, w.rows - 1);
    panel.data[r] = w.row_data(expert, row);
    panel.scales[r] = w.scales == nullptr ? nullptr : w.row_scales(expert, row);
    panel.biases[r] = w.row_biases(expert, row);
  }
  return panel;
}

// What is to be fetched while the panel before row n is worked on, in `steps` steps; its scales are
// few and fetched at once. Nothing if two panels would not fit the second-level cache.
inline Ahead fetch_next(const Tile& tile, int64_t n, int64_t steps) {
  constexpr int64_t kMaxBytes = 384 * 1024;
  const quant::WeightView& w = tile.params->weight;
  const int64_t rows = std::min<int64_t>(kRows, tile.n_end - n);
  if (rows <= 0 || rows * w.row_bytes > kMaxBytes) return Ahead(nullptr, 0, 1);
  if (w.scales != nullptr) Ahead(w.row_scales(tile.expert, n), rows * w.row_scale_bytes, 1).step();
  if (w.biases != nullptr) Ahead(w.row_biases(tile.expert, n), rows * w.row_scale_bytes, 1).step();
  return Ahead(w.row_data(tile.expert, n), rows * w.row_bytes, steps);
}

template <class Codec>
void run_format(const Tile& tile) {
  const MatmulParams& p = *tile.params;
  const int64_t blocks = p.weight.cols / kBlock;
  const int rows = tile.rows->count;
  const ActivationBlock* x[kMaxTileRows];
  for (int m = 0; m < rows; ++m) {
    x[m] = reinterpret_cast<const ActivationBlock*>(tile.staged_row(m));
  }
  alignas(64) float out[kMaxTileRows * kRows];
  for (int64_t n = tile.n_begin; n < tile.n_end; n += kRows) {
    const Panel panel = make_panel(p.weight, tile.expert, n);
    if (rows <= kDirectRows) {
      const Ahead ahead = fetch_next(tile, n + kRows, blocks / Codec::kStepBlocks);
      rows == 1 ? dot_direct<Codec, 1>(panel, blocks, x, ahead, out)
                : dot_direct<Codec, kDirectRows>(panel, blocks, x, ahead, out);
    } else {
      dot_tile<Codec>(panel, blocks, x, rows, out);
    }
    const int64_t count = std::min<int64_t>(kRows, tile.n_end - n);
    for (int m = 0; m < rows; ++m) {
      store_row(p, tile.rows->out_row[m], n, count, out + m * kRows);
    }
  }
}

// Whole lines where rows have nothing else, else block by block.
template <int kBits>
void run_affine(const Tile& tile) {
  if (tile.params->weight.row_bytes % Lanes::kLineBytes == 0) {
    return run_format<Affine<kBits, Lanes::kLineBytes>>(tile);
  }
  run_format<Affine<kBits, 4 * kBits>>(tile);
}

inline void run_tile(const Tile& tile) {
  const quant::WeightView& w = tile.params->weight;
  switch (w.format) {
    case Format::kQ4_0:
      return run_format<Q4_0>(tile);
    case Format::kQ8_0:
      return run_format<Q8_0>(tile);
    case Format::kQ4_K:
      return run_format<Q4_K>(tile);
    case Format::kQ6_K:
      return run_format<Q6_K>(tile);
    default:
      if (w.bits == 4) return run_affine<4>(tile);
      if (w.bits == 8) return run_affine<8>(tile);
      return run_format<AffineAnyBits>(tile);
  }
}
