// SPDX-License-Identifier: Apache-2.0
// attn_prefill over f16 or bf16 keys and values with the matrices of simdgroups. A threadgroup
// takes kRows queries of a head through tiles of kKeys keys that start at multiples of kKeys; a
// simdgroup has eight of the rows and kPart elements of them, and simdgroups with the same rows add
// up their scores. Metal does not say which lane has which element of a matrix: what is done by row
// is done in threadgroup memory, where four lanes have a row. Weights are relative to a logit at
// most ATTN_SLACK below the row's largest so far. A product of 0 and NaN is NaN: where not every
// row sees every key of a tile, elements of V that are not finite reach their rows beside the
// matrices. Buffers and their layout: gpu.h.
#include "kernels/attn_prefill/gpu_keys.h"

KERNELS_BEGIN(attn_prefill_simdgroup)

#define ATTN_SLACK 4.0f

typedef simdgroup_matrix<float, 8, 8> Floats;

enum { kAreaPitch = 36 };  // from row to row of an area: scores or 32 elements of eight rows

template <int kHeadDim>
struct Shape {
  enum {
    kDim = kHeadDim,
    kShares = (kDim + 127) / 128,  // simdgroups with the same rows
    kPart = kDim / kShares,
    kSimds = kDim > 256 ? 8 : 4,
    kRows = 8 * kSimds / kShares,
    kKeys = kDim > 256 ? 16 : 32,
    kArea = 8 * kAreaPitch,  // floats of a simdgroup
    kPitch = kDim + 8        // from key to key of a tile: eight keys in different banks
  };
};

// Rows of K or V from position `first` on; there[key] says whether there is one, is in `seen` and
// has its bit in `wanted`. Others are zeros.
template <typename T, class S>
GPU_FN void copy_tile(DEVICE const T* rows, uint page, uint row, uint first, SeenKeys seen,
                      THREAD const TileView& view, uint b, DEVICE const int* block_table,
                      CONSTANT GpuAttnPrefill& p, uint wanted, uint at, THREADGROUP T* tile,
                      THREADGROUP uint* there) {
  const uint first_slot = (first + view.held.shift) % view.capacity;
  for (; at < S::kKeys * S::kDim / 8; at += 32 * S::kSimds) {
    const uint key = 8 * at / S::kDim, element = 8 * at % S::kDim;
    uint slot = first_slot + key;
    if (slot >= view.capacity) slot = slot % view.capacity;
    const bool held = first + key >= seen.lo && first + key < seen.hi &&
                      slot < view.held.num_valid && (wanted >> key & 1) != 0;
    const CacheSlot found = find_slot(block_table, p.pages, b, slot, held);
    DEVICE const T* const from =
        rows + (ulong(found.block) * page + ulong(found.slot) * row + element);
    THREADGROUP T* const to = tile + key * S::kPitch + element;
    if (found.held && p.vectors != 0) {
      *(THREADGROUP uint4*)to = *(DEVICE const uint4*)from;
    } else {
      UNROLL for (int j = 0; j < 8; j++) to[j] = found.held ? from[j] : T(0.0f);
    }
    if (element == 0) there[key] = found.held ? 1 : 0;
  }
}

GPU_FN bool is_finite(float x) { return (as_uint(x) & 0x7f800000) != 0x7f800000; }

// Zeros for what is not finite in the part of a tile that this thread has copied; bit i: in key i.
template <typename T, class S>
GPU_FN uint clear_nonfinite(uint at, THREADGROUP T* tile) {
  uint keys = 0;
  for (; at < S::kKeys * S::kDim / 8; at += 32 * S::kSimds) {
    const uint key = 8 * at / S::kDim;
    THREADGROUP T* const piece = tile + key * S::kPitch + 8 * at % S::kDim;
    UNROLL for (int j = 0; j < 8; j++) {
      if (is_finite(float(piece[j]))) continue;
      piece[j] = T(0.0f);
      keys = keys | 1u << key;
    }
  }
  return keys;
}

// Up to four matrices, by way of an area: a lane has eight elements of row lane / 4.
GPU_FN void to_matrices(THREAD const float* x, THREADGROUP float* area, uint lane, int count,
                        THREAD Floats* m) {
  const uint at = lane / 4 * kAreaPitch + lane % 4 * 8;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  UNROLL for (int j = 0; j < 8; j++) area[at + j] = x[j];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  UNROLL for (int i = 0; i < 4; i++) {
    if (i < count) simdgroup_load(m[i], area + 8 * i, kAreaPitch);
  }
}
GPU_FN void to_rows(THREAD Floats* m, int count, THREADGROUP float* area, uint lane,
                    THREAD float* x) {
  const uint at = lane / 4 * kAreaPitch + lane % 4 * 8;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  UNROLL for (int i = 0; i < 4; i++) {
    if (i < count) simdgroup_store(m[i], area + 8 * i, kAreaPitch);
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  UNROLL for (int j = 0; j < 8; j++) x[j] = lane % 4 < uint(count) ? area[at + j] : 0.0f;
}

// A simdgroup's part of the scores of a tile, into its area.
template <typename T, class S>
GPU_FN void put_scores(THREAD Floats* query, THREADGROUP const T* tile, THREADGROUP float* area) {
  Floats scores[S::kKeys / 8];
  UNROLL for (int n = 0; n < S::kKeys / 8; n++) {
    scores[n] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
  UNROLL for (int i = 0; i < S::kPart / 8; i++) {
    UNROLL for (int n = 0; n < S::kKeys / 8; n++) {
      simdgroup_matrix<T, 8, 8> keys;
      simdgroup_load(keys, tile + 8 * n * S::kPitch + 8 * i, S::kPitch, 0, true);
      simdgroup_multiply_accumulate(scores[n], query[i], keys, scores[n]);
    }
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  UNROLL for (int n = 0; n < S::kKeys / 8; n++)
      simdgroup_store(scores[n], area + 8 * n, kAreaPitch);
}

// Adds the values of a tile by the weights in the area.
template <typename T, class S>
GPU_FN void add_values(THREADGROUP const float* area, THREADGROUP const T* tile,
                       THREAD Floats* sums) {
  UNROLL for (int n = 0; n < S::kKeys / 8; n++) {
    Floats weights;
    simdgroup_load(weights, area + 8 * n, kAreaPitch);
    UNROLL for (int i = 0; i < S::kPart / 8; i++) {
      simdgroup_matrix<T, 8, 8> values;
      simdgroup_load(values, tile + 8 * n * S::kPitch + 8 * i, S::kPitch);
      simdgroup_multiply_accumulate(sums[i], weights, values, sums[i]);
    }
  }
}

// Adds to a row the elements of V that clear_nonfinite() took out of `keys`, which it sees; those
// of `weighed` have a weight above 0. v: of element 0 of this simdgroup's part.
template <typename T, class S>
GPU_FN void add_nonfinite(DEVICE const T* v, uint first, uint keys, uint weighed,
                          THREAD const TileView& view, uint b, DEVICE const int* block_table,
                          CONSTANT GpuAttnPrefill& p, THREADGROUP float* area, uint lane,
                          THREAD Floats* sums) {
  UNROLL for (int i = 0; i < S::kPart; i += 32) {
    float x[8];
    to_rows(sums + i / 8, (S::kPart - i) / 8, area, lane, x);
    const uint element = i + lane % 4 * 8;
    for (uint key = 0; key < S::kKeys && element < S::kPart; key++) {
      if ((keys >> key & 1) == 0) continue;
      const uint slot = (first + key + view.held.shift) % view.capacity;
      const CacheSlot found = find_slot(block_table, p.pages, b, slot, true);
      DEVICE const T* const from =
          v + (ulong(found.block) * p.v.batch + ulong(found.slot) * p.v.row + element);
      for (int j = 0; j < 8; j++) {
        const float value = float(from[j]);
        if (!is_finite(value)) x[j] = x[j] + ((weighed >> key & 1) != 0 ? value : NAN);
      }
    }
    to_matrices(x, area, lane, (S::kPart - i) / 8, sums + i / 8);
  }
}

// A row, as each of its four lanes has it.
struct Row {
  SeenKeys seen;
  int position;
  ulong cells;        // of the mask, of key 0
  float base, total;  // of weights: what they are relative to, and their sum
};

// The logit of a key; -infinity if the row does not see it.
GPU_FN float row_logit(float dot, uint key, THREAD const Row& row, float slope, bool masked,
                       DEVICE const uchar* mask, CONSTANT GpuAttnPrefill& p) {
  if (key < row.seen.lo || key >= row.seen.hi) return -INFINITY;
  float z = p.softmax_scale * dot;
  if (p.logits_soft_cap > 0.0f) z = p.logits_soft_cap * tanh(z / p.logits_soft_cap);
  float bias = masked ? mask_cell(mask, row.cells + key, p.mask.type) : 0.0f;
  if (bias == -INFINITY) return bias;
  if (p.slopes != 0) bias = bias + slope * float(int(key) - row.position);
  return z + bias;
}

// Logits become weights, kCount in each lane of a row. Returns the factor for what has been summed.
template <int kCount>
GPU_FN float weigh(THREAD Row& row, THREAD float* z) {
  float largest = ATTN_FLOOR, sum = 0.0f;
  UNROLL for (int j = 0; j < kCount; j++) largest = max(largest, z[j]);
  UNROLL for (int o = 1; o < 4; o *= 2) largest = max(largest, simd_shuffle_xor(largest, o));
  const float base = largest > row.base + ATTN_SLACK ? largest : row.base;
  const float keep = base == row.base || row.total == 0.0f ? 1.0f : exp(row.base - base);
  UNROLL for (int j = 0; j < kCount; j++) {
    z[j] = z[j] == -INFINITY ? 0.0f : exp(z[j] - base);
    sum = sum + z[j];
  }
  UNROLL for (int o = 1; o < 4; o *= 2) sum = sum + simd_shuffle_xor(sum, o);
  row.base = base;
  row.total = fma(row.total, keep, sum);
  return keep;
}

// Grid: tiles of queries; heads; sequences.
template <typename T, int kDim>
KERNEL(attn_prefill_simdgroup, IN(uchar, q), IN(T, k), IN(T, v), IN(int, kv_len), IN(int, q_offset),
       IN(int, ring_start), IN(int, prefix_len), IN(int, q_starts), IN(int, k_starts),
       IN(int, block_table), IN(uchar, mask), IN(uchar, classes), IN(float, sinks),
       IN(float, slopes), OUT(uchar, out), OUT(float, lse), PARAMS(GpuAttnPrefill, p)) {
  await_inputs();
  typedef Shape<kDim> S;
  SHARED(uint4, tile_memory, S::kKeys * S::kPitch / 8);
  SHARED(uint, there, S::kKeys);
  SHARED(float, areas, S::kSimds* S::kArea);
  SHARED(uint, wanted_by, S::kSimds);
  SHARED(uint, nonfinite_by, S::kSimds);
  const QueryTile queries = query_tile<S::kRows>(GROUP_ID.x, GROUP_ID.z, q_starts, p);
  if (!queries.there) return;
  const uint b = queries.b, head = GROUP_ID.y, share = SIMD_ID % S::kShares;
  THREADGROUP T* const tile = (THREADGROUP T*)tile_memory;
  THREADGROUP const T* const part = tile + share * S::kPart;
  THREADGROUP float* const area = areas + SIMD_ID * S::kArea;
  const TileView view =
      tile_view(queries, head, kv_len, q_offset, ring_start, prefix_len, k_starts, p);
  // Both ends of what a row sees grow with its position.
  const uint last = min(queries.first + S::kRows, queries.count) - 1;
  const SeenKeys of_first = seen_keys(view.offset + queries.first, view.prefix, view.held, p);
  const SeenKeys of_last = seen_keys(view.offset + last, view.prefix, view.held, p);
  SeenKeys seen, by_all;  // keys that some row sees, keys that every row sees
  seen.lo = of_first.lo;
  seen.hi = of_last.hi;
  by_all.lo = of_last.lo;
  by_all.hi = of_first.hi;
  const float slope = p.slopes != 0 ? slopes[head] : 0.0f;

  const uint at = queries.first + SIMD_ID / S::kShares * 8 + LANE / 4;
  const ulong query_row = queries.begin + at;
  const bool stored = at < queries.count;
  Row row;
  row.seen = seen_keys(view.offset + at, view.prefix, view.held, p);
  row.position = int(view.offset + at);
  row.cells = (view.plane * p.mask.rows + at) * p.mask.columns;
  row.base = ATTN_FLOOR;
  row.total = 0.0f;
  if (!stored) row.seen.hi = row.seen.lo;
  const bool sees = row.seen.lo < row.seen.hi;
  const uint lo = simd_min(sees ? row.seen.lo : ~0u), hi = simd_max(sees ? row.seen.hi : 0u);

  Floats query[S::kPart / 8], sums[S::kPart / 8];
  float x[kRowElements];  // eight are used
  UNROLL for (int i = 0; i < S::kPart; i += 32) {
    const ulong from = ulong(b) * p.q.batch + ulong(head) * p.q.head + query_row * p.q.row;
    load_query<4>(q, from + share * S::kPart + i, p.query_type, stored ? min(S::kPart - i, 32) : 0,
                  LANE % 4, p.vectors != 0, x);
    to_matrices(x, area, LANE, (S::kPart - i) / 8, query + i / 8);
  }
  UNROLL for (int i = 0; i < S::kPart / 8; i++) {
    sums[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
  for (uint first = seen.lo / S::kKeys * S::kKeys; first < seen.hi; first += S::kKeys) {
    const uint mask_class =
        p.mask.classes != 0 ? classes[view.class_row + first / kMaskKeyTile] : 1;
    if (mask_class == 0) continue;
    const bool masked = p.mask.type != kGpuMaskNone && mask_class != 2;
    const bool active = first < hi && first + S::kKeys > lo;  // for this simdgroup
    threadgroup_barrier(mem_flags::mem_threadgroup);
    copy_tile<T, S>(k + view.k_head, p.k.batch, p.k.row, first, seen, view, b, block_table, p, ~0u,
                    THREAD_ID, tile, there);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (active) put_scores<T, S>(query, part, area);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float weights[S::kKeys / 4], keep = 1.0f;
    uint wanted = 0;  // keys that are seen: by this row, then by some row
    if (active) {
      UNROLL for (int j = 0; j < S::kKeys / 4; j++) {
        const uint key = LANE % 4 + 4 * j;
        float dot = 0.0f;
        UNROLL for (int i = 0; i < S::kShares; i++) {
          dot = dot + areas[(SIMD_ID - share + i) * S::kArea + LANE / 4 * kAreaPitch + key];
        }
        weights[j] =
            there[key] == 0 ? -INFINITY : row_logit(dot, first + key, row, slope, masked, mask, p);
        if (weights[j] != -INFINITY) wanted = wanted | 1u << key;
      }
      keep = weigh<S::kKeys / 4>(row, weights);
    }
    UNROLL for (int o = 1; o < 4; o *= 2) wanted = wanted | simd_shuffle_xor(wanted, o);
    const uint by_row = wanted;
    UNROLL for (int o = 4; o < 32; o *= 2) wanted = wanted | simd_shuffle_xor(wanted, o);
    if (LANE == 0) wanted_by[SIMD_ID] = wanted;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    UNROLL for (int i = 0; i < S::kSimds; i++) wanted = wanted | wanted_by[i];
    copy_tile<T, S>(v + view.v_head, p.v.batch, p.v.row, first, seen, view, b, block_table, p,
                    wanted, THREAD_ID, tile, there);
    const bool mixed = masked || first < by_all.lo || first + S::kKeys > by_all.hi;
    uint nonfinite = 0;  // keys
    if (mixed) {
      nonfinite = clear_nonfinite<T, S>(THREAD_ID, tile);
      UNROLL for (int o = 1; o < 32; o *= 2) nonfinite = nonfinite | simd_shuffle_xor(nonfinite, o);
      if (LANE == 0) nonfinite_by[SIMD_ID] = nonfinite;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (!active) continue;
    if (mixed) {
      UNROLL for (int i = 0; i < S::kSimds; i++) nonfinite = nonfinite | nonfinite_by[i];
    }
    if (simd_min(keep) != 1.0f) {
      UNROLL for (int i = 0; i < S::kPart / 8; i += 4) {
        to_rows(sums + i, S::kPart / 8 - i, area, LANE, x);
        UNROLL for (int j = 0; j < 8; j++) x[j] = x[j] * keep;
        to_matrices(x, area, LANE, S::kPart / 8 - i, sums + i);
      }
      simdgroup_barrier(mem_flags::mem_threadgroup);
    }
    UNROLL for (int j = 0; j < S::kKeys / 4; j++) {
      area[LANE / 4 * kAreaPitch + LANE % 4 + 4 * j] = weights[j];
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    add_values<T, S>(area, part, sums);
    if (nonfinite != 0) {
      uint weighed = 0;
      UNROLL for (int j = 0; j < S::kKeys / 4; j++) {
        if (weights[j] > 0.0f) weighed = weighed | 1u << (LANE % 4 + 4 * j);
      }
      UNROLL for (int o = 1; o < 4; o *= 2) weighed = weighed | simd_shuffle_xor(weighed, o);
      add_nonfinite<T, S>(v + view.v_head + share * S::kPart, first, nonfinite & by_row, weighed,
                          view, b, block_table, p, area, LANE, sums);
    }
  }

  float keep = 1.0f;
  if (p.sinks != 0) keep = join_sink(sinks[head], &row.base, &row.total);
  const ulong to = ulong(b) * p.out.batch + ulong(head) * p.out.head + query_row * p.out.row;
  UNROLL for (int i = 0; i < S::kPart; i += 32) {
    to_rows(sums + i / 8, (S::kPart - i) / 8, area, LANE, x);
    UNROLL for (int j = 0; j < 8; j++) x[j] = x[j] * keep / row.total;
    store_outputs(out, to + share * S::kPart + i, p.query_type, stored ? min(S::kPart - i, 32) : 0,
                  LANE % 4 * 8, false, row.total != 0.0f, x);
  }
  if (p.lse != 0 && stored && share == 0 && LANE % 4 == 0) {
    const ulong sequence = p.q_starts != 0 ? 0 : b;
    lse[(sequence * p.num_heads + head) * p.q_len + query_row] = log_sum_exp(row.base, row.total);
  }
}

#define ATTN_DIM(dim)                                                              \
  INSTANTIATE(attn_prefill_simdgroup_f16_##dim, attn_prefill_simdgroup, half, dim) \
  INSTANTIATE(attn_prefill_simdgroup_bf16_##dim, attn_prefill_simdgroup, bfloat, dim)
ATTN_DIM(64)
ATTN_DIM(80)
ATTN_DIM(96)
ATTN_DIM(128)
ATTN_DIM(192)
ATTN_DIM(256)
ATTN_DIM(512)

KERNELS_END
