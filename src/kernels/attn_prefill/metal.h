// SPDX-License-Identifier: Apache-2.0
// attn_prefill over f16 or bf16 keys and values with the matrices of simdgroups: for Metal and the
// emulator only. A threadgroup takes kRows queries of a head through tiles of kKeys keys that start
// at multiples of kKeys. A simdgroup has eight of the rows and kShareDim elements of them, of
// queries and keys as of values and outputs; simdgroups with the same rows add up their scores.
//   scores[query][key] = Q K^T      out[query][element] += weights V
// Queries, scores and weights are floats: only sums are rounded. Metal does not say which lane has
// which element of a matrix, so what is done by row is done in threadgroup memory, where four lanes
// have a row. Weights stand relative to a logit that is at most kSlack below the row's largest so
// far, so that outputs are scaled anew only now and then. A tile in which a row sees nothing leaves
// its sums as they are: its bits depend on no other row. Buffers and their layout: gpu.h.
#include "kernels/attn_prefill/gpu_keys.h"

KERNELS_BEGIN(attn_prefill_simdgroup)

#define ATTN_SLACK 4.0f

typedef simdgroup_matrix<float, 8, 8> Floats;

template <int kHeadDim>
struct Shape {
  enum {
    kDim = kHeadDim,
    kShares = (kDim + 127) / 128,  // simdgroups with the same rows
    kShareDim = kDim / kShares,
    kParts = kShareDim / 16,  // of two matrices
    kSimds = kDim > 256 ? 8 : 4,
    kRows = 8 * kSimds / kShares,
    kKeys = kDim > 256 ? 16 : 32,
    kPieces = kDim / 8,     // of 16 bytes, of a key
    kTilePitch = kDim + 8,  // elements from key to key: eight keys in different banks
    kPitch = kKeys + 4,     // floats from row to row of an area
    kArea = 8 * kPitch      // what a simdgroup has for scores, and for 16 elements of its rows
  };
};

// Where the keys of a tile lie, those that some row of the threadgroup may see.
struct KeyTile {
  HeldKeys held;
  uint b, begin, end;  // positions that are seen
  uint capacity;
  uint first, first_slot;  // position and slot of key 0
};

// Rows of K or V of a tile into threadgroup memory. Keys that are not there are zeros, and
// there[key] says so.
template <typename T, class S>
GPU_FN void copy_tile(DEVICE const T* rows, uint page, uint row, THREAD const KeyTile& keys,
                      DEVICE const int* block_table, CONSTANT GpuAttnPrefill& p, uint thread_id,
                      THREADGROUP T* tile, THREADGROUP uint* there) {
  for (uint i = thread_id; i < S::kKeys * S::kPieces; i += 32 * S::kSimds) {
    const uint key = i / S::kPieces, at = 8 * (i % S::kPieces), position = keys.first + key;
    uint slot = keys.first_slot + key;
    if (slot >= keys.capacity) slot = slot % keys.capacity;
    const CacheSlot found =
        find_slot(block_table, p.pages, keys.b, slot,
                  position >= keys.begin && position < keys.end && slot < keys.held.num_valid);
    DEVICE const T* const from = rows + ulong(found.block) * page + ulong(found.slot) * row + at;
    THREADGROUP T* const to = tile + key * S::kTilePitch + at;
    if (found.held && p.vectors != 0) {
      *(THREADGROUP uint4*)to = *(DEVICE const uint4*)from;
    } else {
      UNROLL for (int j = 0; j < 8; j++) to[j] = found.held ? from[j] : T(0.0f);
    }
    if (at == 0) there[key] = found.held ? 1 : 0;
  }
}

// Four elements of a query row of any type; zeros if the row is not there.
GPU_FN void load_query4(DEVICE const uchar* q, ulong at, bool there, CONSTANT GpuAttnPrefill& p,
                        THREAD float* x) {
  const uint left = there ? 4 : 0;
  if (p.query_type == kGpuQueryF32) {
    load_row<4>((DEVICE const float*)q + at, left, p.vectors != 0, x);
  } else if (p.query_type == kGpuQueryF16) {
    load_row<4>((DEVICE const half*)q + at, left, p.vectors != 0, x);
  } else {
    load_row<4>((DEVICE const bfloat*)q + at, left, p.vectors != 0, x);
  }
}

// The eight rows of two matrices by way of an area: a lane has elements `column` to `column` + 3 of
// row lane / 4.
template <class S>
GPU_FN void rows_to_matrices(THREAD const float* x, THREADGROUP float* area, uint lane,
                             THREAD Floats* m) {
  const uint at = lane / 4 * S::kPitch + 4 * (lane % 4);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  UNROLL for (int j = 0; j < 4; j++) area[at + j] = x[j];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_load(m[0], area, S::kPitch);
  simdgroup_load(m[1], area + 8, S::kPitch);
}
template <class S>
GPU_FN void matrices_to_rows(THREAD Floats* m, THREADGROUP float* area, uint lane,
                             THREAD float* x) {
  const uint at = lane / 4 * S::kPitch + 4 * (lane % 4);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_store(m[0], area, S::kPitch);
  simdgroup_store(m[1], area + 8, S::kPitch);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  UNROLL for (int j = 0; j < 4; j++) x[j] = area[at + j];
}

// A simdgroup's part of the scores of its rows with the keys of a tile, into its area.
template <typename T, class S>
GPU_FN void put_scores(THREAD Floats* query, THREADGROUP const T* tile, THREADGROUP float* area) {
  Floats scores[S::kKeys / 8];
  UNROLL for (int n = 0; n < S::kKeys / 8; n++) {
    scores[n] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
  UNROLL for (int i = 0; i < S::kShareDim / 8; i++) {
    UNROLL for (int n = 0; n < S::kKeys / 8; n++) {
      simdgroup_matrix<T, 8, 8> keys;
      simdgroup_load(keys, tile + 8 * n * S::kTilePitch + 8 * i, S::kTilePitch, 0, true);
      simdgroup_multiply_accumulate(scores[n], query[i], keys, scores[n]);
    }
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  UNROLL for (int n = 0; n < S::kKeys / 8; n++) simdgroup_store(scores[n], area + 8 * n, S::kPitch);
}

// Adds the weighted values of a tile; the weights are in the simdgroup's area.
template <typename T, class S>
GPU_FN void add_values(THREADGROUP const float* area, THREADGROUP const T* tile,
                       THREAD Floats* sums) {
  UNROLL for (int n = 0; n < S::kKeys / 8; n++) {
    Floats weights;
    simdgroup_load(weights, area + 8 * n, S::kPitch);
    UNROLL for (int i = 0; i < S::kShareDim / 8; i++) {
      simdgroup_matrix<T, 8, 8> values;
      simdgroup_load(values, tile + 8 * n * S::kTilePitch + 8 * i, S::kTilePitch);
      simdgroup_multiply_accumulate(sums[i], weights, values, sums[i]);
    }
  }
}

// A row, as each of its four lanes has it.
struct Row {
  SeenKeys seen;
  int position;
  ulong cells;  // of the mask, of key 0
  float base;   // what weights are relative to
  float total;
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

// Logits of a row, kCount in each of its lanes, become weights. Returns the factor for what has
// been summed up.
template <int kCount>
GPU_FN float weigh(THREAD Row& row, THREAD float* z) {
  float largest = ATTN_FLOOR, sum = 0.0f;
  UNROLL for (int j = 0; j < kCount; j++) largest = max(largest, z[j]);
  UNROLL for (int o = 1; o < 4; o *= 2) largest = max(largest, simd_shuffle_xor(largest, o));
  const float base = largest > row.base + ATTN_SLACK ? largest : row.base;
  const float keep = base == row.base ? 1.0f : exp(row.base - base);
  UNROLL for (int j = 0; j < kCount; j++) {
    z[j] = z[j] == -INFINITY ? 0.0f : exp(z[j] - base);
    sum = sum + z[j];
  }
  UNROLL for (int o = 1; o < 4; o *= 2) sum = sum + simd_shuffle_xor(sum, o);
  const bool first = row.total == 0.0f;  // nothing to scale
  row.base = base;
  row.total = fma(row.total, keep, sum);
  return first ? 1.0f : keep;
}

// Grid: tiles of queries; heads; sequences.
template <typename T, int kDim>
KERNEL(attn_prefill_simdgroup, IN(uchar, q), IN(T, k), IN(T, v), IN(int, kv_len), IN(int, q_offset),
       IN(int, ring_start), IN(int, prefix_len), IN(int, q_starts), IN(int, k_starts),
       IN(int, block_table), IN(uchar, mask), IN(uchar, classes), IN(float, sinks),
       IN(float, slopes), OUT(uchar, out), OUT(float, lse), PARAMS(GpuAttnPrefill, p)) {
  await_inputs();
  typedef Shape<kDim> S;
  SHARED(uint4, tile_memory, S::kKeys * S::kTilePitch / 8);
  SHARED(uint, there, S::kKeys);
  SHARED(float, areas, S::kSimds* S::kArea);
  const QueryTile queries = query_tile<S::kRows>(GROUP_ID.x, GROUP_ID.z, q_starts, p);
  if (!queries.there) return;
  THREADGROUP T* const tile = (THREADGROUP T*)tile_memory;
  THREADGROUP float* const area = areas + SIMD_ID * S::kArea;
  const uint share = SIMD_ID % S::kShares, head = GROUP_ID.y;
  THREADGROUP const T* const part_of_tile = tile + share * S::kShareDim;

  KeyTile keys;
  const SequenceKeys sequence = sequence_keys(kv_len, ring_start, k_starts, queries.b, p);
  keys.held = sequence.held;
  keys.capacity = sequence.capacity;
  keys.b = queries.b;
  const long offset =
      p.q_offset != 0 ? long(q_offset[keys.b]) : long(keys.held.end) - long(queries.count);
  const long prefix = p.prefix_len != 0 ? long(prefix_len[keys.b]) : 0;
  // Both ends of what a row sees grow with its position.
  const uint last = min(queries.first + S::kRows, queries.count) - 1;
  keys.begin = seen_keys(offset + queries.first, prefix, keys.held, p).lo;
  keys.end = seen_keys(offset + last, prefix, keys.held, p).hi;
  const ulong group = head / p.group;
  DEVICE const T* const k_head = k + (group * p.k.head + ulong(sequence.begin) * p.k.row);
  DEVICE const T* const v_head = v + (group * p.v.head + ulong(sequence.begin) * p.v.row);

  const uint at = queries.first + 8 * (SIMD_ID / S::kShares) + LANE / 4;
  const uint element = share * S::kShareDim + 4 * (LANE % 4);  // of the lane, in the first part
  const ulong query_row = queries.begin + at;
  const bool stored = at < queries.count;
  const ulong plane = ulong(keys.b) * p.mask.batch + ulong(head) * p.mask.head;
  const ulong class_row =
      (plane * p.mask.tile_rows + queries.first / kMaskRowTile) * p.mask.tile_columns;
  const float slope = p.slopes != 0 ? slopes[head] : 0.0f;
  Row row;
  row.seen = seen_keys(offset + at, prefix, keys.held, p);
  if (!stored) row.seen.lo = row.seen.hi = 0;
  row.position = int(offset + at);
  row.cells = (plane * p.mask.rows + at) * p.mask.columns;
  row.base = ATTN_FLOOR;
  row.total = 0.0f;
  const bool sees = row.seen.lo < row.seen.hi;
  const uint lo = simd_min(sees ? row.seen.lo : ~0u), hi = simd_max(sees ? row.seen.hi : 0u);

  Floats query[2 * S::kParts], sums[2 * S::kParts];
  const ulong q_row = ulong(keys.b) * p.q.batch + ulong(head) * p.q.head + query_row * p.q.row;
  UNROLL for (int part = 0; part < S::kParts; part++) {
    float x[4];
    load_query4(q, q_row + element + 16 * part, stored, p, x);
    rows_to_matrices<S>(x, area, LANE, query + 2 * part);
    sums[2 * part] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    sums[2 * part + 1] = sums[2 * part];
  }

  for (uint first = keys.begin / S::kKeys * S::kKeys; first < keys.end; first += S::kKeys) {
    const uint mask_class = p.mask.classes != 0 ? classes[class_row + first / kMaskKeyTile] : 1;
    if (mask_class == 0) continue;
    const bool masked = p.mask.type != kGpuMaskNone && mask_class != 2;
    const bool active = first < hi && first + S::kKeys > lo;  // for this simdgroup
    keys.first = first;
    keys.first_slot = (first + keys.held.shift) % keys.capacity;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    copy_tile<T, S>(k_head, p.k.batch, p.k.row, keys, block_table, p, THREAD_ID, tile, there);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (active) put_scores<T, S>(query, part_of_tile, area);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float weights[S::kKeys / 4], keep = 1.0f;
    if (active) {
      UNROLL for (int j = 0; j < S::kKeys / 4; j++) {
        const uint key = LANE % 4 + 4 * j;
        float dot = 0.0f;
        UNROLL for (int s = 0; s < S::kShares; s++) {
          dot = dot + areas[(SIMD_ID - share + s) * S::kArea + LANE / 4 * S::kPitch + key];
        }
        weights[j] =
            there[key] == 0 ? -INFINITY : row_logit(dot, first + key, row, slope, masked, mask, p);
      }
      keep = weigh<S::kKeys / 4>(row, weights);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    copy_tile<T, S>(v_head, p.v.batch, p.v.row, keys, block_table, p, THREAD_ID, tile, there);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (!active) continue;
    if (simd_max(keep != 1.0f ? 1u : 0u) != 0) {
      UNROLL for (int part = 0; part < S::kParts; part++) {
        float x[4];
        matrices_to_rows<S>(sums + 2 * part, area, LANE, x);
        UNROLL for (int j = 0; j < 4; j++) x[j] = x[j] * keep;
        rows_to_matrices<S>(x, area, LANE, sums + 2 * part);
      }
      simdgroup_barrier(mem_flags::mem_threadgroup);
    }
    UNROLL for (int j = 0; j < S::kKeys / 4; j++) {
      area[LANE / 4 * S::kPitch + LANE % 4 + 4 * j] = weights[j];
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    add_values<T, S>(area, part_of_tile, sums);
  }

  float keep = 1.0f;
  if (p.sinks != 0) keep = join_sink(sinks[head], &row.base, &row.total);
  const ulong out_row =
      ulong(keys.b) * p.out.batch + ulong(head) * p.out.head + query_row * p.out.row;
  UNROLL for (int part = 0; part < S::kParts; part++) {
    float x[4];
    matrices_to_rows<S>(sums + 2 * part, area, LANE, x);
    UNROLL for (int j = 0; j < 4; j++) {
      if (stored) {
        store_output(out, out_row + element + 16 * part + j, p.query_type,
                     row.total == 0.0f ? 0.0f : x[j] * keep / row.total);
      }
    }
  }
  if (p.lse != 0 && stored && share == 0 && LANE % 4 == 0) {
    const ulong sequence_at = p.q_starts != 0 ? 0 : keys.b;
    lse[(sequence_at * p.num_heads + head) * p.q_len + query_row] =
        log_sum_exp(row.base, row.total);
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
