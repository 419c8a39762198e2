// SPDX-License-Identifier: Apache-2.0
// Attention on the GPU. Decode reads K and V once: codes and norms, or floats.
#include <memory>

#include "backends/cuda/bench_kit.h"
#include "mlxn/ops/attention.h"
#include "mlxn/ops/turboquant.h"

namespace mlxn {
namespace {

// Query heads on KV heads of head_dim elements.
struct Heads {
  int64_t head_dim, heads, kv_heads;
  std::string name() const {
    return "D" + std::to_string(head_dim) + "_" + std::to_string(heads) + "_" +
           std::to_string(kv_heads);
  }
};

Buffer random_bytes(const Device& device, DType dtype, const Shape& shape, uint16_t mask) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  std::vector<uint16_t> words(static_cast<size_t>(count) * size_of(dtype) / 2);
  uint32_t bits = 1;
  for (uint16_t& word : words) {
    bits = bits * 1664525u + 1013904223u;
    word = static_cast<uint16_t>(bits >> 16) & mask;
  }
  return device.upload(words.data(), dtype, shape);
}

Case decode(const Heads& h, DType kv_dtype, int64_t kv_len) {
  const double rows = static_cast<double>(h.kv_heads * kv_len);
  return {2.0 * rows * static_cast<double>(h.head_dim) * size(kv_dtype),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const Shape cache = {1, h.kv_heads, kv_len, h.head_dim};
            constexpr uint16_t mask = 0xbfff;  // f16 and bf16 below 2 in magnitude
            const ops::AttnDecodeArgs args{.q = normals(device, f32, {1, h.heads, h.head_dim}),
                                           .k = random_bytes(device, kv_dtype, cache, mask),
                                           .v = random_bytes(device, kv_dtype, cache, mask),
                                           .out = device.alloc(f32, {1, h.heads, h.head_dim}),
                                           .kv_len = kv_len,
                                           .softmax_scale = 0.001f};
            return [&stream, args] { ops::attn_decode(stream, args); };
          }};
}

ops::TqRows coded_rows(const Device& device, const Heads& h, int bits, int64_t kv_len) {
  const ops::TqFormat format{.bits = bits};
  const Shape codes = {1, h.kv_heads, kv_len, ops::tq_row_bytes(format, h.head_dim)};
  const Shape norms = {1, h.kv_heads, kv_len, ops::tq_norm_count(h.head_dim)};
  const std::vector<float> ones(static_cast<size_t>(norms[1] * norms[2] * norms[3]), 1.0f);
  return {random_bytes(device, u8, codes, 0xffff), device.upload(ones.data(), f32, norms), format};
}

// Of K or V.
double coded_bytes(const Heads& h, int bits, int64_t kv_len) {
  return static_cast<double>(h.kv_heads * kv_len) *
         static_cast<double>(ops::tq_row_bytes({.bits = bits}, h.head_dim) +
                             4 * ops::tq_norm_count(h.head_dim));
}

Case decode_tq(const Heads& h, int k_bits, int v_bits, int64_t kv_len) {
  return {coded_bytes(h, k_bits, kv_len) + coded_bytes(h, v_bits, kv_len),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            ops::AttnDecodeTqArgs args{.q = normals(device, f32, {1, h.heads, h.head_dim}),
                                       .k = coded_rows(device, h, k_bits, kv_len),
                                       .v = coded_rows(device, h, v_bits, kv_len),
                                       .out = device.alloc(f32, {1, h.heads, h.head_dim}),
                                       .kv_len = kv_len};
            args.softmax_scale = 0.05f;
            return [&stream, args] { ops::attn_decode_tq(stream, args); };
          }};
}

// A whole prompt at once; a pair is a query and a key it sees.
void count_pairs(Case& c, const Heads& h, int64_t len, int64_t window) {
  const double all = static_cast<double>(len), kept = static_cast<double>(window);
  const double pairs = window == 0 ? all * (all + 1) / 2 : kept * all - kept * (kept - 1) / 2;
  c.operations = 4.0 * static_cast<double>(h.heads * h.head_dim) * pairs;
  c.calls = 8;
}

Case prefill(const Heads& h, DType q_dtype, DType kv_dtype, int64_t len, int64_t window) {
  Case c{2.0 * static_cast<double>(h.kv_heads * len * h.head_dim) * size(kv_dtype),
         [=](const Device& device, Stream& stream) -> std::function<void()> {
           const Shape cache = {1, h.kv_heads, len, h.head_dim};
           const ops::AttnPrefillArgs args{
               .q = normals(device, q_dtype, {1, h.heads, len, h.head_dim}),
               .k = random_bytes(device, kv_dtype, cache, 0xbfff),
               .v = random_bytes(device, kv_dtype, cache, 0xbfff),
               .out = device.alloc(q_dtype, {1, h.heads, len, h.head_dim}),
               .kv_len = len,
               .softmax_scale = 0.001f,
               .window_size = window};
           return [&stream, args] { ops::attn_prefill(stream, args); };
         }};
  count_pairs(c, h, len, window);
  return c;
}

Case prefill_tq(const Heads& h, DType q_dtype, int bits, int64_t len, int64_t window) {
  Case c{2.0 * coded_bytes(h, bits, len),
         [=](const Device& device, Stream& stream) -> std::function<void()> {
           ops::AttnPrefillTqArgs args{.q = normals(device, q_dtype, {1, h.heads, len, h.head_dim}),
                                       .k = coded_rows(device, h, bits, len),
                                       .v = coded_rows(device, h, bits, len),
                                       .out = device.alloc(q_dtype, {1, h.heads, len, h.head_dim}),
                                       .kv_len = len};
           args.softmax_scale = 0.05f;
           args.window_size = window;
           return [&stream, args] { ops::attn_prefill_tq(stream, args); };
         }};
  count_pairs(c, h, len, window);
  return c;
}

const bool registered = [] {
  add_case("copy", copy_case());
  for (const Heads& h :
       {Heads{64, 32, 8}, Heads{80, 32, 8}, Heads{96, 32, 8}, Heads{128, 32, 8}, Heads{192, 16, 8},
        Heads{256, 16, 8}, Heads{256, 16, 2}, Heads{512, 16, 2}}) {
    for (const int64_t kv_len : {4096, 32768, 131072}) {
      const std::string at = "/" + h.name() + "/" + std::to_string(kv_len);
      add_case("attn_decode/f16" + at, decode(h, f16, kv_len));
      add_case("attn_decode/bf16" + at, decode(h, bf16, kv_len));
      for (const int bits : {2, 3, 4, 5, 6, 8}) {
        add_case("attn_decode_tq/tq" + std::to_string(bits) + at, decode_tq(h, bits, bits, kv_len));
      }
      for (const auto& [k, v] : {std::pair{8, 4}, {6, 4}, {8, 3}, {4, 2}}) {
        add_case("attn_decode_tq/tq" + std::to_string(k) + "_tq" + std::to_string(v) + at,
                 decode_tq(h, k, v, kv_len));
      }
    }
  }
  for (const Heads& h :
       {Heads{64, 32, 8}, Heads{128, 32, 8}, Heads{256, 16, 8}, Heads{512, 16, 2}}) {
    for (const int64_t window : {0, 1024}) {
      const std::string at = "/" + h.name() + (window == 0 ? "/causal" : "/window_1024");
      add_case("attn_prefill/f16/f16" + at, prefill(h, f16, f16, 8192, window));
      add_case("attn_prefill/bf16/bf16" + at, prefill(h, bf16, bf16, 8192, window));
      add_case("attn_prefill/f32/f16" + at, prefill(h, f32, f16, 8192, window));
      add_case("attn_prefill_tq/f16/tq4" + at, prefill_tq(h, f16, 4, 8192, window));
      for (const int bits : {2, 3, 4, 5, 6, 8}) {
        add_case("attn_prefill_tq/f32/tq" + std::to_string(bits) + at,
                 prefill_tq(h, f32, bits, 8192, window));
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
