// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>

#include "backends/gpu.h"
#include "kernels/attn_prefill/gpu_args.h"
#include "kernels/attn_prefill/params.h"

namespace mlxn::kernels {

// Simdgroups of the shared kernel.
int64_t attn_prefill_simds(const AttnPrefillParams& p);
GpuAttnPrefill attn_prefill_args(const AttnPrefillParams& p);

// Whether every row of q, k, v and out is aligned to 16 bytes.
bool attn_prefill_has_vectors(const AttnPrefillParams& p);

// The grid of entries with tiles of `rows` queries: tiles, heads, sequences.
std::array<uint32_t, 3> attn_prefill_grid(const AttnPrefillParams& p, int64_t rows);

// With all operands and constants.
backends::GpuLaunch attn_prefill_launch(const AttnPrefillParams& p, std::string kernel,
                                        std::array<uint32_t, 3> groups, uint32_t threads);

// Of entries with that grid.
std::optional<std::string_view> attn_prefill_grid_refuses(const AttnPrefillParams& p);

std::optional<std::string_view> attn_prefill_gpu_refuses(const AttnPrefillParams& p);
void attn_prefill_gpu(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access);

// The kernels of metal.h.
std::optional<std::string_view> attn_prefill_simdgroup_leaves(const AttnPrefillParams& p);
void attn_prefill_simdgroup(StreamImpl& stream, const AttnPrefillParams& p,
                            backends::Access access);

}  // namespace mlxn::kernels
