// SPDX-License-Identifier: Apache-2.0
// Four weight rows side by side in plain C++, for processors without a tuned file. Included inside
// an anonymous namespace.
#pragma once

struct Lanes {
  static constexpr int kRows = 4;
  static constexpr int kTileRows = 4;
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

  // Bits of `packed`, in order, to the places where `mask` has ones.
  static uint64_t spread(uint64_t packed, uint64_t mask) {
    uint64_t out = 0;
    for (; mask != 0; mask &= mask - 1, packed >>= 1) out |= (packed & 1) * (mask & (~mask + 1));
    return out;
  }

  // sum += w.lo16 * q[0] + w.hi16 * q[1] in each lane.
  static Int dot(Int sum, Int w, const int16_t* q) {
    for (int i = 0; i < kRows; ++i) {
      const int32_t low = static_cast<int16_t>(w.v[i]), high = static_cast<int16_t>(w.v[i] >> 16);
      sum.v[i] += static_cast<uint32_t>(low * q[0] + high * q[1]);
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

  // Lane r of out[i] = bytes 4i .. 4i + 3 of the kLineBytes at rows[r] + offset.
  static constexpr int kLineBytes = 32;
  static void gather_line(const std::byte* const* rows, int64_t offset, Int out[8]) {
    gather_16_bytes(rows, offset, out);
    gather_16_bytes(rows, offset + 16, out + 4);
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
