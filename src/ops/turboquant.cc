// SPDX-License-Identifier: Apache-2.0
#include "mlxn/ops/turboquant.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "ops/calls.h"
#include "ops/turboquant_args.h"

namespace mlxn::ops {
namespace {

constexpr int64_t kMaxFwhtDim = 8192;
constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();

void check(const Device& device, const FwhtArgs& args) {
  const char* op = "fwht";
  check_buffer(op, "x", args.x, device, {f32});
  check_output(op, "out", args.out, device, {f32});
  check_like(op, "out", args.out, args.x, "x");
  check_overlap(op, "out", args.out, "x", args.x, true);
  const int64_t dim = fold_rows(args.x).dim;
  if (args.mode != FwhtMode::kPlain && args.mode != FwhtMode::kForward &&
      args.mode != FwhtMode::kInverse) {
    fail(op, "mode", std::to_string(static_cast<int>(args.mode)), "kPlain, kForward or kInverse");
  }
  const bool is_power = std::has_single_bit(static_cast<uint64_t>(dim));
  const int64_t most = args.mode == FwhtMode::kPlain ? kMaxFwhtDim : quant::kTqMaxDim;
  if (dim > most || !(is_power || (args.blocks && dim % 8 == 0))) {
    fail(op, "x: row", std::to_string(dim) + " elements",
         (args.blocks ? "a power of two or multiple of 8 up to " : "a power of two up to ") +
             std::to_string(most));
  }
  const auto signs = static_cast<int64_t>(args.signs.size());
  if (signs != 0 && 8 * signs < dim) {
    fail(op, "signs", std::to_string(signs) + " bytes",
         "at least " + std::to_string((dim + 7) / 8));
  }
}

}  // namespace

void fwht(Stream& stream, const FwhtArgs& args) try {
  if (is_empty(args.x)) return;
  check(stream.device(), args);
  const Rows rows = fold_rows(args.x);
  const kernels::FwhtParams params{
      .x = reinterpret_cast<const float*>(args.x.data()),
      .out = reinterpret_cast<float*>(args.out.data()),
      .rows = rows.rows,
      .dim = rows.dim,
      .mode = args.mode,
      .signs = quant::tq_sign_words(args.signs.empty() ? tq_signs() : args.signs)};
  backends::Access access;
  access.read(args.x);
  access.write(args.out);
  const auto& entry = kernels::choose("fwht", kernels::fwht_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::optional<Call<kernels::TqEncodeParams>> tq_encode_call(Stream& stream,
                                                            const TqEncodeArgs& args) {
  const char* op = "tq_encode";
  if (args.n == 0 || is_empty(args.src)) return std::nullopt;
  const Device& device = stream.device();
  check_buffer(op, "src", args.src, device, {f32, f16, bf16});
  if (args.src.rank() != 4) {
    fail(op, "src", "shape " + to_string(args.src.shape()), "4 extents");
  }
  const int64_t n = token_count(op, "src", args.src, args.src_offset, args.n),
                batch = args.src.dim(0), heads = args.src.dim(2);
  if (n == 0) return std::nullopt;
  const int64_t dim = args.src.dim(3);
  const int64_t slots =
      check_tq_rows(op, "to", device, args.to, args.block_table ? 0 : batch, heads, dim);
  kernels::KeyPages pages;
  if (args.block_table) {
    pages = check_block_table(op, device, args.block_table, "to.codes", args.to.codes, batch);
  }
  const int64_t capacity = args.block_table ? pages.per_sequence * pages.page_size : slots;
  check_output(op, "to.codes", args.to.codes, device, {u8});
  check_output(op, "to.norms", args.to.norms, device, {f32});
  check_disjoint(
      op, {{"to.codes", &args.to.codes}, {"to.norms", &args.to.norms}},
      {{"src", &args.src}, {"pos", &args.pos.device}, {"block_table", &args.block_table}});
  if (!args.ring) check_range(op, "n", n, 0, capacity);
  check_lengths(op, "pos", device, args.pos, batch, 0, args.ring ? kIntMax - n : capacity - n);
  // A ring keeps the last `capacity` tokens only.
  const int64_t lost = std::max<int64_t>(0, n - capacity);
  const Buffer pos = resolve_lengths(stream, args.pos, batch);
  const kernels::TqEncodeParams params{.src = args.src.data(),
                                       .src_dtype = args.src.dtype(),
                                       .to = kernels::tq_cache(args.to, dim),
                                       .pos = address_of(pos),
                                       .batch = batch,
                                       .num_kv_heads = heads,
                                       .n_src = args.src.dim(1),
                                       .src_offset = args.src_offset + lost,
                                       .n = n - lost,
                                       .pos_skip = lost,
                                       .capacity = capacity,
                                       .ring = args.ring,
                                       .norm_correction = args.norm_correction,
                                       .pages = pages};
  backends::Access access;
  for (const Buffer* input : {&args.src, &pos, &args.block_table}) access.read(*input);
  access.write(args.to.codes);
  access.write(args.to.norms);
  return Call<kernels::TqEncodeParams>{params, std::move(access)};
}

void tq_encode(Stream& stream, const TqEncodeArgs& args) try {
  const auto call = tq_encode_call(stream, args);
  if (call) kernels::record("tq_encode", kernels::tq_encode_entries(), stream.impl(), *call);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void tq_encode_kv(Stream& stream, const TqEncodeArgs& k, const TqEncodeArgs& v,
                  const std::function<void()>& ready) try {
  const auto k_call = tq_encode_call(stream, k), v_call = tq_encode_call(stream, v);
  const int64_t k_tokens = k_call ? k_call->params.n_src : 0;
  const int64_t v_tokens = v_call ? v_call->params.n_src : 0;
  if (v_tokens != k_tokens) {
    fail("tq_encode", "v", std::to_string(v_tokens) + " tokens",
         std::to_string(k_tokens) + ", those of k");
  }
  if (k_tokens == 0) return;
  ready();
  for (const auto* call : {&k_call, &v_call}) {
    kernels::record("tq_encode", kernels::tq_encode_entries(), stream.impl(), **call);
  }
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void tq_decode(Stream& stream, const TqDecodeArgs& args) try {
  const char* op = "tq_decode";
  const Device& device = stream.device();
  check_output(op, "out", args.out, device, {f32});
  if (args.out.rank() != 4) {
    fail(op, "out", "shape " + to_string(args.out.shape()), "4 extents");
  }
  const int64_t batch = args.out.dim(0), heads = args.out.dim(1), n = args.out.dim(2);
  const int64_t dim = args.out.dim(3);
  const int64_t capacity = check_tq_rows(op, "from", device, args.from, batch, heads, dim);
  check_range(op, "out: slots", n, 1, capacity);
  check_range(op, "first_slot", args.first_slot, 0, capacity - n);
  check_overlap(op, "out", args.out, "from.codes", args.from.codes);
  check_overlap(op, "out", args.out, "from.norms", args.from.norms);
  const kernels::TqDecodeParams params{.from = kernels::tq_cache(args.from, dim),
                                       .out = reinterpret_cast<float*>(args.out.data()),
                                       .head_rows = batch * heads,
                                       .first_slot = args.first_slot,
                                       .n = n,
                                       .rotate_back = args.rotate_back};
  backends::Access access;
  access.read(args.from.codes);
  access.read(args.from.norms);
  access.write(args.out);
  const auto& entry = kernels::choose(op, kernels::tq_decode_entries(), device, params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
