// SPDX-License-Identifier: Apache-2.0
// dequantize and embed: a thread decodes eight elements of one row. One kernel per format serves
// both ops and the three output types, so that there are not six times as many to compile.
//   data, scales, biases: rows of the weight   ids [output rows]   out [output rows, cols]
#include "kernels/dequantize/gpu_args.h"
#include "kernels/dequantize/gpu_decode.h"

KERNELS_BEGIN(dequantize)

template <typename F>
KERNEL(dequantize, IN(uchar, data), IN(uchar, scales), IN(uchar, biases), IN(int, ids),
       OUT(uchar, out), PARAMS(GpuDequantize, p)) {
  await_inputs();
  const uint piece = GROUP_ID.x * GROUP_SIZE + THREAD_ID;
  if (piece >= p.pieces) return;
  const uint at = piece % p.row_pieces * 8, out_row = piece / p.row_pieces;
  const uint row = p.ids != 0 ? uint(ids[out_row]) : out_row;  // a negative id is beyond every row
  float v[8];
  if (row < p.rows) {
    WeightRow source;
    source.data = data + ulong(row) * p.row_bytes;
    source.scales = scales + ulong(row) * p.row_scale_bytes;
    source.biases = biases + ulong(row) * p.row_scale_bytes;
    source.bits = p.bits;
    source.group_size = p.group_size;
    source.has_biases = p.has_biases != 0;
    source.vectors = p.vectors != 0;
    F::decode8(source, at, p.cols - at, v);
    UNROLL for (int j = 0; j < 8; j++) v[j] = v[j] * p.scale;
  } else {
    UNROLL for (int j = 0; j < 8; j++) v[j] = 0.0f;
  }
  const ulong to = ulong(out_row) * p.cols + at;
  const uint left = p.cols - at;
  if (p.out_type == kGpuOutF32) {
    store_row<8>((DEVICE float*)out + to, left, p.vectors != 0, v);
  } else if (p.out_type == kGpuOutF16) {
    store_row<8>((DEVICE half*)out + to, left, p.vectors != 0, v);
  } else {
    store_row<8>((DEVICE bfloat*)out + to, left, p.vectors != 0, v);
  }
}

INSTANTIATE(dequantize_f32, dequantize, Dense<float>)
INSTANTIATE(dequantize_f16, dequantize, Dense<half>)
INSTANTIATE(dequantize_bf16, dequantize, Dense<bfloat>)
INSTANTIATE(dequantize_q4_0, dequantize, Q4_0)
INSTANTIATE(dequantize_q4_1, dequantize, Q4_1)
INSTANTIATE(dequantize_q5_0, dequantize, Q5_0)
INSTANTIATE(dequantize_q5_1, dequantize, Q5_1)
INSTANTIATE(dequantize_q8_0, dequantize, Q8_0)
INSTANTIATE(dequantize_q2_k, dequantize, Q2_K)
INSTANTIATE(dequantize_q3_k, dequantize, Q3_K)
INSTANTIATE(dequantize_q4_k, dequantize, Q4_K)
INSTANTIATE(dequantize_q5_k, dequantize, Q5_K)
INSTANTIATE(dequantize_q6_k, dequantize, Q6_K)
INSTANTIATE(dequantize_iq4_nl, dequantize, IQ4_NL)
INSTANTIATE(dequantize_iq4_xs, dequantize, IQ4_XS)
INSTANTIATE(dequantize_mxfp4, dequantize, MXFP4)
INSTANTIATE(dequantize_mlx_mxfp4, dequantize, MlxMxfp4)
INSTANTIATE(dequantize_mlx_mxfp8, dequantize, MlxMxfp8)
INSTANTIATE(dequantize_mlx_nvfp4, dequantize, MlxNvfp4)
INSTANTIATE(dequantize_affine_f32, dequantize, Affine<float>)
INSTANTIATE(dequantize_affine_f16, dequantize, Affine<half>)
INSTANTIATE(dequantize_affine_bf16, dequantize, Affine<bfloat>)

KERNELS_END
