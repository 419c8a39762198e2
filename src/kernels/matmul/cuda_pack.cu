// SPDX-License-Identifier: Apache-2.0
// Packs rows of a weight into panels (quant/panels.h): a group of threads writes one span of one
// panel.
//   data, scales, biases: rows of the weight   packed: panels
#include "kernels/common/gpu.h"
#include "kernels/matmul/cuda_args.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_pack {

enum { kPanelRows = 16, kSpanElements = 256 };

// to[i][16 rows] of `size` bytes each: bytes first + i * stride of the rows.
GPU_FN void interleave(const uchar* rows, const uint* row_at, uint row_bytes, uint first,
                       uint stride, uint count, uint size, uchar* to) {
  for (uint i = threadIdx.x; i < count * kPanelRows; i += blockDim.x) {
    const uchar* from =
        rows + ulong(row_at[i % kPanelRows]) * row_bytes + first + ulong(i / kPanelRows) * stride;
    for (uint b = 0; b < size; b++) to[i * size + b] = from[b];
  }
}

__global__ void matmul_pack(const uchar* data, const uchar* scales, const uchar* biases,
                            uchar* packed, const CudaPack p) {
  await_inputs();
  __shared__ uint row_at[kPanelRows];
  const uint panel = blockIdx.x / p.spans, span = blockIdx.x % p.spans;
  if (threadIdx.x < kPanelRows) {
    const uint expert = panel / p.panels;
    const uint row = min(panel % p.panels * kPanelRows + threadIdx.x, p.rows - 1);
    row_at[threadIdx.x] = expert * p.rows + row;
  }
  __syncthreads();
  const uint k = span * kSpanElements, elements = min(p.cols - k, uint(kSpanElements));
  uchar* const out = packed + ulong(panel) * p.panel_bytes + ulong(span) * p.span_bytes;
  uchar* head = out;
  if (p.group_size != 0) {
    const uint groups = elements / p.group_size, first = k / p.group_size * p.scale_size;
    interleave(scales, row_at, p.row_scale_bytes, first, p.scale_size, groups, p.scale_size, head);
    head += groups * kPanelRows * p.scale_size;
    if (p.has_biases != 0) {
      interleave(biases, row_at, p.row_scale_bytes, first, p.scale_size, groups, p.scale_size,
                 head);
      head += groups * kPanelRows * p.scale_size;
    }
  }
  const uint blocks = elements / p.block_elements, stride = p.side_size + 4 * p.words;
  const uint first = k / p.block_elements * stride;
  if (p.side_size != 0) {
    interleave(data, row_at, p.row_bytes, first + p.side_at, stride, blocks, p.side_size, head);
    head += blocks * kPanelRows * p.side_size;
  }
  uchar* const words = out + (span + 1 < p.spans ? p.head_bytes : p.last_head_bytes);
  for (uchar* pad = head + threadIdx.x; pad < words; pad += blockDim.x) *pad = 0;
  for (uint i = threadIdx.x; i < blocks * p.words * kPanelRows; i += blockDim.x) {
    const uint unit = i / kPanelRows;
    const uchar* from = data + ulong(row_at[i % kPanelRows]) * p.row_bytes + first + p.words_at +
                        ulong(unit / p.words) * stride + unit % p.words * 4;
    reinterpret_cast<uint*>(words)[i] =
        from[0] | uint(from[1]) << 8 | uint(from[2]) << 16 | uint(from[3]) << 24;
  }
}

EXPORT(matmul_pack)

}  // namespace kernels_matmul_pack
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
