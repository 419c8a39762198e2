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

double bytes_of(const Shape& shape, double element) {
  for (const int64_t extent : shape) element *= static_cast<double>(extent);
  return element;
}

Case rms_norm(DType dtype, const Shape& rows) {
  return case_of(bytes_of(rows, 2 * size(dtype)), ops::rms_norm, [=](const Device& device) {
    return ops::RmsNormArgs{.x = normals(device, dtype, rows),
                            .weight = device.alloc(f32, {rows[1]}),
                            .out = device.alloc(dtype, rows),
                            .eps = 1e-6f};
  });
}

Case add_rms_norm(DType dtype, const Shape& rows) {
  return case_of(bytes_of(rows, 4 * size(dtype)), ops::add_rms_norm, [=](const Device& device) {
    const Buffer residual = device.alloc(dtype, rows);
    return ops::AddRmsNormArgs{.residual = residual,
                               .x = normals(device, dtype, rows),
                               .weight = device.alloc(f32, {rows[1]}),
                               .sum = residual,
                               .out = device.alloc(dtype, rows),
                               .eps = 1e-6f};
  });
}

Buffer positions(const Device& device, int64_t tokens) {
  std::vector<int32_t> values(static_cast<size_t>(tokens));
  std::iota(values.begin(), values.end(), 1000);
  return device.upload(values.data(), i32, {tokens});
}

Buffer inv_freq(const Device& device, int64_t rotary_dim, int64_t head_dim) {
  const auto values = ops::rope_frequencies(10000.0, rotary_dim, head_dim);
  return device.upload(values.data(), f32, {rotary_dim / 2});
}

// heads: [tokens, heads, head_dim].
Case head_norm_rope(DType dtype, const Shape& heads) {
  return case_of(bytes_of(heads, 2 * size(dtype)), ops::head_norm_rope, [=](const Device& device) {
    return ops::HeadNormRopeArgs{.x = normals(device, dtype, heads),
                                 .weight = device.alloc(f32, {heads[2]}),
                                 .positions = positions(device, heads[0]),
                                 .inv_freq = inv_freq(device, heads[2], heads[2]),
                                 .out = device.alloc(dtype, heads),
                                 .eps = 1e-6f};
  });
}

Case rope(DType dtype, const Shape& heads, int64_t rotary_dim,
          ops::RopePairing pairing = ops::RopePairing::kSplitHead) {
  return case_of(bytes_of(heads, 2 * size(dtype)), ops::rope, [=](const Device& device) {
    return ops::RopeArgs{.x = normals(device, dtype, heads),
                         .positions = positions(device, heads[0]),
                         .inv_freq = inv_freq(device, rotary_dim, heads[2]),
                         .out = device.alloc(dtype, heads),
                         .pairing = pairing};
  });
}

enum class Slots { kHeads, kTokens, kRing, kPages };  // where a row of a cache lies

Case kv_append(DType from, DType cache, int64_t tokens, Slots kind = Slots::kHeads) {
  constexpr int64_t kHeads = 8, kDim = 256, kPage = 64;
  const Shape chunk = {1, tokens, kHeads, kDim};
  return case_of(
      bytes_of(chunk, 2 * (size(from) + size(cache))), ops::kv_append, [=](const Device& device) {
        const int64_t pages = tokens / kPage + 2;
        const Shape slots = kind == Slots::kPages    ? Shape{pages, kHeads, kPage, kDim}
                            : kind == Slots::kTokens ? Shape{1, tokens + 64, kHeads * kDim}
                                                     : Shape{1, kHeads, tokens + 64, kDim};
        std::vector<int32_t> table(static_cast<size_t>(pages));
        std::iota(table.rbegin(), table.rend(), 0);
        ops::KvAppendArgs args{.k = normals(device, from, chunk),
                               .k_cache = device.alloc(cache, slots),
                               .v = normals(device, from, chunk),
                               .v_cache = device.alloc(cache, slots),
                               .pos = int64_t{8}};
        if (kind == Slots::kTokens) args.layout = ops::CacheLayout::kTokenMajor;
        if (kind == Slots::kPages) args.block_table = device.upload(table.data(), i32, {1, pages});
        if (kind == Slots::kRing) args.pos = tokens;
        args.ring = kind == Slots::kRing;
        return args;
      });
}

Case softmax(DType dtype, const Shape& rows) {
  return case_of(bytes_of(rows, 2 * size(dtype)), ops::softmax, [=](const Device& device) {
    return ops::SoftmaxArgs{normals(device, dtype, rows), device.alloc(dtype, rows)};
  });
}

Case add(DType dtype, const Shape& rows) {
  return case_of(bytes_of(rows, 3 * size(dtype)), ops::add, [=](const Device& device) {
    return ops::BinaryArgs{normals(device, dtype, rows), normals(device, dtype, rows),
                           device.alloc(dtype, rows)};
  });
}

Case softcap(DType dtype, const Shape& rows) {
  return case_of(bytes_of(rows, 2 * size(dtype)), ops::softcap, [=](const Device& device) {
    return ops::SoftcapArgs{normals(device, dtype, rows), device.alloc(dtype, rows), 30.0f};
  });
}

Case cast(DType from, DType to, const Shape& rows) {
  return case_of(bytes_of(rows, size(from) + size(to)), ops::cast, [=](const Device& device) {
    return ops::CastArgs{normals(device, from, rows), device.alloc(to, rows)};
  });
}

Case glu(DType dtype, const Shape& rows, ops::Activation activation) {
  return case_of(bytes_of(rows, 3 * size(dtype)), ops::glu, [=](const Device& device) {
    return ops::GluArgs{normals(device, dtype, rows), normals(device, dtype, rows),
                        device.alloc(dtype, rows), activation};
  });
}

Case embed(DType table, int64_t tokens, int64_t dim) {
  constexpr int64_t kVocab = 32768;
  const auto weight = std::make_shared<Weight>();  // one table for all working sets
  return case_of(static_cast<double>(tokens * dim) * (size(table) + 4.0), ops::embed,
                 [=](const Device& device) {
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
                   return ops::EmbedArgs{.table = *weight,
                                         .ids = device.upload(ids.data(), i32, {tokens}),
                                         .out = device.alloc(f32, {tokens, dim})};
                 });
}

Case moe_route(int64_t tokens, int64_t experts, int64_t top_k) {
  return case_of(static_cast<double>(tokens * (experts + 2 * top_k)) * 4.0, ops::moe_route,
                 [=](const Device& device) {
                   return ops::MoeRouteArgs{.logits = normals(device, f32, {tokens, experts}),
                                            .ids = device.alloc(u32, {tokens, top_k}),
                                            .weights = device.alloc(f32, {tokens, top_k})};
                 });
}

Case sample(const ops::SamplingParams& params) {
  constexpr int64_t kVocab = 262144;
  const auto logits = std::make_shared<Buffer>();  // the same in all working sets
  return case_of(kVocab * 4.0, ops::sample, [=](const Device& device) {
    if (!*logits) *logits = normals(device, f32, {1, kVocab});
    return ops::SampleArgs{.logits = *logits,
                           .params = {params},
                           .positions = int64_t{0},
                           .tokens = device.alloc(i32, {1})};
  });
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
  Case c = case_of(weight_bytes(kind, n, k), ops::matmul, [=](const Device& device) {
    const Weight stored = random_weight(device, kind, {n, k});
    return ops::MatmulArgs{.x = normals(device, dtype, {rows, k}),
                           .weight = prepare(device, stored),
                           .out = device.alloc(dtype, {rows, n})};
  });
  c.operations = 2.0 * static_cast<double>(rows) * static_cast<double>(n * k);
  return c;
}

// A token's top_k experts out of many, as a decode step asks for them.
Case expert_matmul(const testing::WeightKind& kind, int64_t experts, int64_t top_k, int64_t n,
                   int64_t k) {
  const auto weight = std::make_shared<Weight>();
  return case_of(static_cast<double>(top_k) * weight_bytes(kind, n, k), ops::expert_matmul,
                 [=](const Device& device) {
                   static int turn = 0;
                   if (!weight->valid())
                     *weight = prepare(device, random_weight(device, kind, {experts, n, k}));
                   std::vector<uint32_t> ids(static_cast<size_t>(top_k));
                   for (uint32_t& id : ids) id = static_cast<uint32_t>(turn++ * 37 % experts);
                   return ops::ExpertMatmulArgs{.x = normals(device, f32, {1, k}),
                                                .weight = *weight,
                                                .ids = device.upload(ids.data(), u32, {1, top_k}),
                                                .out = device.alloc(f32, {1, top_k, n})};
                 });
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
      for (const int64_t dim : {1024, 2816, 4096, 8192}) {
        add_case("rms_norm" + of + std::to_string(dim), rms_norm(dtype, {rows, dim}));
      }
      add_case("add_rms_norm" + of + "2816", add_rms_norm(dtype, {rows, 2816}));
      for (const Shape& heads : {Shape{rows, 16, 256}, Shape{rows, 32, 128}}) {
        const std::string shape = of + std::to_string(heads[1]) + "x" + std::to_string(heads[2]);
        add_case("rope" + shape, rope(dtype, heads, heads[2]));
        add_case("rope_interleaved" + shape,
                 rope(dtype, heads, heads[2], ops::RopePairing::kInterleaved));
        add_case("head_norm_rope" + shape, head_norm_rope(dtype, heads));
      }
      add_case("rope_partial" + of + "8x512", rope(dtype, {rows, 8, 512}, 128));
      for (const DType from : {f32, f16, bf16}) {
        const std::string cast_of = "/" + std::string(name(from)) + of;
        add_case("kv_append" + cast_of + "8x256", kv_append(from, dtype, rows));
        add_case("cast" + cast_of + "4096", cast(from, dtype, {rows, 4096}));
      }
      add_case("kv_append/tokens" + of + "8x256", kv_append(dtype, dtype, rows, Slots::kTokens));
      add_case("kv_append/ring" + of + "8x256", kv_append(dtype, dtype, rows, Slots::kRing));
      add_case("kv_append/pages" + of + "8x256", kv_append(dtype, dtype, rows, Slots::kPages));
      add_case("softmax" + of + "4096", softmax(dtype, {rows, 4096}));
      add_case("add" + of + "4096", add(dtype, {rows, 4096}));
      add_case("softcap" + of + "4096", softcap(dtype, {rows, 4096}));
      add_case("glu" + of + "4096", glu(dtype, {rows, 4096}, ops::Activation::kGeluTanh));
      add_case("glu_erf" + of + "4096", glu(dtype, {rows, 4096}, ops::Activation::kGeluErf));
      add_case("glu_silu" + of + "4096", glu(dtype, {rows, 4096}, ops::Activation::kSilu));
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
