// SPDX-License-Identifier: Apache-2.0
// Four weight rows side by side in vectors of the compiler, for processors without a tuned file.
// Included inside an anonymous namespace.
#pragma once

struct Lanes {
  static constexpr int kRows = 4;
  static constexpr int kTilePanels = 1, kTileRows = 4;
  using Int = uint32_t __attribute__((vector_size(16)));
  using Float = float __attribute__((vector_size(16)));
  // The same 16 bytes otherwise: a cast between vectors keeps the bits.
  using Signed = int32_t __attribute__((vector_size(16)));
  using Halves = uint16_t __attribute__((vector_size(16)));
  using SignedHalves = int16_t __attribute__((vector_size(16)));

  // fn on each lane.
  template <typename To, typename From, typename Fn>
  static To map(From a, Fn fn) {
    return To{fn(a[0]), fn(a[1]), fn(a[2]), fn(a[3])};
  }

  static Int splat(int32_t v) {
    const auto u = static_cast<uint32_t>(v);
    return Int{u, u, u, u};
  }
  static Float splat(float v) { return Float{v, v, v, v}; }
  template <typename To, typename T>
  static To load_as(const T* p) {
    To out;
    std::memcpy(&out, p, sizeof(out));
    return out;
  }
  static Int load(const int32_t* p) { return load_as<Int>(p); }
  static Int load_once(const int32_t* p) { return load(p); }
  static Float load(const float* p) { return load_as<Float>(p); }
  static void store(Int v, int32_t* p) { std::memcpy(p, &v, sizeof(v)); }
  static void store(Float v, float* p) { std::memcpy(p, &v, sizeof(v)); }
  static Int add(Int a, Int b) { return a + b; }
  static Int bit_and(Int a, Int b) { return a & b; }
  static Int bit_or(Int a, Int b) { return a | b; }
  template <int kBits>
  static Int shift_right_16(Int a) {
    return (Int)((Halves)a >> kBits);
  }
  static Int shift_right_16(Int a, int bits) { return (Int)((Halves)a >> bits); }
  template <int kBits>
  static Int shift_left_16(Int a) {
    return (Int)((Halves)a << kBits);
  }
  template <int kBits>
  static Int shift_right_signed_16(Int a) {
    return (Int)((SignedHalves)a >> kBits);
  }
  static Int shift_right_32(Int a, int bits) { return a >> bits; }
  static Int shift_left_32(Int a, int bits) { return a << bits; }
  static Int shift_right_signed_32(Int a, int bits) { return (Int)((Signed)a >> bits); }
  static Float to_float(Int a) { return __builtin_convertvector((Signed)a, Float); }
  static Float bits_to_float(Int a) { return (Float)a; }
  static Float add(Float a, Float b) { return a + b; }
  static Float mul(Float a, Float b) { return a * b; }
  static Float mul_add(Float a, Float b, Float c) {
    for (int i = 0; i < kRows; ++i) c[i] = std::fma(a[i], b[i], c[i]);
    return c;
  }
  static Float negate(Float a) { return -a; }
  // The f16 in the low half of each lane.
  static Float low_f16(Int a) {
    return map<Float>(a, [](uint32_t v) { return mlxn::to_float(F16{static_cast<uint16_t>(v)}); });
  }

  static Int ones_where_equal(Int a, Int b) { return (Int)(a == b); }
  static bool any(Int a) { return (a[0] | a[1] | a[2] | a[3]) != 0; }
  static Int max(Int a, Int b) { return (Signed)a < (Signed)b ? b : a; }

  // kRows values that lie side by side.
  static Int load_u8(const std::byte* p) {
    Int out;
    for (int i = 0; i < kRows; ++i) out[i] = static_cast<uint32_t>(p[i]);
    return out;
  }
  static Int load_u16(const std::byte* p) {
    uint16_t values[kRows];
    std::memcpy(values, p, sizeof(values));
    return Int{values[0], values[1], values[2], values[3]};
  }
  static Float load_f16(const std::byte* p) { return low_f16(load_u16(p)); }

  // Bytes that 4-bit codes stand for.
  using Table = const uint8_t*;
  static Table load_table(const uint8_t* values) { return values; }
  static Int look_up(Table table, Int codes) {
    return map<Int>(codes, [&](uint32_t v) {
      uint32_t out = 0;
      for (int j = 0; j < 32; j += 8) out |= uint32_t{table[v >> j & 15]} << j;
      return out;
    });
  }

  // Byte j of each lane = 16 * (bit shift + j of the lane of a); lanes_avx2.h has the factor.
  static Int spread_fifth_bits(Int a, int shift) {
    return (((a >> shift) & 15) * 0x02040810u) & 0x10101010u;
  }

  // Two activations for all lanes, and sum += w.lo16 * x.lo16 + w.hi16 * x.hi16.
  static Int pair(const int16_t* q) {
    int32_t bits;
    std::memcpy(&bits, q, sizeof(bits));
    return splat(bits);
  }
  static Int dot(Int sum, Int w, Int x) {
#if defined(__SSE2__)
    return sum + (Int)_mm_madd_epi16((__m128i)w, (__m128i)x);
#else
    const auto low = [](Int v) { return (Int)((Signed)(v << 16) >> 16); };
    const auto high = [](Int v) { return (Int)((Signed)v >> 16); };
    return sum + low(w) * low(x) + high(w) * high(x);
#endif
  }

  // Lane r of out[i] = bytes 4i .. 4i + 3 of the 16 bytes at rows[r] + offset.
  static void gather_16_bytes(const std::byte* const* rows, int64_t offset, Int out[4]) {
    uint32_t piece[kRows][4];
    for (int r = 0; r < kRows; ++r) std::memcpy(piece[r], rows[r] + offset, sizeof(piece[r]));
    for (int i = 0; i < 4; ++i) out[i] = Int{piece[0][i], piece[1][i], piece[2][i], piece[3][i]};
  }

  // Lane r = the 4 bytes at rows[r] + offset.
  static Int gather_word(const std::byte* const* rows, int64_t offset) {
    uint32_t words[kRows];
    for (int r = 0; r < kRows; ++r) std::memcpy(&words[r], rows[r] + offset, sizeof(words[r]));
    return load_as<Int>(words);
  }

  // The f16 at rows[r] + offset.
  static Float gather_f16(const std::byte* const* rows, int64_t offset) {
    Float out;
    for (int r = 0; r < kRows; ++r) {
      F16 value;
      std::memcpy(&value, rows[r] + offset, sizeof(value));
      out[r] = mlxn::to_float(value);
    }
    return out;
  }
};
