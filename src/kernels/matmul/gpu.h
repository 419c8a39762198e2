// SPDX-License-Identifier: Apache-2.0
// matmul and expert_matmul: a simdgroup multiplies kRows weight rows by up to kXRows rows of x,
// lanes along k, so that weights are decoded in registers and once for all those rows. A lane adds
// its products in the order of k and the lanes' sums join at the end: the bits of a result do not
// depend on the tile it is in.
//   data, scales, biases: rows of the weight   x [x rows, cols]   ids [out rows]
//   residual, out [out rows, rows]
#include "kernels/dequantize/gpu_decode.h"
#include "kernels/matmul/gpu_args.h"
#include "kernels/matmul/gpu_element.h"

KERNELS_BEGIN(matmul)

enum { kRows = 4 };  // weight rows of a simdgroup

// Elements at .. at + 7 of a row of x; those from `left` on are 0.
GPU_FN void load_x(DEVICE const uchar* x, ulong at, uint left, uint type, bool vectors,
                   THREAD float* v) {
  if (type == kGpuMatmulF32) {
    load_row<8>((DEVICE const float*)x + at, left, vectors, v);
  } else if (type == kGpuMatmulF16) {
    load_row<8>((DEVICE const half*)x + at, left, vectors, v);
  } else {
    load_row<8>((DEVICE const bfloat*)x + at, left, vectors, v);
  }
}

template <typename F, int kXRows>
KERNEL(matmul, IN(uchar, data), IN(uchar, scales), IN(uchar, biases), IN(uchar, x), IN(uint, ids),
       SHADOW(uchar, residual), OUT(uchar, out), PARAMS(GpuMatmul, p)) {
  await_inputs();
  // Tiles of out rows are neighbours, so that they find the weights in the cache.
  const uint first_row = (GROUP_ID.x / p.tiles * NUM_SIMDS + SIMD_ID) * kRows;
  const uint first_out = GROUP_ID.x % p.tiles * kXRows;
  if (first_row >= p.rows) return;
  // Rows beyond the last repeat it, and are not stored.
  const uint expert = p.has_ids != 0 ? ids[first_out] : 0;
  WeightRow weight[kRows];
  UNROLL for (int r = 0; r < kRows; r++) {
    const ulong row = ulong(expert) * p.rows + min(first_row + r, p.rows - 1);
    weight[r].data = data + row * p.row_bytes;
    weight[r].scales = scales + row * p.row_scale_bytes;
    weight[r].biases = biases + row * p.row_scale_bytes;
    weight[r].bits = p.bits;
    weight[r].group_size = p.group_size;
    weight[r].has_biases = p.has_biases != 0;
    weight[r].vectors = p.w_vectors != 0;
  }
  ulong x_at[kXRows];
  UNROLL for (int m = 0; m < kXRows; m++) {
    x_at[m] = ulong(min(first_out + m, p.out_rows - 1) / p.rows_per_x) * p.cols;
  }

  float sums[kRows][kXRows];
  UNROLL for (int r = 0; r < kRows; r++) {
    UNROLL for (int m = 0; m < kXRows; m++) sums[r][m] = 0.0f;
  }
  const uint cols = expert < p.experts ? p.cols : 0;
  for (uint at = 8 * LANE; at < cols; at += 8 * SIMD_WIDTH) {
    const uint left = cols - at;
    float w[kRows][8];
    UNROLL for (int r = 0; r < kRows; r++) F::decode8(weight[r], at, left, w[r]);
    UNROLL for (int m = 0; m < kXRows; m++) {
      float v[8];
      load_x(x, x_at[m] + at, left, p.x_type, p.x_vectors != 0, v);
      UNROLL for (int r = 0; r < kRows; r++) {
        UNROLL for (int j = 0; j < 8; j++) sums[r][m] = fma(w[r][j], v[j], sums[r][m]);
      }
    }
  }

  // Lane r * kXRows + m stores the result of weight row r and row m of x.
  float result = 0.0f;
  UNROLL for (int r = 0; r < kRows; r++) {
    UNROLL for (int m = 0; m < kXRows; m++) {
      const float sum = simd_sum(sums[r][m]);
      if (LANE == uint(r * kXRows + m)) result = sum;
    }
  }
  const uint row = first_row + LANE / kXRows, out_row = first_out + LANE % kXRows;
  if (LANE < uint(kRows * kXRows) && row < p.rows && out_row < p.out_rows) {
    const ulong to = ulong(out_row) * p.rows + row;
    if (p.has_residual != 0) result = result + load_element(residual, to, p.out_type);
    store_element(out, to, p.out_type, result);
  }
}

#define MATMUL_KERNELS(name, ...)                      \
  INSTANTIATE(matmul_1_##name, matmul, __VA_ARGS__, 1) \
  INSTANTIATE(matmul_2_##name, matmul, __VA_ARGS__, 2) \
  INSTANTIATE(matmul_4_##name, matmul, __VA_ARGS__, 4) \
  INSTANTIATE(matmul_8_##name, matmul, __VA_ARGS__, 8)

MATMUL_KERNELS(f32, Dense<float>)
MATMUL_KERNELS(f16, Dense<half>)
MATMUL_KERNELS(bf16, Dense<bfloat>)
MATMUL_KERNELS(q4_0, Q4_0)
MATMUL_KERNELS(q4_1, Q4_1)
MATMUL_KERNELS(q5_0, Q5_0)
MATMUL_KERNELS(q5_1, Q5_1)
MATMUL_KERNELS(q8_0, Q8_0)
MATMUL_KERNELS(q2_k, Q2_K)
MATMUL_KERNELS(q3_k, Q3_K)
MATMUL_KERNELS(q4_k, Q4_K)
MATMUL_KERNELS(q5_k, Q5_K)
MATMUL_KERNELS(q6_k, Q6_K)
MATMUL_KERNELS(iq4_nl, IQ4_NL)
MATMUL_KERNELS(iq4_xs, IQ4_XS)
MATMUL_KERNELS(mxfp4, MXFP4)
MATMUL_KERNELS(mlx_mxfp4, MlxMxfp4)
MATMUL_KERNELS(mlx_mxfp8, MlxMxfp8)
MATMUL_KERNELS(mlx_nvfp4, MlxNvfp4)
MATMUL_KERNELS(affine_f32, Affine<float>)
MATMUL_KERNELS(affine_f16, Affine<half>)
MATMUL_KERNELS(affine_bf16, Affine<bfloat>)

KERNELS_END
