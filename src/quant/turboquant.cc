// SPDX-License-Identifier: Apache-2.0
#include "quant/turboquant.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/no_memory.h"

namespace mlxn::ops {
namespace {

void require(bool ok, const char* op, const char* parameter, int64_t found, const char* required) {
  if (ok) return;
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{op, parameter, std::to_string(found), required});
}

void check_bits(const char* op, int bits) {
  require(bits >= 2 && bits <= 8 && bits != 7, op, "bits", bits, "2, 3, 4, 5, 6 or 8");
}

void check_dim(const char* op, int64_t dim) {
  require(dim >= 8 && dim <= quant::kTqMaxDim && dim % 8 == 0, op, "dim", dim,
          "a multiple of 8 from 8 to 512");
}

// The magnitudes of the levels of 4 bits, in steps: the best odd integers n up to 255, which fit
// signed bytes as (n - 1) / 2.
constexpr std::array<int, 8> kMagnitudes4 = {11, 33, 55, 79, 105, 135, 173, 229};

std::vector<float> build_codebook(int bits) {
  std::vector<float> levels;
  if (bits == 4) {
    for (const float sign : {1.0f, -1.0f}) {
      for (const int n : kMagnitudes4)
        levels.push_back(sign * static_cast<float>(n) * quant::kTqStep4);
    }
    return levels;
  }
  for (const double level : lloyd_max(bits)) {
    levels.push_back(to_float(to_f16(static_cast<float>(level))));
  }
  return levels;
}

void check_stream(const char* op, TqStream kind) {
  require(kind <= TqStream::k4, op, "kind", static_cast<int64_t>(kind), "k2, k2_25, k3 or k4");
}

// Bits of coordinate i of a reference stream.
int stream_bits(TqStream kind, int64_t i, int64_t dim) {
  if (kind == TqStream::k2_25) return i < dim / 4 ? 3 : 2;
  return kind == TqStream::k2 ? 2 : kind == TqStream::k3 ? 3 : 4;
}

}  // namespace

std::vector<float> tq_codebook(int bits) try {
  check_bits("tq_codebook", bits);
  static const auto all = [] {
    std::array<std::vector<float>, 9> books;
    for (const int b : {2, 3, 4, 5, 6, 8}) books[static_cast<size_t>(b)] = build_codebook(b);
    return books;
  }();
  return all[static_cast<size_t>(bits)];
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::vector<uint8_t> tq_signs() try {
  return {0xa7, 0x3b, 0x91, 0xf4, 0x6d, 0xc2, 0x58, 0x0e, 0xb3, 0x7f, 0x24, 0xd6, 0x89,
          0x45, 0xea, 0x1c, 0x63, 0xaf, 0xd8, 0x52, 0x97, 0x0b, 0xe1, 0x3d, 0x76, 0xc4,
          0x19, 0xfe, 0x4a, 0x85, 0x2c, 0xdb, 0xd3, 0x4e, 0xa8, 0x17, 0x9c, 0x5b, 0xe6,
          0x31, 0x72, 0xb9, 0x0d, 0xf5, 0x43, 0x8a, 0x6e, 0xc7, 0x58, 0x2f, 0x94, 0xe1,
          0xb6, 0x3d, 0x0a, 0x7c, 0xc5, 0x61, 0xd8, 0x4f, 0xa3, 0x97, 0x1e, 0x85};
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

int64_t tq_row_bytes(const TqFormat& format, int64_t dim) {
  check_bits("tq_row_bytes", format.bits);
  check_dim("tq_row_bytes", dim);
  require(format.packing == TqPacking::kDense || format.packing == TqPacking::kBytes,
          "tq_row_bytes", "packing", static_cast<int64_t>(format.packing), "kDense or kBytes");
  return format.packing == TqPacking::kBytes ? dim : (dim * format.bits + 7) / 8;
}

int64_t tq_norm_count(int64_t dim) {
  check_dim("tq_norm_count", dim);
  return dim == quant::kTqMaxDim ? 2 : 1;
}

std::vector<uint8_t> tq_stream_pack(TqStream kind, const std::vector<uint8_t>& indices) try {
  check_stream("tq_stream_pack", kind);
  const auto dim = static_cast<int64_t>(indices.size());
  std::vector<uint8_t> bytes;
  size_t at = 0;  // in bits
  for (int64_t i = 0; i < dim; ++i) {
    const int bits = stream_bits(kind, i, dim);
    const int index = indices[static_cast<size_t>(i)];
    require(index < 1 << bits, "tq_stream_pack", "indices", index, "below 2^bits");
    for (int b = bits - 1; b >= 0; --b, ++at) {
      if (at % 8 == 0) bytes.push_back(0);
      bytes.back() = static_cast<uint8_t>(bytes.back() | ((index >> b & 1) << (7 - at % 8)));
    }
  }
  return bytes;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::vector<uint8_t> tq_stream_unpack(TqStream kind, const std::vector<uint8_t>& bytes,
                                      int64_t dim) try {
  check_stream("tq_stream_unpack", kind);
  require(dim >= 0, "tq_stream_unpack", "dim", dim, "at least 0");
  std::vector<uint8_t> indices;
  size_t at = 0;
  for (int64_t i = 0; i < dim; ++i) {
    int index = 0;
    for (int b = stream_bits(kind, i, dim); b > 0; --b, ++at) {
      require(at / 8 < bytes.size(), "tq_stream_unpack", "bytes",
              static_cast<int64_t>(bytes.size()), "enough bytes for dim");
      index = 2 * index + (bytes[at / 8] >> (7 - at % 8) & 1);
    }
    indices.push_back(static_cast<uint8_t>(index));
  }
  return indices;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops

namespace mlxn::quant {

std::array<uint32_t, kTqSignWords> tq_sign_words(const std::vector<uint8_t>& signs) {
  std::array<uint32_t, kTqSignWords> words{};
  const size_t count = std::min(signs.size(), size_t{kTqMaxDim / 8});
  for (size_t i = 0; i < count; ++i) words[i / 4] |= uint32_t{signs[i]} << (8 * (i % 4));
  return words;
}

TqTable make_tq_table(const ops::TqFormat& format) {
  TqTable t{};
  t.bits = format.bits;
  t.code_bits = format.packing == ops::TqPacking::kBytes ? 8 : format.bits;
  t.scale_factor = format.scale_factor == 0.0f ? 1.0f : format.scale_factor;
  t.sign_magnitude = format.codebook.empty() && format.bits == 4;
  const std::vector<float> levels =
      format.codebook.empty() ? ops::tq_codebook(format.bits) : format.codebook;
  t.has_half = true;
  t.half_unit = t.sign_magnitude ? kTqStep4 : 1.0f;
  for (size_t i = 0; i < 256; ++i) {
    t.levels[i] = levels[i % levels.size()];
    const F16 half = to_f16(t.levels[i] / t.half_unit);
    t.half[i] = half.bits;
    t.has_half = t.has_half && to_float(half) * t.half_unit == t.levels[i];
  }
  t.half_mirrors = true;
  for (size_t i = levels.size() / 2; i < levels.size(); ++i) {
    t.half_mirrors = t.half_mirrors && t.half[i] < 0x8000 &&
                     t.half[levels.size() - 1 - i] == (t.half[i] | 0x8000);
  }
  t.bounds.fill(std::numeric_limits<float>::infinity());
  for (uint32_t i = 0; i + 1 < levels.size(); ++i) {
    const double a = t.levels[t.code_of(i)], b = t.levels[t.code_of(i + 1)];
    t.bounds[i] = static_cast<float>((a + b) / 2);
  }
  t.signs = tq_sign_words(format.signs.empty() ? ops::tq_signs() : format.signs);
  return t;
}

}  // namespace mlxn::quant
