// SPDX-License-Identifier: Apache-2.0
// sample with SIMD, a sequence a task. Filters work on as few candidates as they can: top_k
// selects, top_p looks at more and more of the best until their mass suffices, and without filters
// the draw walks over sums of blocks. The drawn token is the first kept one, by index, at which the
// running sum of probabilities exceeds the uniform number.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sample/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/argmax_row-inl.h"
#include "kernels/common/exp_sum-inl.h"
#include "kernels/common/simd.h"
#include "kernels/common/top_keys-inl.h"
#include "kernels/sample/cpu.h"
#include "kernels/sample/philox.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Log-softmax of x at `token`; NaN where the softmax is.
float LogProbability(const float* x, int64_t count, int64_t token) {
  const RowMax row = MaxOfRow(x, count);
  if (row.has_nan || std::isinf(row.max)) return std::numeric_limits<float>::quiet_NaN();
  const double sum = ExpSum(x, count, row.max, 1.0f, nullptr, nullptr);
  return static_cast<float>(double{x[token]} - row.max - std::log(sum));
}

// A draw from the softmax of x / temperature over the whole row.
int64_t DrawFromRow(const float* x, int64_t count, float max, float temperature, double uniform,
                    double* block_sums) {
  const float scale = std::min(1.0f / temperature, std::numeric_limits<float>::max());
  const double target = uniform * ExpSum(x, count, max, scale, nullptr, block_sums);
  // The block where the sum passes the target; should rounding leave none, the last with any mass.
  int64_t begin = 0;
  double sum = 0.0, before = 0.0;
  for (int64_t at = 0; at < count && sum <= target; at += kExpSumBlock) {
    const double mass = block_sums[at / kExpSumBlock];
    if (mass > 0.0) {
      begin = at;
      before = sum;
    }
    sum += mass;
  }
  const int64_t len = std::min(kExpSumBlock, count - begin);
  float terms[kExpSumBlock];
  ExpSum(x + begin, len, max, scale, terms, nullptr);
  int64_t token = begin;
  for (int64_t i = 0; i < len && before <= target; ++i) {
    if (terms[i] > 0.0f) token = begin + i;
    before += terms[i];
  }
  return token;
}

// How many of the candidates, which are in rank order, top_p and min_p keep. `total` is the mass
// that top_p is a part of, on the scale of e^(x - max).
struct Kept {
  int64_t count;
  bool mass_reached;  // false: top_p wants more candidates than there are
};

Kept FilterRanked(const float* x, const uint64_t* keys, int64_t count, float max,
                  const SampleRule& rule, double total) {
  const double wanted = rule.top_p < 1.0f ? double{rule.top_p} * total : kInf;
  const double floor = rule.min_p > 0.0f ? max + std::log(double{rule.min_p}) : -kInf;
  double mass = 0.0;
  for (int64_t j = 0; j < count; ++j) {
    const double value = x[rank_index(keys[j])];
    if (j > 0 && (mass >= wanted || value < floor)) return {j, true};
    mass += std::exp(value - max);
  }
  return {count, mass >= wanted || rule.top_p >= 1.0f};
}

double MassOfRanked(const float* x, const uint64_t* keys, int64_t count, float max) {
  double mass = 0.0;
  for (int64_t j = 0; j < count; ++j) mass += std::exp(double{x[rank_index(keys[j])]} - max);
  return mass;
}

// A draw from the candidates. On return `keys` holds their indices, ascending.
int64_t DrawFromKeys(const float* x, uint64_t* keys, int64_t count, float max, float temperature,
                     double uniform) {
  for (int64_t j = 0; j < count; ++j) keys[j] = rank_index(keys[j]);
  std::sort(keys, keys + count);
  const auto weight = [&](int64_t j) {
    return std::exp((double{x[keys[j]]} - max) / double{temperature});
  };
  double total = 0.0;
  for (int64_t j = 0; j < count; ++j) total += weight(j);
  double sum = 0.0;
  uint64_t last = keys[0];
  for (int64_t j = 0; j < count; ++j) {
    const double w = weight(j);
    if (w > 0.0) last = keys[j];
    sum += w;
    if (sum > uniform * total) break;
  }
  return static_cast<int64_t>(last);
}

// Collects what min_p keeps of the whole row.
int64_t KeysAboveFloor(const float* x, int64_t count, float max, float min_p, uint64_t* keys) {
  const double floor = max + std::log(double{min_p});
  const float below = std::nextafter(static_cast<float>(floor), -kInf);
  int64_t kept = 0, i = 0;
  while (i < count) {
    i = FirstBlockAbove(x, i, count, below);
    for (const int64_t stop = std::min(count, i + 64); i < stop; ++i) {
      if (double{x[i]} >= floor) keys[kept++] = rank_key(x[i], static_cast<uint32_t>(i));
    }
  }
  return kept;
}

// A draw under the rule's filters. keys: room for vocab elements.
int64_t Draw(const float* x, int64_t vocab, const SampleRule& rule, double uniform, uint64_t* keys,
             double* block_sums) {
  const RowMax row = MaxOfRow(x, vocab);
  if (row.has_nan || std::isinf(row.max)) return 0;
  const float max = row.max;
  const bool has_top_k = rule.top_k > 0 && rule.top_k < vocab;
  if (!has_top_k && rule.top_p >= 1.0f) {
    if (rule.min_p <= 0.0f) {
      return DrawFromRow(x, vocab, max, rule.temperature, uniform, block_sums);
    }
    const int64_t kept = KeysAboveFloor(x, vocab, max, rule.min_p, keys);
    return DrawFromKeys(x, keys, kept, max, rule.temperature, uniform);
  }
  if (has_top_k) {
    TopKeys(x, vocab, rule.top_k, keys);
    const double total = MassOfRanked(x, keys, rule.top_k, max);
    const Kept kept = FilterRanked(x, keys, rule.top_k, max, rule, total);
    return DrawFromKeys(x, keys, kept.count, max, rule.temperature, uniform);
  }
  const double total = ExpSum(x, vocab, max, 1.0f, nullptr, nullptr);
  for (int64_t ranked = std::min<int64_t>(vocab, 256);;
       ranked = std::min<int64_t>(vocab, ranked * 8)) {
    TopKeys(x, vocab, ranked, keys);
    const Kept kept = FilterRanked(x, keys, ranked, max, rule, total);
    if (kept.mass_reached || ranked == vocab) {
      return DrawFromKeys(x, keys, kept.count, max, rule.temperature, uniform);
    }
  }
}

void SampleSequence(const SampleParams& p, int64_t b, const SampleMemory& memory) {
  const SampleRule& rule = p.rules[b];
  const float* raw = p.logits + b * p.vocab;
  const float* x = raw;
  if (p.edits_logits) {
    std::copy(raw, raw + p.vocab, memory.edited);
    suppress_and_penalize(p, b, memory.edited);
    x = memory.edited;
  }
  int64_t token;
  if (rule.temperature == 0.0f) {
    token = ArgmaxRow(x, p.vocab);
  } else {
    const uint32_t sequence = p.sequence_ids ? p.sequence_ids[b] : static_cast<uint32_t>(b);
    const int64_t position = p.positions ? p.positions[b] : rule.position;
    const double uniform = draw_uniform(rule.seed, sequence, position);
    token = Draw(x, p.vocab, rule, uniform, memory.keys, memory.block_sums);
  }
  p.tokens[b] = static_cast<int32_t>(token);
  if (p.logprobs != nullptr) p.logprobs[b] = LogProbability(raw, p.vocab, token);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(SampleSequence);

namespace {

// Working memory of all sequences in one piece.
struct MemoryLayout {
  size_t edited_len, keys_len, sums_len;  // bytes per sequence

  explicit MemoryLayout(const SampleParams& p) {
    const size_t vocab = static_cast<size_t>(p.vocab), blocks = vocab / kExpSumBlock + 1;
    edited_len = p.edits_logits ? (vocab * sizeof(float) + 63) / 64 * 64 : 0;
    keys_len = p.draws ? vocab * sizeof(uint64_t) : 0;
    sums_len = p.draws ? blocks * sizeof(double) : 0;
  }
  size_t stride() const { return edited_len + keys_len + sums_len; }
  SampleMemory at(std::byte* base, uint32_t sequence) const {
    std::byte* begin = base + sequence * stride();
    return {reinterpret_cast<float*>(begin), reinterpret_cast<uint64_t*>(begin + edited_len),
            reinterpret_cast<double*>(begin + edited_len + keys_len)};
  }
};

void launch(StreamImpl& stream, const SampleParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto sequence = variant(HWY_DISPATCH_TABLE(SampleSequence), isa);
  const MemoryLayout layout(p);
  std::byte* base = nullptr;
  if (layout.stride() > 0) {
    const Buffer scratch = stream.scratch(layout.stride() * static_cast<size_t>(p.sequences));
    access.write(scratch);
    base = scratch.data();
  }
  backends::cpu::cpu_stream(stream).dispatch(
      "sample", name, std::move(access), p.sequences,
      [p, sequence, layout, base](uint32_t task) { sequence(p, task, layout.at(base, task)); });
}

}  // namespace

void sample_avx512(StreamImpl& stream, const SampleParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void sample_avx2(StreamImpl& stream, const SampleParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void sample_baseline(StreamImpl& stream, const SampleParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
