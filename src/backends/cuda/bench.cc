// SPDX-License-Identifier: Apache-2.0
// Ops on the GPU but attention. matmul of few rows counts the bytes of the weight, of many rows
// operations.
#include <cmath>
#include <memory>
#include <numeric>

#include "backends/cuda/bench_kit.h"
#include "kernels/matmul/test_cases.h"
#include "mlxn/ops/attention.h"
#include "mlxn/ops/axpy.h"
#include "mlxn/ops/elementwise.h"
#include "mlxn/ops/embed.h"
#include "mlxn/ops/matmul.h"
#include "mlxn/ops/moe.h"
#include "mlxn/ops/rms_norm.h"
#include "mlxn/ops/rope.h"
#include "mlxn/ops/sampling.h"

namespace mlxn {
namespace {

Buffer positions(const Device& device, int64_t tokens) {
  std::vector<int32_t> values(static_cast<size_t>(tokens));
  std::iota(values.begin(), values.end(), 1000);
  return device.upload(values.data(), i32, {tokens});
}

Case rms_norm(DType dtype, int64_t rows, int64_t dim) {
  return {2.0 * static_cast<double>(rows * dim) * size(dtype),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const ops::RmsNormArgs args{.x = normals(device, dtype, {rows, dim}),
                                        .weight = device.alloc(f32, {dim}),
                                        .out = device.alloc(dtype, {rows, dim}),
                                        .eps = 1e-6f};
            return [&stream, args] { ops::rms_norm(stream, args); };
          }};
}

Case add_rms_norm(DType dtype, int64_t rows, int64_t dim) {
  return {4.0 * static_cast<double>(rows * dim) * size(dtype),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const Buffer residual = device.alloc(dtype, {rows, dim});
            const ops::AddRmsNormArgs args{.residual = residual,
                                           .x = normals(device, dtype, {rows, dim}),
                                           .weight = device.alloc(f32, {dim}),
                                           .sum = residual,
                                           .out = device.alloc(dtype, {rows, dim}),
                                           .eps = 1e-6f};
            return [&stream, args] { ops::add_rms_norm(stream, args); };
          }};
}

Case head_norm_rope(DType dtype, int64_t tokens, int64_t heads, int64_t head_dim) {
  return {2.0 * static_cast<double>(tokens * heads * head_dim) * size(dtype),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const auto inv_freq = ops::rope_frequencies(10000.0, head_dim, head_dim);
            const ops::HeadNormRopeArgs args{
                .x = normals(device, dtype, {tokens, heads, head_dim}),
                .weight = device.alloc(f32, {head_dim}),
                .positions = positions(device, tokens),
                .inv_freq = device.upload(inv_freq.data(), f32, {head_dim / 2}),
                .out = device.alloc(dtype, {tokens, heads, head_dim}),
                .eps = 1e-6f};
            return [&stream, args] { ops::head_norm_rope(stream, args); };
          }};
}

Case rope(DType dtype, int64_t tokens, int64_t heads, int64_t head_dim, int64_t rotary_dim,
          ops::RopePairing pairing = ops::RopePairing::kSplitHead) {
  return {2.0 * static_cast<double>(tokens * heads * head_dim) * size(dtype),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const auto inv_freq = ops::rope_frequencies(10000.0, rotary_dim, head_dim);
            const ops::RopeArgs args{
                .x = normals(device, dtype, {tokens, heads, head_dim}),
                .positions = positions(device, tokens),
                .inv_freq = device.upload(inv_freq.data(), f32, {rotary_dim / 2}),
                .out = device.alloc(dtype, {tokens, heads, head_dim}),
                .pairing = pairing};
            return [&stream, args] { ops::rope(stream, args); };
          }};
}

enum class Slots { kHeads, kTokens, kRing, kPages };  // where a row of a cache lies

Case kv_append(DType from, DType cache, int64_t tokens, int64_t heads, int64_t dim,
               Slots kind = Slots::kHeads) {
  return {2.0 * static_cast<double>(tokens * heads * dim) * (size(from) + size(cache)),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            constexpr int64_t kPage = 64;
            const Shape chunk = {1, tokens, heads, dim};
            const int64_t pages = tokens / kPage + 2;
            const Shape slots = kind == Slots::kPages    ? Shape{pages, heads, kPage, dim}
                                : kind == Slots::kTokens ? Shape{1, tokens + 64, heads * dim}
                                                         : Shape{1, heads, tokens + 64, dim};
            const auto layout = kind == Slots::kTokens ? ops::CacheLayout::kTokenMajor
                                                       : ops::CacheLayout::kHeadMajor;
            std::vector<int32_t> table(static_cast<size_t>(pages));
            for (size_t i = 0; i < table.size(); ++i) {
              table[i] = static_cast<int32_t>(table.size() - 1 - i);
            }
            const bool pos_wraps = kind == Slots::kRing;
            const ops::KvAppendArgs args{
                .k = normals(device, from, chunk),
                .k_cache = device.alloc(cache, slots),
                .v = normals(device, from, chunk),
                .v_cache = device.alloc(cache, slots),
                .pos = pos_wraps ? tokens : 8,
                .ring = pos_wraps,
                .layout = layout,
                .block_table = kind == Slots::kPages ? device.upload(table.data(), i32, {1, pages})
                                                     : Buffer()};
            return [&stream, args] { ops::kv_append(stream, args); };
          }};
}

Case softmax(DType dtype, int64_t rows, int64_t cols) {
  return {2.0 * static_cast<double>(rows * cols) * size(dtype),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const ops::SoftmaxArgs args{.x = normals(device, dtype, {rows, cols}),
                                        .out = device.alloc(dtype, {rows, cols})};
            return [&stream, args] { ops::softmax(stream, args); };
          }};
}

Case add(DType dtype, int64_t rows, int64_t dim) {
  return {3.0 * static_cast<double>(rows * dim) * size(dtype),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const ops::BinaryArgs args{.a = normals(device, dtype, {rows, dim}),
                                       .b = normals(device, dtype, {rows, dim}),
                                       .out = device.alloc(dtype, {rows, dim})};
            return [&stream, args] { ops::add(stream, args); };
          }};
}

Case softcap(DType dtype, int64_t rows, int64_t dim) {
  return {2.0 * static_cast<double>(rows * dim) * size(dtype),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const ops::SoftcapArgs args{.x = normals(device, dtype, {rows, dim}),
                                        .out = device.alloc(dtype, {rows, dim}),
                                        .cap = 30.0f};
            return [&stream, args] { ops::softcap(stream, args); };
          }};
}

Case cast(DType from, DType to, int64_t rows, int64_t dim) {
  return {static_cast<double>(rows * dim) * (size(from) + size(to)),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const ops::CastArgs args{.x = normals(device, from, {rows, dim}),
                                     .out = device.alloc(to, {rows, dim})};
            return [&stream, args] { ops::cast(stream, args); };
          }};
}

Case glu(DType dtype, int64_t rows, int64_t dim,
         ops::Activation activation = ops::Activation::kGeluTanh) {
  return {3.0 * static_cast<double>(rows * dim) * size(dtype),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const ops::GluArgs args{.gate = normals(device, dtype, {rows, dim}),
                                    .up = normals(device, dtype, {rows, dim}),
                                    .out = device.alloc(dtype, {rows, dim}),
                                    .activation = activation};
            return [&stream, args] { ops::glu(stream, args); };
          }};
}

Case embed(DType table, int64_t tokens, int64_t dim) {
  constexpr int64_t kVocab = 32768;
  const auto weight = std::make_shared<Weight>();  // one table for all working sets
  return {static_cast<double>(tokens * dim) * (size(table) + 4.0),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            std::vector<int32_t> ids(static_cast<size_t>(tokens));
            for (size_t i = 0; i < ids.size(); ++i)
              ids[i] = static_cast<int32_t>(i * 7919 % kVocab);
            if (!weight->valid()) {
              *weight = {.format = table == f32   ? Format::kF32
                                   : table == f16 ? Format::kF16
                                                  : Format::kBF16,
                         .shape = {kVocab, dim},
                         .data = device.alloc(table, {kVocab, dim})};
            }
            const ops::EmbedArgs args{.table = *weight,
                                      .ids = device.upload(ids.data(), i32, {tokens}),
                                      .out = device.alloc(f32, {tokens, dim})};
            return [&stream, args] { ops::embed(stream, args); };
          }};
}

Case moe_route(int64_t tokens, int64_t experts, int64_t top_k) {
  return {static_cast<double>(tokens * (experts + 2 * top_k)) * 4.0,
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            const ops::MoeRouteArgs args{.logits = normals(device, f32, {tokens, experts}),
                                         .ids = device.alloc(u32, {tokens, top_k}),
                                         .weights = device.alloc(f32, {tokens, top_k})};
            return [&stream, args] { ops::moe_route(stream, args); };
          }};
}

Case sample(const ops::SamplingParams& params) {
  constexpr int64_t kVocab = 262144;
  const auto logits = std::make_shared<Buffer>();  // the same in all working sets
  return {kVocab * 4.0, [=](const Device& device, Stream& stream) -> std::function<void()> {
            if (!*logits) *logits = normals(device, f32, {1, kVocab});
            const ops::SampleArgs args{.logits = *logits,
                                       .params = {params},
                                       .positions = int64_t{0},
                                       .tokens = device.alloc(i32, {1})};
            return [&stream, args] { ops::sample(stream, args); };
          }};
}

// A weight on the GPU out of 64 random rows, repeated; experts repeat the rows of one.
Weight random_weight(const Device& device, const testing::WeightKind& kind, const Shape& shape) {
  constexpr int64_t kUnique = 64;
  const Device host = Device::open("cpu");
  testing::Random random(1);
  const int64_t rows = shape.size() == 3 ? shape[0] * shape[1] : shape[0];
  Weight w = testing::random_weight(host, kind, {kUnique, shape.back()}, random);
  const auto repeated = [&](const Buffer& one) {
    if (!one) return Buffer();
    const size_t times = static_cast<size_t>(rows / kUnique), bytes = one.byte_len();
    std::vector<std::byte> all(times * bytes);
    for (size_t i = 0; i < times; ++i) std::memcpy(all.data() + i * bytes, one.data(), bytes);
    Shape full(shape.begin(), shape.end() - 1);
    full.push_back(one.shape().back());
    return device.upload(all.data(), one.dtype(), full);
  };
  w.data = repeated(w.data);
  w.scales = repeated(w.scales);
  w.biases = repeated(w.biases);
  w.shape = shape;
  return w;
}

double weight_bytes(const testing::WeightKind& kind, int64_t n, int64_t k) {
  double row = static_cast<double>(quant::row_bytes(kind.format, kind.bits, k));
  if (kind.has_scale_array()) {
    row += static_cast<double>(k / kind.group_size) * size(kind.scale_dtype) *
           (kind.biases ? 2.0 : 1.0);
  }
  return row * static_cast<double>(n);
}

Case matmul(const testing::WeightKind& kind, DType dtype, int64_t rows, int64_t n, int64_t k) {
  Case c{weight_bytes(kind, n, k),
         [=](const Device& device, Stream& stream) -> std::function<void()> {
           const Weight stored = random_weight(device, kind, {n, k});
           const ops::MatmulArgs args{.x = normals(device, dtype, {rows, k}),
                                      .weight = prepare(device, stored),
                                      .out = device.alloc(dtype, {rows, n})};
           return [&stream, args] { ops::matmul(stream, args); };
         }};
  c.operations = 2.0 * static_cast<double>(rows) * static_cast<double>(n * k);
  return c;
}

// A token's top_k experts out of many, as a decode step asks for them.
Case expert_matmul(const testing::WeightKind& kind, int64_t experts, int64_t top_k, int64_t n,
                   int64_t k) {
  const auto weight = std::make_shared<Weight>();
  return {static_cast<double>(top_k) * weight_bytes(kind, n, k),
          [=](const Device& device, Stream& stream) -> std::function<void()> {
            static int turn = 0;
            if (!weight->valid()) {
              *weight = prepare(device, random_weight(device, kind, {experts, n, k}));
            }
            std::vector<uint32_t> ids(static_cast<size_t>(top_k));
            for (uint32_t& id : ids) {
              id = static_cast<uint32_t>(turn++ * 37 % experts);
            }
            const ops::ExpertMatmulArgs args{.x = normals(device, f32, {1, k}),
                                             .weight = *weight,
                                             .ids = device.upload(ids.data(), u32, {1, top_k}),
                                             .out = device.alloc(f32, {1, top_k, n})};
            return [&stream, args] { ops::expert_matmul(stream, args); };
          }};
}

const bool registered = [] {
  add_case("copy", copy_case());
  for (const int64_t mb : {1, 4, 8, 23, 33}) {
    add_case("copy/" + std::to_string(mb) + "MB", copy_case(mb << 20));
  }
  for (const DType dtype : {f32, f16, bf16}) {
    const std::string type = "/" + std::string(name(dtype));
    for (const int64_t rows : {4096, 1}) {
      const std::string of = type + "/" + std::to_string(rows) + "x";
      add_case("rms_norm" + of + "1024", rms_norm(dtype, rows, 1024));
      add_case("rms_norm" + of + "2816", rms_norm(dtype, rows, 2816));
      add_case("rms_norm" + of + "4096", rms_norm(dtype, rows, 4096));
      add_case("rms_norm" + of + "8192", rms_norm(dtype, rows, 8192));
      add_case("add_rms_norm" + of + "2816", add_rms_norm(dtype, rows, 2816));
      add_case("rope" + of + "16x256", rope(dtype, rows, 16, 256, 256));
      add_case("rope" + of + "32x128", rope(dtype, rows, 32, 128, 128));
      add_case("rope_partial" + of + "8x512", rope(dtype, rows, 8, 512, 128));
      add_case("rope_interleaved" + of + "32x128",
               rope(dtype, rows, 32, 128, 128, ops::RopePairing::kInterleaved));
      add_case("head_norm_rope" + of + "16x256", head_norm_rope(dtype, rows, 16, 256));
      add_case("head_norm_rope" + of + "32x128", head_norm_rope(dtype, rows, 32, 128));
      for (const DType from : {f32, f16, bf16}) {
        add_case("kv_append/" + std::string(name(from)) + of + "8x256",
                 kv_append(from, dtype, rows, 8, 256));
        add_case("cast/" + std::string(name(from)) + of + "4096", cast(from, dtype, rows, 4096));
      }
      add_case("kv_append/tokens" + of + "8x256",
               kv_append(dtype, dtype, rows, 8, 256, Slots::kTokens));
      add_case("kv_append/ring" + of + "8x256",
               kv_append(dtype, dtype, rows, 8, 256, Slots::kRing));
      add_case("kv_append/pages" + of + "8x256",
               kv_append(dtype, dtype, rows, 8, 256, Slots::kPages));
      add_case("softmax" + of + "4096", softmax(dtype, rows, 4096));
      add_case("add" + of + "4096", add(dtype, rows, 4096));
      add_case("glu" + of + "4096", glu(dtype, rows, 4096));
      add_case("glu_erf" + of + "4096", glu(dtype, rows, 4096, ops::Activation::kGeluErf));
      add_case("glu_silu" + of + "4096", glu(dtype, rows, 4096, ops::Activation::kSilu));
      add_case("softcap" + of + "4096", softcap(dtype, rows, 4096));
      add_case("embed" + of + "2816", embed(dtype, rows, 2816));
    }
  }
  std::vector<testing::WeightKind> kinds = testing::coded_kinds();
  kinds.insert(kinds.end(), {{Format::kF32}, {Format::kF16}, {Format::kBF16}});
  for (const testing::WeightKind& kind : kinds) {
    for (const int64_t rows : {1, 8, 16, 32, 512}) {
      for (const DType dtype : {f32, bf16}) {
        const std::string text = "matmul/" + kind.name() + "/" + std::string(name(dtype)) + "/";
        add_case(text + std::to_string(rows), matmul(kind, dtype, rows, 16384, 8192));
      }
    }
    add_case("matmul_small/" + kind.name(), matmul(kind, f32, 1, 2816, 2816));
    if (kind.has_scale_array() || kind.block() == 32) {
      add_case("expert_matmul/" + kind.name(), expert_matmul(kind, 128, 8, 1408, 2816));
    }
  }
  add_case("moe_route/4096x128", moe_route(4096, 128, 8));
  add_case("moe_route/1x128", moe_route(1, 128, 8));
  add_case("sample/greedy", sample({}));
  add_case("sample/top_k_64_top_p_095", sample({.temperature = 1.0f, .top_k = 64, .top_p = 0.95f}));
  add_case("sample/top_p_095", sample({.temperature = 1.0f, .top_p = 0.95f}));
  add_case("sample/unfiltered", sample({.temperature = 1.0f}));
  return true;
}();

}  // namespace
}  // namespace mlxn
