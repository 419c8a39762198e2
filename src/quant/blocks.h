// SPDX-License-Identifier: Apache-2.0
// The layout structs of all block formats.
#pragma once

#include "quant/affine.h"
#include "quant/q4_0.h"
#include "quant/q4_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"
namespace mlxn::quant {
struct BlockQ4_1 { F16 d, m; uint8_t qs[16]; };
struct BlockQ5_0 { F16 d; uint8_t qh[4]; uint8_t qs[16]; };
struct BlockQ5_1 { F16 d, m; uint8_t qh[4]; uint8_t qs[16]; };
struct BlockIQ4_NL { F16 d; uint8_t qs[16]; };
struct BlockMXFP4 { uint8_t e; uint8_t qs[16]; };
struct BlockQ2_K { uint8_t scales[16], qs[64]; F16 d, dmin; };
struct BlockQ3_K { uint8_t hmask[32], qs[64], scales[12]; F16 d; };
struct BlockQ5_K { F16 d, dmin; uint8_t scales[12], qh[32], qs[128]; };
struct BlockIQ4_XS { F16 d; uint16_t sh; uint8_t sl[4], qs[128]; };
}
