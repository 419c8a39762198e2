// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of sample get besides their buffers. Read by C++, CUDA and Metal.
#pragma once

// SampleRule of params.h in 4-byte words, low words first.
struct GpuSampleRule {
  unsigned int seed[2];
  unsigned int position[2];
  unsigned int history_len[2];
  float temperature;
  float top_p;
  float min_p;
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  int top_k;
  int penalty_window;
};
static_assert(sizeof(GpuSampleRule) == 56, "as SampleRule");

enum {
  kGpuSampleChunk = 128,    // elements of a row that a simdgroup sifts
  kGpuSampleThreads = 512,  // of a sequence whose row is sifted, and its spans at most
};

struct GpuSample {
  unsigned int vocab;
  unsigned int max_history;
  unsigned int num_suppress;
  unsigned int sequences;
  unsigned int range;         // elements of a row that one simdgroup takes, a multiple of 32
  unsigned int span;          // elements that have one maximum, whole chunks
  unsigned int spans;         // of a row; 0: rows are not sifted
  unsigned int history;       // 1: the operand is there
  unsigned int history_lens;  // 1: lengths come from it, 0: from the rules
  unsigned int positions;
  unsigned int sequence_ids;
  unsigned int edited;  // 1: draw from the edited logits
  unsigned int logprobs;
  float mass_one;  // a probability of 1 as an integer: 2^62 over vocab, a power of two
};
static_assert(sizeof(GpuSample) == 56, "4-byte scalars only");
