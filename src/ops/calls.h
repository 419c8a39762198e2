// SPDX-License-Identifier: Apache-2.0
// Checked calls of single ops, for the ops that stand for several. `op` names the caller in errors;
// nothing is recorded.
#pragma once

#include <optional>

#include "kernels/glu/params.h"
#include "kernels/kv_append/params.h"
#include "kernels/matmul/params.h"
#include "kernels/moe_combine/params.h"
#include "kernels/rope/params.h"
#include "kernels/turboquant/params.h"
#include "ops/fused.h"
#include "ops/fusion.h"

namespace mlxn::ops {

using kernels::Call;

Call<kernels::MatmulParams> matmul_call(const char* op, const Device& device,
                                        const MatmulArgs& args);
Call<kernels::MatmulParams> matmul_call(const char* op, const Device& device,
                                        const ExpertMatmulArgs& args);
Call<kernels::GluParams> glu_call(const char* op, const Device& device, const GluArgs& args);
Call<kernels::RopeParams> rope_call(const char* op, const Device& device,
                                    const HeadNormRopeArgs& args, bool norm = true);
// None if there is nothing to append. Host positions are copied to memory of the stream.
std::optional<Call<kernels::KvAppendParams>> kv_append_call(Stream& stream,
                                                            const KvAppendArgs& args);
std::optional<Call<kernels::TqEncodeParams>> tq_encode_call(Stream& stream,
                                                            const TqEncodeArgs& args);
Call<kernels::MoeCombineParams> moe_combine_call(const char* op, const Device& device,
                                                 const MoeCombineArgs& args);
NormCall norm_call(const char* op, const Device& device, const RmsNormArgs& args);
NormCall norm_call(const char* op, const Device& device, const RmsNormAddArgs& args);

}  // namespace mlxn::ops
