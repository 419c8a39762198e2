// SPDX-License-Identifier: Apache-2.0
// The codecs of all formats of codes and scales: the one place where matmul registers a
// format. Included inside the same anonymous namespace, after them.
#pragma once

// fn(codec) for the codec of the weight.
template <class Fn>
auto with_codec(const quant::WeightView& w, Fn fn) {
  switch (w.format) {
    case Format::kQ4_0:
      return fn(Q4_0{});
    case Format::kQ4_1:
      return fn(Q4_1{});
    case Format::kQ5_0:
      return fn(Q5_0{});
    case Format::kQ5_1:
      return fn(Q5_1{});
    case Format::kQ8_0:
      return fn(Q8_0{});
    case Format::kQ2_K:
      return fn(Q2_K{});
    case Format::kQ3_K:
      return fn(Q3_K{});
    case Format::kQ4_K:
      return fn(Q4_K{});
    case Format::kQ5_K:
      return fn(Q5_K{});
    case Format::kQ6_K:
      return fn(Q6_K{});
    case Format::kIQ4_NL:
      return fn(IQ4_NL{});
    case Format::kIQ4_XS:
      return fn(IQ4_XS{});
    case Format::kMXFP4:
      return fn(MXFP4{});
    case Format::kMlxMxfp4:
      return fn(MlxMxfp4{});
    case Format::kMlxMxfp8:
      return fn(MlxMxfp8{});
    case Format::kMlxNvfp4:
      return fn(MlxNvfp4{});
    default:
      break;
  }
  switch (w.bits) {
    case 2:
      return fn(Affine<2>{});
    case 3:
      return fn(Affine<3>{});
    case 4:
      return fn(Affine<4>{});
    case 5:
      return fn(Affine<5>{});
    case 6:
      return fn(Affine<6>{});
    default:
      return fn(Affine<8>{});
  }
}

inline void run_tile(const Tile& tile) {
  with_codec(tile.params->weight, [&](auto codec) { run_format<decltype(codec)>(tile); });
}
