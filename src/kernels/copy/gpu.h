// SPDX-License-Identifier: Apache-2.0
// Bytes from one buffer to another, between any two addresses. Backends launch it for copies that
// are in order with other work; it is no op.
#include "backends/gpu_copy.h"
#include "kernels/common/gpu_rows.h"

KERNELS_BEGIN(copy)

// Threads take a piece of 16 bytes each.
KERNEL(copy_bytes, IN(uchar, from), OUT(uchar, to), PARAMS(GpuCopy, p)) {
  await_inputs();
  const uint piece = GROUP_ID.x * GROUP_SIZE + THREAD_ID;
  if (piece >= p.pieces) return;
  const ulong at = 16 * ulong(piece);
  const uint bytes = piece + 1 == p.pieces ? p.tail : 16;
  if (p.vectors != 0 && bytes == 16) {
    copy16(from + at, to + at);
  } else {
    for (uint i = 0; i < bytes; i++) to[at + i] = from[at + i];
  }
}
EXPORT(copy_bytes)

KERNELS_END
