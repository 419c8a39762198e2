// SPDX-License-Identifier: Apache-2.0
// Four weight rows side by side in plain C++, for processors without a tuned file. Included inside
// an anonymous namespace.
#pragma once

struct Lanes {
  static constexpr int kRows = 4;
  static constexpr int kTilePanels = 1, kTileRows = 4;
  struct Int {
    uint32_t v[kRows];
  };
  struct Float {
    float v[kRows];
  };

  template <typename To, typename From, typename Fn>
  static To map(const From& a, Fn fn) {
    To out;
    for (int i = 0; i < kRows; ++i) out.v[i] = fn(a.v[i]);
    return out;
  }
  // fn on each half of each lane.
  template <typename Fn>
  static Int map_16(Int a, Fn fn) {
    return map<Int>(a, [&](uint32_t v) {
      const uint32_t low = fn(static_cast<uint16_t>(v)), high = fn(static_cast<uint16_t>(v >> 16));
      return (low & 0xffff) | (high << 16);
    });
  }

  static Int splat(int32_t v) {
    return map<Int>(Int{}, [&](uint32_t) { return static_cast<uint32_t>(v); });
  }
  static Float splat(float v) {
    return map<Float>(Float{}, [&](float) { return v; });
  }
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
  static Int add(Int a, Int b) {
    for (int i = 0; i < kRows; ++i) a.v[i] += b.v[i];
    return a;
  }
  static Int bit_and(Int a, Int b) {
    for (int i = 0; i < kRows; ++i) a.v[i] &= b.v[i];
    return a;
  }
  static Int bit_or(Int a, Int b) {
    for (int i = 0; i < kRows; ++i) a.v[i] |= b.v[i];
    return a;
  }
  template <int kBits>
  static Int shift_right_16(Int a) {
    return map_16(a, [](uint16_t v) { return static_cast<uint32_t>(v >> kBits); });
  }
  static Int shift_right_16(Int a, int bits) {
    return map_16(a, [&](uint16_t v) { return static_cast<uint32_t>(v >> bits); });
  }
  template <int kBits>
  static Int shift_left_16(Int a) {
    return map_16(a, [](uint16_t v) { return static_cast<uint32_t>(v) << kBits; });
  }
  template <int kBits>
  static Int shift_right_signed_16(Int a) {
    return map_16(
        a, [](uint16_t v) { return static_cast<uint32_t>(static_cast<int16_t>(v) >> kBits); });
  }
  static Int shift_right_32(Int a, int bits) {
    return map<Int>(a, [&](uint32_t v) { return v >> bits; });
  }
  static Int shift_left_32(Int a, int bits) {
    return map<Int>(a, [&](uint32_t v) { return v << bits; });
  }
  static Int shift_right_signed_32(Int a, int bits) {
    return map<Int>(
        a, [&](uint32_t v) { return static_cast<uint32_t>(static_cast<int32_t>(v) >> bits); });
  }
  static Float to_float(Int a) {
    return map<Float>(a, [](uint32_t v) { return static_cast<float>(static_cast<int32_t>(v)); });
  }
  static Float bits_to_float(Int a) { return map<Float>(a, std::bit_cast<float, uint32_t>); }
  static Float add(Float a, Float b) {
    for (int i = 0; i < kRows; ++i) a.v[i] += b.v[i];
    return a;
  }
  static Float mul(Float a, Float b) {
    for (int i = 0; i < kRows; ++i) a.v[i] *= b.v[i];
    return a;
  }
  static Float mul_add(Float a, Float b, Float c) {
    for (int i = 0; i < kRows; ++i) c.v[i] = std::fma(a.v[i], b.v[i], c.v[i]);
    return c;
  }
  static Float negate(Float a) {
    return map<Float>(a, [](float v) { return -v; });
  }
  // The f16 in the low half of each lane.
  static Float low_f16(Int a) {
    return map<Float>(a, [](uint32_t v) { return mlxn::to_float(F16{static_cast<uint16_t>(v)}); });
  }

  static Int ones_where_equal(Int a, Int b) {
    for (int i = 0; i < kRows; ++i) a.v[i] = a.v[i] == b.v[i] ? ~uint32_t{0} : 0;
    return a;
  }
  static bool any(Int a) {
    uint32_t all = 0;
    for (int i = 0; i < kRows; ++i) all |= a.v[i];
    return all != 0;
  }
  static Int max(Int a, Int b) {
    for (int i = 0; i < kRows; ++i) {
      if (static_cast<int32_t>(a.v[i]) < static_cast<int32_t>(b.v[i])) a.v[i] = b.v[i];
    }
    return a;
  }

  // kRows values that lie side by side.
  static Int load_u8(const std::byte* p) {
    Int out;
    for (int i = 0; i < kRows; ++i) out.v[i] = static_cast<uint32_t>(p[i]);
    return out;
  }
  static Int load_u16(const std::byte* p) {
    uint16_t values[kRows];
    std::memcpy(values, p, sizeof(values));
    Int out;
    for (int i = 0; i < kRows; ++i) out.v[i] = values[i];
    return out;
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

  // Byte j of each lane = 16 * (bit shift + j of the lane of v).
  static Int spread_fifth_bits(Int a, int shift) {
    return map<Int>(a, [&](uint32_t v) {
      uint32_t out = 0;
      for (int j = 0; j < 4; ++j) out |= (v >> (shift + j) & 1) << (8 * j + 4);
      return out;
    });
  }

  // Two activations for all lanes, and sum += w.lo16 * x.lo16 + w.hi16 * x.hi16.
  static Int pair(const int16_t* q) {
    int32_t bits;
    std::memcpy(&bits, q, sizeof(bits));
    return splat(bits);
  }
  static Int dot(Int sum, Int w, Int x) {
    const auto low = [](uint32_t v) { return int32_t{static_cast<int16_t>(v)}; };
    for (int i = 0; i < kRows; ++i) {
      sum.v[i] +=
          static_cast<uint32_t>(low(w.v[i]) * low(x.v[i]) + low(w.v[i] >> 16) * low(x.v[i] >> 16));
    }
    return sum;
  }

  // Lane r of out[i] = bytes 4i .. 4i + 3 of the 16 bytes at rows[r] + offset.
  static void gather_16_bytes(const std::byte* const* rows, int64_t offset, Int out[4]) {
    for (int r = 0; r < kRows; ++r) {
      uint32_t piece[4];
      std::memcpy(piece, rows[r] + offset, sizeof(piece));
      for (int i = 0; i < 4; ++i) out[i].v[r] = piece[i];
    }
  }

  // Lane r = the 4 bytes at rows[r] + offset.
  static Int gather_word(const std::byte* const* rows, int64_t offset) {
    Int out;
    for (int r = 0; r < kRows; ++r) std::memcpy(&out.v[r], rows[r] + offset, sizeof(uint32_t));
    return out;
  }

  // The f16 at rows[r] + offset.
  static Float gather_f16(const std::byte* const* rows, int64_t offset) {
    Float out;
    for (int r = 0; r < kRows; ++r) {
      F16 value;
      std::memcpy(&value, rows[r] + offset, sizeof(value));
      out.v[r] = mlxn::to_float(value);
    }
    return out;
  }
};
