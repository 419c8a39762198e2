// SPDX-License-Identifier: Apache-2.0
// Checks that the ops over coded caches share.
#pragma once

#include "kernels/turboquant/params.h"
#include "mlxn/ops/turboquant.h"
#include "ops/attention_args.h"

namespace mlxn::ops {

// bits, packing, codebook, signs and scale factor for rows of `dim` elements, dim too. `name` is
// the parameter that holds the format.
void check_tq_format(const char* op, const char* name, const TqFormat& format, int64_t dim);

// A cache of rows of `dim` elements, [batch, kv_heads, C, ..] (0: any). Returns C.
int64_t check_tq_rows(const char* op, const char* name, const Device& device, const TqRows& rows,
                      int64_t batch, int64_t kv_heads, int64_t dim);

}  // namespace mlxn::ops
