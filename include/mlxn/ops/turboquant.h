// SPDX-License-Identifier: Apache-2.0
// TurboQuant: rows of a KV cache as codes of 2 to 8 bits, and attention over them.
//
// A row x of D elements is rotated: y = R x, R = H diag(s) / sqrt(D), H the Walsh-Hadamard matrix
// and s fixed signs. Whatever x was, the coordinates of y then look normal. A norm n is kept in f32
// and every y_j sqrt(D) / n is replaced by the nearest level of one codebook, that of the normal
// distribution. At D = 512 there are two norms, the root mean squares of coordinates 0..255 and
// 256..511. R is orthogonal, so attention rotates q and its output once per head instead of every
// key: <q, k> = <R q, R k>. A D that is no power of two is cut into blocks, the largest power of
// two first, that are rotated one by one: 96 = 64 + 32.
#pragma once

#include <cstdint>
#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/lengths.h"
#include "mlxn/ops/attention.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

// The 2^bits ascending levels of the Lloyd-Max quantiser of N(0, 1), to 1e-12; bits 1 to 8.
MLXN_API std::vector<double> lloyd_max(int bits);

// The default codebook by code: 2^bits levels, bits 2, 3, 4, 5, 6, 8. Lloyd-Max rounded to f16,
// code = ascending index; but at 4 bits bit 3 of a code is the sign (1: negative) and bits 0..2 the
// index of the magnitude, an odd integer times 49/4096 (1.0005 of the smallest error).
MLXN_API std::vector<float> tq_codebook(int bits);

// The default signs: 512 of them, bit j % 8 of byte j / 8 set: s_j = -1.
MLXN_API std::vector<uint8_t> tq_signs();

enum class TqPacking : uint8_t {
  kDense,  // code j at bit j * bits of a little-endian stream of bits: nibbles, low one first, at 4
           // bits, bytes at 8
  kBytes,  // a byte per code; readers ignore the bits above the code
};

// How the rows of a cache are coded.
struct TqFormat {
  int bits = 4;  // 2, 3, 4, 5, 6, 8
  TqPacking packing = TqPacking::kDense;
  // For caches that others wrote: 2^bits ascending levels, a code being the index of its level.
  // Empty: tq_codebook(bits).
  std::vector<float> codebook = {};
  std::vector<uint8_t> signs = {};  // at least D / 8 bytes; empty: tq_signs()
  // D = 512, for caches that others wrote: levels are scale_factor times what the norm is made of.
  // 0 stands for 1.
  float scale_factor = 1.0f;
};

MLXN_API int64_t tq_row_bytes(const TqFormat& format, int64_t dim);
MLXN_API int64_t tq_norm_count(int64_t dim);  // 2 at 512, else 1

// A coded cache, K or V, or pages of one as ops/attention.h has them, then with P in place of B.
// Rows of 16 codes of one slot never share a byte with others.
struct TqRows {
  Buffer codes;  // u8 [B, Hkv, C, tq_row_bytes]
  Buffer norms;  // f32 [B, Hkv, C, tq_norm_count]
  TqFormat format = {};
};

// The bit stream of another implementation's reference code: most significant bit first, ascending
// indices. k2_25: the first quarter of the coordinates has 3 bits, the others 2.
enum class TqStream : uint8_t { k2, k2_25, k3, k4 };
MLXN_API std::vector<uint8_t> tq_stream_pack(TqStream kind, const std::vector<uint8_t>& indices);
MLXN_API std::vector<uint8_t> tq_stream_unpack(TqStream kind, const std::vector<uint8_t>& bytes,
                                               int64_t dim);

enum class FwhtMode : uint8_t {
  kPlain,    // H / sqrt(D), its own inverse
  kForward,  // R
  kInverse,  // diag(s) H / sqrt(D)
};

struct FwhtArgs {
  Buffer x;    // f32, rows of D = the last extent
  Buffer out;  // like x; may be x itself
  FwhtMode mode = FwhtMode::kPlain;
  std::vector<uint8_t> signs = {};  // kForward, kInverse; empty: tq_signs()
  bool blocks = false;              // D is any multiple of 8, cut into powers of two
};

// D: a power of two up to 8192, with signs up to 512. No rows: nothing happens. Throws
// kInvalidArgument for other D, short buffers or signs, partial overlap.
MLXN_API void fwht(Stream& stream, const FwhtArgs& args);

struct TqEncodeArgs {
  Buffer src;  // new rows [B, n_src, Hkv, D] f32, f16, bf16; D a multiple of 8 up to 512
  TqRows to;   // the cache
  int64_t src_offset = 0;  // first source token used
  int64_t n = -1;          // tokens to write; -1: n_src - src_offset; 0: nothing
  Lengths pos;             // position of the first token written, per sequence
  bool ring = false;       // slot = position mod C; else pos + n <= C is required
  // Levels are shorter than what they stand for by the codebook's error. With this the norm that is
  // stored makes up for it: <x, decoded x> = <x, x>.
  bool norm_correction = false;
  Buffer block_table = {};  // the cache is pages, as for kv_append
};

// Codes n tokens into their slots, as kv_append writes them. A norm of at most 1e-10 counts as 0. A
// value between two levels takes the lower one. Throws as kv_append, and for formats.
MLXN_API void tq_encode(Stream& stream, const TqEncodeArgs& args);

struct TqDecodeArgs {
  TqRows from;               // pages are read as sequences
  Buffer out;                // f32 [B, Hkv, n, D]: slots first_slot .. first_slot + n - 1
  int64_t first_slot = 0;    // physical
  bool rotate_back = false;  // false: rows of the rotated domain, R x
};

MLXN_API void tq_decode(Stream& stream, const TqDecodeArgs& args);

struct AttnDecodeTqArgs {
  Buffer q;    // [B, H, D] f32, f16, bf16
  TqRows k;    // widths of K and V may differ
  TqRows v;    // rows of Dv elements
  Buffer out;  // [B, H, Dv], dtype of q
  Lengths kv_len;
  Lengths ring_start = {};
  bool ring = false;
  float softmax_scale = 1.0f;
  float logits_soft_cap = 0.0f;
  MaskKind mask = MaskKind::kCausal;
  int64_t window_size = 0;
  int n_split = 0;
  bool rotated = false;  // q is R q of K's signs, out becomes R out of V's
  Buffer sinks = {};
  Buffer alibi_slopes = {};
  Buffer lse = {};
  Buffer block_table = {};  // of both caches
};

// attn_decode over a coded cache: every field means what it means there.
MLXN_API void attn_decode_tq(Stream& stream, const AttnDecodeTqArgs& args);

struct AttnPrefillTqArgs {
  Buffer q;                                    // [B, H, qL, D] or [B, qL, H, D]; f32, f16, bf16
  TqRows k;                                    // [B, Hkv, C, ..]
  TqRows v;                                    // rows of Dv elements
  Buffer out;                                  // like q with Dv, dtype of q
  SeqLayout q_layout = SeqLayout::kHeadMajor;  // of q and out
  Lengths kv_len;
  Lengths q_offset = {};
  Lengths ring_start = {};
  bool ring = false;
  float softmax_scale = 1.0f;
  float logits_soft_cap = 0.0f;
  bool causal = true;
  int64_t window_size = 0;
  bool rotated = false;
  int64_t window_ahead = 0;
  int64_t chunk_size = 0;
  Lengths prefix_len = {};
  Buffer sinks = {};
  Buffer alibi_slopes = {};
  Buffer lse = {};
  Buffer block_table = {};
};

// attn_prefill over a coded cache: every field means what it means there. Queries and outputs are
// rotated where they are read and written, codes become levels a tile of keys at a time.
MLXN_API void attn_prefill_tq(Stream& stream, const AttnPrefillTqArgs& args);

}  // namespace mlxn::ops
