// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/no_memory.h"
#include "kernels/sample/params.h"
#include "mlxn/ops/sampling.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

constexpr const char* kOp = "sample";

void check_param(const char* parameter, bool ok, float value, const char* required) {
  if (!ok) fail(kOp, parameter, std::to_string(value), required);
}

}  // namespace

void check_sampling_params(const SamplingParams& p) {
  check_finite(kOp, "params: presence_penalty", p.presence_penalty);
  check_finite(kOp, "params: frequency_penalty", p.frequency_penalty);
  check_param("params: temperature", std::isfinite(p.temperature) && p.temperature >= 0.0f,
              p.temperature, "a finite number, at least 0");
  check_param("params: top_p", p.top_p > 0.0f && p.top_p <= 1.0f, p.top_p, "above 0, at most 1");
  check_param("params: min_p", p.min_p >= 0.0f && p.min_p <= 1.0f, p.min_p, "0 to 1");
  check_param("params: repetition_penalty",
              std::isfinite(p.repetition_penalty) && p.repetition_penalty > 0.0f,
              p.repetition_penalty, "a finite number above 0");
}

namespace {

// Per-sequence integers: one host value for all, one each, or i32 [B] on the device.
void check_lengths(const char* parameter, const Lengths& lengths, const Device& device,
                   int64_t sequences, int64_t max) {
  if (lengths.device) {
    check_buffer(kOp, parameter, lengths.device, device, {i32});
    if (lengths.device.element_count() != sequences) {
      fail(kOp, parameter, to_string(lengths.device.shape()), to_string({sequences}));
    }
    return;
  }
  const int64_t count = static_cast<int64_t>(lengths.host.size());
  if (count > 1 && count != sequences) {
    fail(kOp, parameter, std::to_string(count) + " values", "1 or " + std::to_string(sequences));
  }
  for (int64_t value : lengths.host) check_range(kOp, parameter, value, 0, max);
}

void check_outputs(const Device& device, const SampleArgs& args, int64_t sequences) {
  check_output(kOp, "tokens", args.tokens, device, {i32});
  if (args.tokens.element_count() != sequences) {
    fail(kOp, "tokens", to_string(args.tokens.shape()), to_string({sequences}));
  }
  if (args.logprobs) {
    check_output(kOp, "logprobs", args.logprobs, device, {f32});
    if (args.logprobs.element_count() != sequences) {
      fail(kOp, "logprobs", to_string(args.logprobs.shape()), to_string({sequences}));
    }
    check_overlap(kOp, "logprobs", args.logprobs, "tokens", args.tokens);
  }
  const std::pair<const char*, const Buffer*> inputs[] = {
      {"logits", &args.logits},
      {"history", &args.history},
      {"history_len", &args.history_len.device},
      {"suppress", &args.suppress},
      {"positions", &args.positions.device},
      {"sequence_ids", &args.sequence_ids},
  };
  for (const auto& [input_name, input] : inputs) {
    check_overlap(kOp, "tokens", args.tokens, input_name, *input);
    check_overlap(kOp, "logprobs", args.logprobs, input_name, *input);
  }
}

void check(const Device& device, const SampleArgs& args) {
  check_buffer(kOp, "logits", args.logits, device, {f32});
  if (args.logits.rank() != 2) {
    fail(kOp, "logits", "shape " + to_string(args.logits.shape()), "[B, V]");
  }
  const int64_t sequences = args.logits.dim(0);
  check_range(kOp, "logits: V", args.logits.dim(1), 1, std::numeric_limits<int32_t>::max());
  const int64_t num_params = static_cast<int64_t>(args.params.size());
  if (num_params != 1 && num_params != sequences) {
    fail(kOp, "params", std::to_string(num_params), "1 or " + std::to_string(sequences));
  }
  for (const SamplingParams& params : args.params) check_sampling_params(params);
  int64_t max_history = 0;
  if (args.history) {
    check_buffer(kOp, "history", args.history, device, {i32});
    if (args.history.rank() != 2 || args.history.dim(0) != sequences) {
      fail(kOp, "history", to_string(args.history.shape()),
           "[" + std::to_string(sequences) + ", max_history]");
    }
    max_history = args.history.dim(1);
  }
  check_lengths("history_len", args.history_len, device, sequences, max_history);
  check_lengths("positions", args.positions, device, sequences,
                std::numeric_limits<int64_t>::max());
  if (args.suppress) check_buffer(kOp, "suppress", args.suppress, device, {i32});
  if (args.sequence_ids) {
    check_buffer(kOp, "sequence_ids", args.sequence_ids, device, {u32});
    if (args.sequence_ids.element_count() != sequences) {
      fail(kOp, "sequence_ids", to_string(args.sequence_ids.shape()), to_string({sequences}));
    }
  }
  const bool draws = std::any_of(args.params.begin(), args.params.end(),
                                 [](const SamplingParams& p) { return p.temperature > 0.0f; });
  if (draws && args.positions.empty()) fail(kOp, "positions", "none", "positions to draw at");
  check_outputs(device, args, sequences);
}

int64_t host_value(const Lengths& lengths, int64_t sequence) {
  if (lengths.host.empty()) return 0;
  return lengths.host.size() == 1 ? lengths.host[0] : lengths.host[static_cast<size_t>(sequence)];
}

std::vector<kernels::SampleRule> make_rules(const SampleArgs& args) {
  std::vector<kernels::SampleRule> rules;
  for (int64_t b = 0; b < args.logits.dim(0); ++b) {
    const SamplingParams& p = args.params[args.params.size() == 1 ? 0 : static_cast<size_t>(b)];
    rules.push_back({.seed = p.seed,
                     .position = host_value(args.positions, b),
                     .history_len = host_value(args.history_len, b),
                     .temperature = p.temperature,
                     .top_p = p.top_p,
                     .min_p = p.min_p,
                     .repetition_penalty = p.repetition_penalty,
                     .presence_penalty = p.presence_penalty,
                     .frequency_penalty = p.frequency_penalty,
                     .top_k = p.top_k,
                     .penalty_window = p.penalty_window});
  }
  return rules;
}

bool has_penalty(const SamplingParams& p) {
  return p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f;
}

template <typename T>
T* pointer(const Buffer& buffer) {
  return reinterpret_cast<T*>(buffer.data());
}

}  // namespace

void sample(Stream& stream, const SampleArgs& args) try {
  const Device& device = stream.device();
  check(device, args);
  const auto& all = args.params;
  const auto rules = make_rules(args);
  const size_t rules_len = rules.size() * sizeof(kernels::SampleRule);
  const Buffer rules_buffer = device.upload(rules.data(), u8, {static_cast<int64_t>(rules_len)});
  const kernels::SampleParams params{
      .logits = pointer<const float>(args.logits),
      .rules = pointer<const kernels::SampleRule>(rules_buffer),
      .history = pointer<const int32_t>(args.history),
      .history_lens = pointer<const int32_t>(args.history_len.device),
      .positions = pointer<const int32_t>(args.positions.device),
      .sequence_ids = pointer<const uint32_t>(args.sequence_ids),
      .suppress = pointer<const int32_t>(args.suppress),
      .tokens = pointer<int32_t>(args.tokens),
      .logprobs = pointer<float>(args.logprobs),
      .sequences = args.logits.dim(0),
      .vocab = args.logits.dim(1),
      .max_history = args.history ? args.history.dim(1) : 0,
      .num_suppress = args.suppress ? args.suppress.element_count() : 0,
      .edits_logits =
          args.suppress || (args.history && std::any_of(all.begin(), all.end(), has_penalty)),
      .draws = std::any_of(all.begin(), all.end(),
                           [](const SamplingParams& p) { return p.temperature > 0.0f; }),
  };
  backends::Access access;
  for (const Buffer* input :
       {&args.logits, &args.history, &args.history_len.device, &args.positions.device,
        &args.sequence_ids, &args.suppress, &rules_buffer}) {
    access.read(*input);
  }
  access.write(args.tokens);
  access.write(args.logprobs);
  const auto& entry = kernels::choose(kOp, kernels::sample_entries(), device, params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
