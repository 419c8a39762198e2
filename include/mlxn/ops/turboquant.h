// SPDX-License-Identifier: Apache-2.0
// TurboQuant: rows of a KV cache as codes of 2 to 8 bits, and attention over them.
//
// A row x of D elements is rotated: y = R x, R = H diag(s) / sqrt(D), H the Walsh-Hadamard matrix
// and s fixed signs. Whatever x was, the coordinates of y then look normal. A norm n is kept in f32
// and every y_j sqrt(D) / n is replaced by the nearest level of one codebook, that of the normal
// distribution. At D = 512 there are two norms, the root mean squares of coordinates 0..255 and
// 256..511. R is orthogonal, so attention rotates q and its output once per head instead of every
// key: <q, k> = <R q, R k>. A D that is no power of two is cut into blocks, the largest power of
// two first, that are rotated one by one: 96 = 64 + 32. The bytes of a row: docs/turboquant.md.
//
// Sources: Zandieh, Daliri, Hadian and Mirrokni, "TurboQuant: Online vector quantization with
// near-optimal distortion rate" (2025, arXiv 2504.19874), its variant for the square error; with
// signs and a Hadamard matrix for the random rotation (Ailon and Chazelle, "Approximate nearest
// neighbors and the fast Johnson-Lindenstrauss transform", 2006) and normal coordinates for those
// of a sphere. Levels: Lloyd, "Least squares quantization in PCM" (1982), and Max, "Quantizing for
// minimum distortion" (1960).
//
// Throws kInvalidArgument in the words of mlxn/error.h.
#pragma once

#include <cstdint>
#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/lengths.h"
#include "mlxn/ops/attention.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

// The 2^bits ascending levels of the Lloyd-Max quantiser of N(0, 1), to 1e-12: each is the mean of
// the values that are nearest to it, which makes the mean square error least. Throws unless bits is
// 1 to 8.
MLXN_API std::vector<double> lloyd_max(int bits);

// The default codebook by code: 2^bits levels. Lloyd-Max rounded to f16, code = ascending index;
// but at 4 bits bit 3 of a code is the sign (1: negative) and bits 0..2 the index of the magnitude,
// an odd integer times 49/4096 (1.0005 of the smallest error). Throws unless bits is 2, 3, 4, 5, 6
// or 8.
MLXN_API std::vector<float> tq_codebook(int bits);

// The default signs, 512 in 64 bytes: s_j = -1 where bit j % 8 of byte j / 8 is set, else 1.
MLXN_API std::vector<uint8_t> tq_signs();

enum class TqPacking : uint8_t {
  kDense,  // code j at bit j * bits of a little-endian stream of bits: nibbles, low one first, at 4
           // bits, bytes at 8
  kBytes,  // a byte per code; readers ignore the bits above the code
};

// How the rows of a cache are coded. Ops that take one throw for other bits and packings, a
// codebook of another length or that does not ascend or is not finite, too few signs, and a
// scale_factor that is negative or not finite or, but for D = 512, neither 0 nor 1.
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

// Bytes of the codes of a row of `dim` elements: dim * bits / 8, with kBytes dim. Throws for bits
// and packings that TqFormat does not have, and unless dim is a multiple of 8 up to 512.
MLXN_API int64_t tq_row_bytes(const TqFormat& format, int64_t dim);
// Norms of a row: 2 at 512, else 1. Throws for the same dims.
MLXN_API int64_t tq_norm_count(int64_t dim);

// A coded cache, K or V, or pages of one as ops/attention.h has them, then with P in place of B.
// Rows of 16 codes of one slot never share a byte with others.
struct TqRows {
  Buffer codes;  // u8 [B, Hkv, C, tq_row_bytes]
  Buffer norms;  // f32 [B, Hkv, C, tq_norm_count]
  TqFormat format = {};
};

// The bit stream in which another implementation's reference code keeps single vectors: of each
// coordinate the index of its level, most significant bit first, without gaps, the last byte filled
// up with zeros. k2, k3, k4: indices of so many bits. k2_25: the first dim / 4 coordinates have 3
// bits, the others 2. Caches never hold it: their codes lie least significant bit first, so that at
// 4 bits the nibbles of a byte change places, and are rotated with signs. Here D is a power of two,
// y = H x / sqrt(D) has none, one norm serves every D, and index i stands for lloyd_max(bits)[i]:
//
//     index = tq_stream_unpack(kind, bytes, D)
//     y[j] = lloyd_max(bits of j)[index[j]] * norm / sqrt(D)
//     x = fwht of y, kPlain
//
// and back: y = fwht of x, kPlain; norm = |x|; index[j] counts the middles between neighbouring
// levels that are strictly below y[j] sqrt(D) / norm. |x - decoded x|^2 is close to 0.1175, 0.0345
// and 0.0095 of |x|^2 at 2, 3 and 4 bits, and at 2.25 to (3 * 0.1175 + 0.0345) / 4, for vectors
// that the transform spreads out, as it does random ones. src/quant/turboquant_test.cc has this as
// code.
enum class TqStream : uint8_t { k2, k2_25, k3, k4 };
// indices: one per coordinate. Both throw for a kind that is none; this one for an index that has
// more bits than its coordinate.
MLXN_API std::vector<uint8_t> tq_stream_pack(TqStream kind, const std::vector<uint8_t>& indices);
// The indices of `dim` coordinates; bytes behind them are not looked at. Throws if there are too
// few bytes or dim is negative.
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

// out = H x / sqrt(D) per row, in f32, with the signs before it (kForward) or behind it (kInverse).
// H[i, j] is -1 if i and j have an odd number of set bits in common, else 1: D log2 D additions by
// the fast Walsh-Hadamard transform. D: a power of two up to 8192, with signs up to 512. No rows:
// nothing happens. Throws for other D, dtypes, short buffers or signs, partial overlap.
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

// Codes n tokens into their slots, as kv_append writes them: y = R src; norm = |y|, code_j that of
// the level nearest to y_j sqrt(D) / norm; at D = 512 norm_b = |y_b| / 16 of each half y_b, and
// y_j scale_factor / norm_b. A norm of at most 1e-10 counts as 0. A value half way between two
// levels takes the lower one. With norm_correction norm is multiplied by <z, z> / <z, levels>, z
// what the levels stand for. f32 arithmetic. Throws for what a TqFormat may not be, and as
// kv_append: dtypes, extents, short buffers, overlap, head dims that are not multiples of 8 up to
// 512, and pos + n beyond the cache (a device-resident pos is trusted to fit; slots outside the
// cache are never written).
MLXN_API void tq_encode(Stream& stream, const TqEncodeArgs& args);

struct TqDecodeArgs {
  TqRows from;               // pages are read as sequences
  Buffer out;                // f32 [B, Hkv, n, D]: slots first_slot .. first_slot + n - 1
  int64_t first_slot = 0;    // physical
  bool rotate_back = false;  // false: rows of the rotated domain, R x
};

// out_j = level of code_j * norm / sqrt(D), at D = 512 level * norm_b / scale_factor, in f32; with
// rotate_back diag(s) H / sqrt(D) of that. Reads what the slots hold, also of those that nothing
// was written to. Throws for what a TqFormat may not be, dtypes, extents, short buffers, overlap,
// and slots outside the cache.
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

// attn_decode (ops/attention.h) over a coded cache: every field means what it means there, k_j and
// v_j are the decoded rows. Scores are those of R q and the rows in the rotated domain, their
// weights sum rows of v there, and R^-1 comes last; with `rotated` both rotations are the caller's.
// Widths, codebooks and signs of K and V may differ. Throws as attn_decode, and for what a TqFormat
// may not be.
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

// attn_prefill (ops/attention.h) over a coded cache: every field means what it means there. Queries
// and outputs are rotated where they are read and written (not with `rotated`), codes become levels
// a tile of keys at a time. There is no explicit mask (mask, mask_tiles) and no packing of
// sequences of different lengths (q_starts, k_starts); for those decode with tq_decode and call
// attn_prefill. Throws as attn_prefill, and for what a TqFormat may not be.
MLXN_API void attn_prefill_tq(Stream& stream, const AttnPrefillTqArgs& args);

}  // namespace mlxn::ops
