// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/sample/params.h"

namespace mlxn::kernels {

// Working memory of one sequence.
struct SampleMemory {
  float* edited;       // [vocab] if the call edits logits
  uint64_t* keys;      // [vocab] if the call draws
  double* block_sums;  // [vocab / kExpSumBlock + 1] if the call draws
};

// Sets suppressed tokens of sequence b to -infinity, then applies the rule's penalties.
void suppress_and_penalize(const SampleParams& p, int64_t b, float* logits);

void sample_avx512(StreamImpl& stream, const SampleParams& p, backends::Access access);
void sample_avx2(StreamImpl& stream, const SampleParams& p, backends::Access access);
void sample_baseline(StreamImpl& stream, const SampleParams& p, backends::Access access);

}  // namespace mlxn::kernels
