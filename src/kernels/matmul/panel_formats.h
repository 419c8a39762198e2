// SPDX-License-Identifier: Apache-2.0
// How each format's rows become vectors of 16-bit codes and of f32 scales, kRows weight rows side
// by side. Written over Lanes (lanes_*.h); included inside the same anonymous namespace.
//
// A format offers
//   kStepBlocks       blocks of 32 elements that one codes() call decodes
//   kSpanBlocks       blocks whose scales are read together, a multiple of kStepBlocks
//   kSecond           what the second scale of a block is
//   scales(panel, first_block, count, out)   out: f32 [count][2][kRows]
//   codes(panel, step, sink)                 sink(block in step, pair, vector): vector holds, per
//                                            row, the two codes that meet pair `pair` of x
#pragma once

enum class Second {
  kNone,   // w = scale * code
  kBias,   // w = scale * code + second
  kSplit,  // w = scale * code in elements 0..15, second * code in 16..31
};

// kRows rows of a weight; past its end the last row repeats.
struct Panel {
  const std::byte* data[Lanes::kRows];
  const std::byte* scales[Lanes::kRows];
  const std::byte* biases[Lanes::kRows];  // biases[0] null: zero
  DType scale_dtype;
  int group_size;
  int bits;
  int64_t row_bytes;
};

using Int = Lanes::Int;
using Float = Lanes::Float;
constexpr int kRows = Lanes::kRows;

struct Q4_0 {
  static constexpr int kStepBlocks = 1, kSpanBlocks = 4;
  static constexpr Second kSecond = Second::kNone;
  static constexpr int64_t kBytes = sizeof(quant::BlockQ4_0);

  static void scales(const Panel& panel, int64_t first, int count, float* out) {
    for (int b = 0; b < count; ++b) {
      Lanes::store(Lanes::gather_f16(panel.data, (first + b) * kBytes), out + b * 2 * kRows);
    }
  }
  template <class Sink>
  static void codes(const Panel& panel, int64_t step, const Sink& sink) {
    const Int mask = Lanes::splat(0x000f000f);
    Int v[4];
    Lanes::gather_16_bytes(panel.data, step * kBytes + 2, v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      sink(0, 2 * i, Lanes::bit_and(v[i], mask));
      sink(0, 2 * i + 1, Lanes::bit_and(Lanes::shift_right_16<8>(v[i]), mask));
      sink(0, 8 + 2 * i, Lanes::bit_and(Lanes::shift_right_16<4>(v[i]), mask));
      sink(0, 8 + 2 * i + 1, Lanes::shift_right_16<12>(v[i]));
    }
  }
};

struct Q8_0 {
  static constexpr int kStepBlocks = 1, kSpanBlocks = 4;
  static constexpr Second kSecond = Second::kNone;
  static constexpr int64_t kBytes = sizeof(quant::BlockQ8_0);

  static void scales(const Panel& panel, int64_t first, int count, float* out) {
    for (int b = 0; b < count; ++b) {
      Lanes::store(Lanes::gather_f16(panel.data, (first + b) * kBytes), out + b * 2 * kRows);
    }
  }
  template <class Sink>
  static void codes(const Panel& panel, int64_t step, const Sink& sink) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Int v[4];
      Lanes::gather_16_bytes(panel.data, step * kBytes + 2 + 16 * half, v);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const Int even = Lanes::shift_left_16<8>(v[i]);
        sink(0, 8 * half + 2 * i, Lanes::shift_right_signed_16<8>(even));
        sink(0, 8 * half + 2 * i + 1, Lanes::shift_right_signed_16<8>(v[i]));
      }
    }
  }
};

struct Q4_K {
  static constexpr int kStepBlocks = 2, kSpanBlocks = 8;
  static constexpr Second kSecond = Second::kBias;
  static constexpr int64_t kBytes = sizeof(quant::BlockQ4_K);

  static Int bits(Int v, int shift, int mask) {
    return Lanes::bit_and(Lanes::shift_right_32(v, shift), Lanes::splat(mask));
  }
  // Lanes are rows, so the packing of q4_k_scale_min() undoes itself for all rows at once.
  static void scales(const Panel& panel, int64_t first, int count, float* out) {
    for (int64_t super = first / 8; super < (first + count) / 8; ++super, out += 16 * kRows) {
      Int head[4];  // d and dmin; scales[0..3]; scales[4..7]; scales[8..11]
      Lanes::gather_16_bytes(panel.data, super * kBytes, head);
      const Float d = Lanes::low_f16(head[0]);
      const Float minus_dmin = Lanes::negate(Lanes::low_f16(Lanes::shift_right_32(head[0], 16)));
      const auto put = [&](int sub, Int scale, Int min) {
        Lanes::store(Lanes::mul(d, Lanes::to_float(scale)), out + sub * 2 * kRows);
        Lanes::store(Lanes::mul(minus_dmin, Lanes::to_float(min)), out + (sub * 2 + 1) * kRows);
      };
      for (int j = 0; j < 4; ++j) {
        put(j, bits(head[1], 8 * j, 63), bits(head[2], 8 * j, 63));
        const auto join = [&](Int low, Int high) {
          return Lanes::bit_or(low, Lanes::shift_left_32(bits(high, 8 * j + 6, 3), 4));
        };
        put(4 + j, join(bits(head[3], 8 * j, 15), head[1]),
            join(bits(head[3], 8 * j + 4, 15), head[2]));
      }
    }
  }
  template <class Sink>
  static void codes(const Panel& panel, int64_t step, const Sink& sink) {
    const Int mask = Lanes::splat(0x000f000f);
    const int64_t at = step / 4 * kBytes + 16 + step % 4 * 32;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Int v[4];
      Lanes::gather_16_bytes(panel.data, at + 16 * half, v);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int pair = 8 * half + 2 * i;
        sink(0, pair, Lanes::bit_and(v[i], mask));
        sink(0, pair + 1, Lanes::bit_and(Lanes::shift_right_16<8>(v[i]), mask));
        sink(1, pair, Lanes::bit_and(Lanes::shift_right_16<4>(v[i]), mask));
        sink(1, pair + 1, Lanes::shift_right_16<12>(v[i]));
      }
    }
  }
};

struct Q6_K {
  static constexpr int kStepBlocks = 4, kSpanBlocks = 8;
  static constexpr Second kSecond = Second::kSplit;
  static constexpr int64_t kBytes = sizeof(quant::BlockQ6_K);

  static void scales(const Panel& panel, int64_t first, int count, float* out) {
    for (int64_t super = first / 8; super < (first + count) / 8; ++super) {
      Int group[4];  // four signed bytes a lane
      Lanes::gather_16_bytes(panel.data, super * kBytes + 192, group);
      const Float d = Lanes::gather_f16(panel.data, super * kBytes + 208);
      for (int g = 0; g < 16; ++g, out += kRows) {
        const Int scale =
            Lanes::shift_right_signed_32(Lanes::shift_left_32(group[g / 4], 24 - g % 4 * 8), 24);
        Lanes::store(Lanes::mul(d, Lanes::to_float(scale)), out);
      }
    }
  }
  template <class Sink>
  static void codes(const Panel& panel, int64_t step, const Sink& sink) {
    const int64_t low = step / 2 * kBytes + step % 2 * 64;
    const int64_t high = step / 2 * kBytes + 128 + step % 2 * 32;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Int a[4], b[4], h[4];
      Lanes::gather_16_bytes(panel.data, low + 16 * half, a);
      Lanes::gather_16_bytes(panel.data, low + 32 + 16 * half, b);
      Lanes::gather_16_bytes(panel.data, high + 16 * half, h);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int pair = 8 * half + 2 * i;
        emit_four(a[i], b[i], h[i], pair, sink);
        emit_four(Lanes::shift_right_16<8>(a[i]), Lanes::shift_right_16<8>(b[i]),
                  Lanes::shift_right_16<8>(h[i]), pair + 1, sink);
      }
    }
  }

 private:
  // From the low bytes of the 16-bit parts: blocks 0, 1 take low nibbles of a, b, blocks 2, 3 the
  // high ones; block t takes bits 2t, 2t + 1 of h.
  template <class Sink>
  static void emit_four(Int a, Int b, Int h, int pair, const Sink& sink) {
    const Int nibble = Lanes::splat(0x000f000f), top = Lanes::splat(0x00300030);
    const auto join = [&](Int low, Int high) {
      return Lanes::bit_or(Lanes::bit_and(low, nibble), Lanes::bit_and(high, top));
    };
    sink(0, pair, join(a, Lanes::shift_left_16<4>(h)));
    sink(1, pair, join(b, Lanes::shift_left_16<2>(h)));
    sink(2, pair, join(Lanes::shift_right_16<4>(a), h));
    sink(3, pair, join(Lanes::shift_right_16<4>(b), Lanes::shift_right_16<2>(h)));
  }
};

// Scales and biases of affine weights: `groups` values from `first` of each row, repeated for each
// block of the group into out[block][part][kRows].
class AffineScales {
 public:
  AffineScales(const Panel& panel, int part, float* out)
      : dtype_(panel.scale_dtype), blocks_(panel.group_size / 32), out_(out + part * kRows) {}

  void put_all(const std::byte* const* rows, int64_t first, int64_t groups) {
    const int64_t size = static_cast<int64_t>(size_of(dtype_));
    const int64_t per_gather = 16 / size;
    int64_t g = 0;
    for (; g + per_gather <= groups; g += per_gather) {
      Int v[4];
      Lanes::gather_16_bytes(rows, (first + g) * size, v);
      for (const Int& lane : v) put_lane(lane);
    }
    for (; g < groups; ++g) {
      alignas(64) float values[kRows];
      for (int r = 0; r < kRows; ++r) values[r] = quant::load_scale(rows[r], dtype_, first + g);
      put(Lanes::load(values));
    }
  }
  void put(Float value) {
    for (int b = 0; b < blocks_; ++b, out_ += 2 * kRows) Lanes::store(value, out_);
  }

 private:
  void put_lane(Int v) {
    if (dtype_ == DType::kF32) {
      put(Lanes::bits_to_float(v));
    } else if (dtype_ == DType::kF16) {
      put(Lanes::low_f16(v));
      put(Lanes::low_f16(Lanes::shift_right_32(v, 16)));
    } else {
      put(Lanes::bits_to_float(Lanes::shift_left_32(v, 16)));
      put(Lanes::bits_to_float(Lanes::bit_and(v, Lanes::splat(static_cast<int32_t>(0xffff0000u)))));
    }
  }

  DType dtype_;
  int blocks_;
  float* out_;
};

struct AffineBase {
  static constexpr int kSpanBlocks = 32;  // 8 groups of 128: one gather of 16 bytes
  static constexpr Second kSecond = Second::kBias;

  static void scales(const Panel& panel, int64_t first, int count, float* out) {
    const int64_t group = first * 32 / panel.group_size, groups = count * 32 / panel.group_size;
    AffineScales(panel, 0, out).put_all(panel.scales, group, groups);
    AffineScales biases(panel, 1, out);
    if (panel.biases[0] != nullptr) {
      biases.put_all(panel.biases, group, groups);
    } else {
      for (int64_t g = 0; g < groups; ++g) biases.put(Lanes::splat(0.0f));
    }
  }
};

// 4 or 8 bits, kBytes of each row at once, which is whole blocks of 4 * kBits bytes.
template <int kBits, int kBytes>
struct Affine : AffineBase {
  static constexpr int kBlockWords = kBits;  // lanes of 32 bits in a block's row
  static constexpr int kStepBlocks = kBytes / 4 / kBlockWords;

  template <class Sink>
  static void codes(const Panel& panel, int64_t step, const Sink& sink) {
    Int v[kBytes / 4];
    if constexpr (kBytes == Lanes::kLineBytes) {
      Lanes::gather_line(panel.data, step * kBytes, v);
    } else {
#pragma GCC unroll 2
      for (int i = 0; i < kBytes / 16; ++i) {
        Lanes::gather_16_bytes(panel.data, step * kBytes + 16 * i, v + 4 * i);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kBytes / 4; ++i) {
      const int block = i / kBlockWords, word = i % kBlockWords;
      if constexpr (kBits == 4) {
        const Int mask = Lanes::splat(0x000f000f);
        sink(block, 4 * word, Lanes::bit_and(v[i], mask));
        sink(block, 4 * word + 1, Lanes::bit_and(Lanes::template shift_right_16<4>(v[i]), mask));
        sink(block, 4 * word + 2, Lanes::bit_and(Lanes::template shift_right_16<8>(v[i]), mask));
        sink(block, 4 * word + 3, Lanes::template shift_right_16<12>(v[i]));
      } else {
        sink(block, 2 * word, Lanes::bit_and(v[i], Lanes::splat(0x00ff00ff)));
        sink(block, 2 * word + 1, Lanes::template shift_right_16<8>(v[i]));
      }
    }
  }
};

// Any width, through bytes.
struct AffineAnyBits : AffineBase {
  static constexpr int kStepBlocks = 1;

  template <class Sink>
  static void codes(const Panel& panel, int64_t step, const Sink& sink) {
    uint64_t bytes[kRows][4];
    const std::byte* rows[kRows];
    for (int r = 0; r < kRows; ++r) {
      spread_codes(panel, r, step, bytes[r]);
      rows[r] = reinterpret_cast<const std::byte*>(bytes[r]);
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Int v[4];
      Lanes::gather_16_bytes(rows, 16 * half, v);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        sink(0, 8 * half + 2 * i, Lanes::bit_and(v[i], Lanes::splat(0x00ff00ff)));
        sink(0, 8 * half + 2 * i + 1, Lanes::shift_right_16<8>(v[i]));
      }
    }
  }

 private:
  // 32 codes of row r as bytes. Reads 8 bytes at a time where the row has them.
  static void spread_codes(const Panel& panel, int r, int64_t step, uint64_t* bytes) {
    const int64_t bits = panel.bits, at = step * 4 * bits;
    const uint64_t mask = 0x0101010101010101u * ((1u << bits) - 1);
    const std::byte* in = panel.data[r] + at;
    std::byte copy[4 * 6 + 8] = {};
    if (at + 3 * bits + 8 > panel.row_bytes) {
      std::memcpy(copy, in, static_cast<size_t>(4 * bits));
      in = copy;
    }
    for (int i = 0; i < 4; ++i, in += bits) {
      uint64_t packed;
      std::memcpy(&packed, in, sizeof(packed));
      bytes[i] = Lanes::spread(packed, mask);
    }
  }
};
