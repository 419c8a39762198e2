// SPDX-License-Identifier: Apache-2.0
// What the property tests of attention ops share: random arguments and the run over seeds.
//   MLXN_PROPERTY_SEED   another seed; case i of a run is case 0 of seed + i
//   MLXN_PROPERTY_CASES  their number
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "kernels/common/attn_test_kit.h"

namespace mlxn::testing {

inline uint32_t number_from(const char* variable, uint32_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : static_cast<uint32_t>(std::strtoul(text, nullptr, 10));
}

// A random call on one device.
class RandomCall {
 public:
  RandomCall(const Device& device, uint32_t seed)
      : device_(device), stream_(device), random_(seed) {}

 protected:
  bool chance(int percent) { return random_.integer(0, 99) < percent; }
  template <typename T>
  T any_of(std::initializer_list<T> values) {
    return values.begin()[random_.integer(0, static_cast<int64_t>(values.size()) - 1)];
  }
  DType float_type() { return any_of({f32, f16, bf16}); }
  Lengths lengths(const std::vector<int64_t>& values) {
    if (chance(70)) return Lengths(values);
    return make_i32(device_, {values.begin(), values.end()});
  }
  // Only as host values, which can be refused.
  static bool is_host(const Lengths& l) { return !l.device.valid(); }
  Buffer slopes(int64_t heads) {
    const auto values = ops::alibi_slopes(heads);
    return device_.upload(values.data(), f32, {heads});
  }

  template <class Args>
  void score_rule(Args& args, int64_t dim) {
    args.softmax_scale = any_of({1.0f, -0.3f, 0.0f, 1.0f / std::sqrt(static_cast<float>(dim))});
    args.logits_soft_cap = chance(70) ? 0.0f : random_.uniform(0.3f, 50.0f);
  }
  template <class Args>
  void head_options(Args& args, int64_t heads) {
    if (chance(30)) args.sinks = random_buffer(device_, f32, {heads}, random_);
    if (chance(30)) args.alibi_slopes = slopes(heads);
  }
  template <class Fn>
  void expect_refused(const std::string& parameter, const char* op, const Fn& call) {
    expect_error(ErrorKind::kInvalidArgument, {op, parameter}, call);
    EXPECT_EQ(stream_.counters().dispatches, 0u);
  }

  // Whether a ring has overwritten a key that a query could see, as far as the host can tell.
  template <class Args>
  static bool ring_lost_keys(const Args& args, const std::vector<int64_t>& q_len,
                             const std::vector<int64_t>& kv_len,
                             const std::vector<int64_t>& offsets, int64_t capacity) {
    if (!args.ring || !is_host(args.kv_len) || !is_host(args.q_offset)) return false;
    if constexpr (requires { args.q_starts; }) {
      if (!is_host(args.q_starts)) return false;
    }
    for (size_t b = 0; b < kv_len.size(); ++b) {
      if (q_len[b] == 0) continue;
      const int64_t first = args.q_offset.empty() ? kv_len[b] - q_len[b] : offsets[b];
      for (int64_t a = 0; a < kv_len[b] - capacity; ++a) {
        const bool in_window = args.window_size == 0 || first - a < args.window_size;
        const bool in_chunk =
            args.chunk_size == 0 || first <= 0 || a / args.chunk_size >= first / args.chunk_size;
        if (in_window && in_chunk) return true;
      }
    }
    return false;
  }

  Device device_;
  Stream stream_;
  Random random_;
};

// Runs call(device, seed + i) for i below the number of cases, on a device per entry in turn, up to
// the first failure.
inline void run_random_calls(const std::vector<std::string>& entries, uint32_t seed, uint32_t cases,
                             const std::function<void(const Device&, uint32_t)>& call) {
  seed = number_from("MLXN_PROPERTY_SEED", seed);
  cases = number_from("MLXN_PROPERTY_CASES", cases);
  std::printf("seed %u, %u cases\n", seed, cases);
  std::vector<Device> devices;
  for (const std::string& name : entries) {
    // Ops without an entry of this name run the best one they have.
    devices.push_back(entry_device(name));
  }
  for (uint32_t i = 0; i < cases && !::testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE("seed " + std::to_string(seed + i));
    call(devices[(seed + i) % devices.size()], seed + i);
  }
}

}  // namespace mlxn::testing
