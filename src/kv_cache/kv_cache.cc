// SPDX-License-Identifier: Apache-2.0
#include "mlxn/kv_cache.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/no_memory.h"
#include "ops/fused.h"

namespace mlxn {
namespace {

// Ring capacities are multiples of the key tile of prefill, so that no tile wraps.
constexpr int64_t kSlotMultiple = 64;
// Codes of this many slots are one unit of a device's own order.
constexpr int64_t kCodedSlotMultiple = 16;
constexpr int64_t kMinPageSize = 16, kMaxPageSize = 256;

[[noreturn]] void fail(const char* field, const std::string& found, const std::string& required) {
  throw Error(ErrorKind::kInvalidArgument, ErrorDetail{"KvCache", field, found, required});
}

void check_range(const char* field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return;
  fail(field, std::to_string(value), std::to_string(min) + " to " + std::to_string(max));
}

void check_dim(const char* field, int64_t dim) {
  if (dim >= 8 && dim <= 512 && dim % 8 == 0) return;
  fail(field, std::to_string(dim), "a multiple of 8 from 8 to 512");
}

int64_t v_dim_of(const KvCacheShape& s) { return s.v_dim == 0 ? s.head_dim : s.v_dim; }

KvType v_type_of(const KvCacheShape& s) { return s.v_type.value_or(s.dtype); }

void check_type(const char* field, KvType type) {
  if (type.is_coded() ? parse_kv_type(name(type)).has_value() : is_float(type.dtype())) return;
  fail(field, name(type), "f32, f16, bf16 or tq2, tq3, tq4, tq5, tq6, tq8");
}

// Bytes of one row, its norms included.
int64_t row_bytes(KvType type, int64_t dim) {
  if (!type.is_coded()) return dim * static_cast<int64_t>(size_of(type.dtype()));
  return ops::tq_row_bytes({.bits = type.bits()}, dim) +
         ops::tq_norm_count(dim) * static_cast<int64_t>(sizeof(float));
}

void check(const KvCacheShape& s) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  check_range("batch", s.batch, 1, kMax);
  check_range("num_kv_heads", s.num_kv_heads, 1, kMax);
  check_dim("head_dim", s.head_dim);
  check_dim("v_dim", v_dim_of(s));
  check_type("dtype", s.dtype);
  const KvType v_type = v_type_of(s);
  check_type("v_type", v_type);
  const bool coded = s.dtype.is_coded();
  if (coded != v_type.is_coded() || (!coded && !(v_type == s.dtype))) {
    fail("v_type", name(v_type), coded ? "codes, as keys are" : name(s.dtype) + ", as keys are");
  }
  if (s.norm_correction && !coded) fail("norm_correction", "true for " + name(s.dtype), "codes");
  check_range("max_context", s.max_context, 1, kMax - (coded ? kCodedSlotMultiple : 0));
  check_range("window_size", s.window_size, 0, kMax);
  check_range("max_chunk", s.max_chunk, 1, kMax);
  check_range("num_pages", s.num_pages, 0, s.page_size == 0 ? 0 : kMax);
  if (s.page_size == 0) return;
  check_range("max_context", s.max_context, 1, kMax - kMaxPageSize);
  const bool is_power = (s.page_size & (s.page_size - 1)) == 0;
  if (!is_power || s.page_size < kMinPageSize || s.page_size > kMaxPageSize) {
    fail("page_size", std::to_string(s.page_size), "0 or a power of two from 16 to 256");
  }
}

[[noreturn]] void fail_size(const KvCacheShape& s, int64_t slots) {
  fail("batch",
       std::to_string(s.batch) + " sequences of " + std::to_string(slots) + " slots in " +
           std::to_string(s.num_kv_heads) + " heads",
       "a size below 2^63 bytes");
}

// Sequences, or pages, and the slots of each.
struct Blocks {
  int64_t count, slots;
};
Blocks blocks_of(const KvCacheShape& s) {
  const int64_t capacity = KvCache::capacity_of(s);
  if (s.page_size == 0) return {s.batch, capacity};
  // Fewer than 2^62: each factor is below 2^31.
  const int64_t all = s.batch * (capacity / s.page_size);
  const int64_t count = s.num_pages > 0 ? s.num_pages : all;
  if (count > std::numeric_limits<int32_t>::max()) fail_size(s, capacity);
  return {count, s.page_size};
}

// What attention over every cache is told alike.
template <typename Args>
void set_rules(Args& args, const KvAttention& a) {
  args.softmax_scale = a.softmax_scale;
  args.logits_soft_cap = a.logits_soft_cap;
  args.sinks = a.sinks;
  args.alibi_slopes = a.alibi_slopes;
  args.lse = a.lse;
}

}  // namespace

std::string name(KvType type) {
  return type.is_coded() ? "tq" + std::to_string(type.bits()) : std::string(name(type.dtype()));
}

std::optional<KvType> parse_kv_type(std::string_view text) {
  for (const DType dtype : {f32, f16, bf16}) {
    if (text == name(dtype)) return dtype;
  }
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    if (text == name(KvType::tq(bits))) return KvType::tq(bits);
  }
  return std::nullopt;
}

std::string name(const KvTypes& types) {
  return types.k == types.v ? name(types.k) : name(types.k) + "/" + name(types.v);
}

std::optional<KvTypes> parse_kv_types(std::string_view text) {
  const size_t slash = text.find('/');
  const auto k = parse_kv_type(text.substr(0, slash));
  const auto v = slash == text.npos ? k : parse_kv_type(text.substr(slash + 1));
  if (!k || !v || !(*k == *v || (k->is_coded() && v->is_coded()))) return std::nullopt;
  return KvTypes{*k, *v};
}

int64_t KvCache::capacity_of(const KvCacheShape& s) {
  check(s);
  int64_t slots = s.max_context;
  if (s.window_size > 0) {
    slots = std::min(slots, base::round_up(s.window_size + s.max_chunk - 1, kSlotMultiple));
  }
  if (s.page_size > 0) return base::round_up(slots, s.page_size);
  return s.dtype.is_coded() ? base::round_up(slots, kCodedSlotMultiple) : slots;
}

int64_t KvCache::cache_bytes(const KvCacheShape& s) {
  const int64_t capacity = capacity_of(s);
  const Blocks blocks = blocks_of(s);
  const std::array<int64_t, 4> extents = {
      blocks.count, s.num_kv_heads, blocks.slots,
      row_bytes(s.dtype, s.head_dim) + row_bytes(v_type_of(s), v_dim_of(s))};
  const auto bytes = base::checked_product(extents);
  if (!bytes) fail_size(s, capacity);
  if (s.page_size == 0) return *bytes;
  const auto table = static_cast<int64_t>(sizeof(int32_t)) * s.batch * (capacity / s.page_size);
  if (*bytes > std::numeric_limits<int64_t>::max() - table) fail_size(s, capacity);
  return *bytes + table;
}

struct KvCache::Pages {
  Buffer table;                             // the rows of all sequences
  std::vector<int32_t> free;                // taken from the back
  std::vector<std::vector<int32_t>> taken;  // per sequence, in the order of slots
  // Device::discard_count() up to which rows were recorded. If it has grown since then, some of
  // them may have been dropped.
  uint64_t recorded_at = 0;
};

KvCache::KvCache(const Device& device, const KvCacheShape& shape) try
    : shape_(shape), capacity_(capacity_of(shape)) {
  cache_bytes(shape);  // reports an overflow
  shape_.v_dim = v_dim_of(shape);
  const Blocks blocks = blocks_of(shape);
  const auto alloc = [&](KvType type, int64_t dim, Buffer& rows, Buffer& norms) {
    const int64_t width = type.is_coded() ? ops::tq_row_bytes({.bits = type.bits()}, dim) : dim;
    const auto of_width = [&](int64_t elements) {
      return Shape{blocks.count, shape.num_kv_heads, blocks.slots, elements};
    };
    rows = device.alloc(type.dtype(), of_width(width));
    if (type.is_coded()) norms = device.alloc(f32, of_width(ops::tq_norm_count(dim)));
  };
  alloc(shape.dtype, shape.head_dim, k_, k_norms_);
  alloc(v_type(), shape_.v_dim, v_, v_norms_);
  if (!is_paged()) return;
  shape_.num_pages = blocks.count;
  pages_ = std::make_shared<Pages>();
  pages_->taken.resize(static_cast<size_t>(shape.batch));
  pages_->recorded_at = device.discard_count();
  for (int64_t i = blocks.count; i-- > 0;) pages_->free.push_back(static_cast<int32_t>(i));
  const std::vector<int32_t> none(static_cast<size_t>(shape.batch * (capacity_ / shape.page_size)),
                                  -1);
  block_table_ = device.upload(none.data(), i32, {shape.batch, capacity_ / shape.page_size});
  pages_->table = block_table_;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

int64_t KvCache::bytes() const {
  size_t total = k_.byte_len() + v_.byte_len();
  if (is_coded()) total += k_norms_.byte_len() + v_norms_.byte_len();
  if (is_paged()) total += block_table_.byte_len();
  return static_cast<int64_t>(total);
}

KvCache KvCache::sequences(int64_t begin, int64_t count) const try {
  check_range("begin", begin, 0, shape_.batch - 1);
  check_range("count", count, 1, shape_.batch - begin);
  KvCache view = *this;
  view.shape_.batch = count;
  if (is_paged()) {
    view.block_table_ = block_table_.rows(begin, count);
    view.first_sequence_ = first_sequence_ + begin;
    return view;
  }
  view.k_ = k_.rows(begin, count);
  view.v_ = v_.rows(begin, count);
  if (is_coded()) {
    view.k_norms_ = k_norms_.rows(begin, count);
    view.v_norms_ = v_norms_.rows(begin, count);
  }
  return view;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

int64_t KvCache::free_pages() const {
  return is_paged() ? static_cast<int64_t>(pages_->free.size()) : 0;
}

// Records the block table once more if some of it may have been dropped: no sequence may go on with
// pages that are another one's.
void KvCache::renew_table(Stream& stream) const {
  const uint64_t discards = stream.device().discard_count();
  if (pages_->recorded_at == discards) return;
  const Buffer& table = pages_->table;
  std::vector<int32_t> entries;
  for (const std::vector<int32_t>& row : pages_->taken) {
    entries.insert(entries.end(), row.begin(), row.end());
    entries.resize(entries.size() + static_cast<size_t>(table.dim(1)) - row.size(), -1);
  }
  stream.upload(table, entries.data());
  pages_->recorded_at = discards;
}

// Gives a sequence its first `count` pages and takes back the others.
void KvCache::set_pages(Stream& stream, int64_t sequence, int64_t count) const {
  auto& taken = pages_->taken[static_cast<size_t>(first_sequence_ + sequence)];
  const auto wanted = static_cast<size_t>(count);
  if (wanted == taken.size()) return;
  std::vector<int32_t> row(taken);
  std::vector<int32_t> free(pages_->free);
  for (; row.size() > wanted; row.pop_back()) free.push_back(row.back());
  for (; row.size() < wanted; free.pop_back()) row.push_back(free.back());
  std::vector<int32_t> entries(row);
  entries.resize(static_cast<size_t>(block_table_.dim(1)), -1);
  stream.upload(block_table_.rows(sequence, 1), entries.data());
  taken.swap(row);
  pages_->free.swap(free);
}

// Pages that a sequence has if `tokens` of it are to fit.
int64_t KvCache::pages_for(int64_t sequence, int64_t tokens) const {
  const auto& taken = pages_->taken[static_cast<size_t>(first_sequence_ + sequence)];
  return std::max(base::ceil_div(std::min(tokens, capacity_), shape_.page_size),
                  static_cast<int64_t>(taken.size()));
}

// Has pages ready for n tokens from `pos` on, where the host knows it.
void KvCache::reserve_for(Stream& stream, const Lengths& pos, int64_t n) const {
  if (!is_paged() || pos.device.valid()) return;
  std::vector<int64_t> tokens;
  for (int64_t b = 0; b < shape_.batch; ++b) {
    tokens.push_back(pos.host[pos.host.size() == 1 ? 0 : static_cast<size_t>(b)] + n);
  }
  reserve_all(stream, 0, tokens);
}

// Has pages ready for tokens[i] tokens of sequence first + i, or throws kContextFull with nothing
// changed.
void KvCache::reserve_all(Stream& stream, int64_t first, const std::vector<int64_t>& tokens) const {
  int64_t left = free_pages();
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t sequence = first + static_cast<int64_t>(i);
    const auto& taken = pages_->taken[static_cast<size_t>(first_sequence_ + sequence)];
    const int64_t more = pages_for(sequence, tokens[i]) - static_cast<int64_t>(taken.size());
    if (more > left) {
      throw Error(ErrorKind::kContextFull,
                  ErrorDetail{"KvCache", "pages", std::to_string(left) + " free",
                              std::to_string(more) + " for " + std::to_string(tokens[i]) +
                                  " tokens of sequence " + std::to_string(sequence)});
    }
    left -= more;
  }
  renew_table(stream);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t sequence = first + static_cast<int64_t>(i);
    set_pages(stream, sequence, pages_for(sequence, tokens[i]));
  }
}

void KvCache::reserve(Stream& stream, int64_t sequence, int64_t tokens) const try {
  check_range("sequence", sequence, 0, shape_.batch - 1);
  check_range("tokens", tokens, 0, shape_.max_context);
  if (is_paged()) reserve_all(stream, sequence, {tokens});
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void KvCache::release(Stream& stream, int64_t sequence, int64_t keep) const try {
  check_range("sequence", sequence, 0, shape_.batch - 1);
  check_range("keep", keep, 0, shape_.max_context);
  if (!is_paged()) return;
  const auto& taken = pages_->taken[static_cast<size_t>(first_sequence_ + sequence)];
  const int64_t pages = base::ceil_div(std::min(keep, capacity_), shape_.page_size);
  renew_table(stream);
  set_pages(stream, sequence, std::min(pages, static_cast<int64_t>(taken.size())));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void KvCache::append(Stream& stream, const Buffer& k, const Buffer& v, const Lengths& pos) const
    try {
  const int64_t n = k.valid() && k.rank() == 4 ? k.dim(1) : 0;
  if (is_ring() && n > shape_.max_chunk) {
    fail("k", std::to_string(n) + " tokens",
         "at most max_chunk " + std::to_string(shape_.max_chunk));
  }
  for (int64_t first : pos.host) {
    if (pos.device.valid() || first <= shape_.max_context - n) continue;
    throw Error(ErrorKind::kContextFull,
                ErrorDetail{"KvCache", "pos",
                            std::to_string(first) + " with " + std::to_string(n) + " new tokens",
                            "at most max_context " + std::to_string(shape_.max_context)});
  }
  const auto ready = [&] { reserve_for(stream, pos, n); };
  if (is_coded()) {
    ops::TqEncodeArgs k_args{.src = k, .to = k_rows(), .pos = pos, .ring = is_ring()};
    k_args.norm_correction = shape_.norm_correction;
    k_args.block_table = block_table_;
    ops::TqEncodeArgs v_args = k_args;
    v_args.src = v;
    v_args.to = v_rows();
    return ops::tq_encode_kv(stream, k_args, v_args, ready);
  }
  ops::KvAppendArgs args{
      .k = k, .k_cache = k_, .v = v, .v_cache = v_, .pos = pos, .ring = is_ring()};
  args.block_table = block_table_;
  ops::kv_append(stream, args, ready);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void KvCache::decode(Stream& stream, const KvAttention& a) const try {
  if (!is_coded()) {
    ops::AttnDecodeArgs args = decode_args(a.q, a.out, a.kv_len);
    set_rules(args, a);
    return ops::attn_decode(stream, args);
  }
  ops::AttnDecodeTqArgs args{
      .q = a.q, .k = k_rows(), .v = v_rows(), .out = a.out, .kv_len = a.kv_len};
  args.ring = is_ring();
  args.mask = is_ring() ? ops::MaskKind::kWindow : ops::MaskKind::kCausal;
  args.window_size = shape_.window_size;
  set_rules(args, a);
  args.block_table = block_table_;
  ops::attn_decode_tq(stream, args);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void KvCache::prefill(Stream& stream, const KvAttention& a) const try {
  if (!is_coded()) {
    ops::AttnPrefillArgs args = prefill_args(a.q, a.out, a.kv_len);
    args.q_layout = a.q_layout;
    args.q_offset = a.q_offset;
    set_rules(args, a);
    return ops::attn_prefill(stream, args);
  }
  ops::AttnPrefillTqArgs args{.q = a.q,
                              .k = k_rows(),
                              .v = v_rows(),
                              .out = a.out,
                              .q_layout = a.q_layout,
                              .kv_len = a.kv_len,
                              .q_offset = a.q_offset};
  args.ring = is_ring();
  args.window_size = shape_.window_size;
  set_rules(args, a);
  args.block_table = block_table_;
  ops::attn_prefill_tq(stream, args);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

ops::AttnDecodeArgs KvCache::decode_args(const Buffer& q, const Buffer& out,
                                         const Lengths& kv_len) const try {
  if (is_coded()) fail("dtype", name(shape_.dtype), "floats for attn_decode");
  ops::AttnDecodeArgs args{.q = q, .k = k_, .v = v_, .out = out, .kv_len = kv_len};
  args.ring = is_ring();
  args.mask = is_ring() ? ops::MaskKind::kWindow : ops::MaskKind::kCausal;
  args.window_size = shape_.window_size;
  args.block_table = block_table_;
  return args;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

ops::AttnPrefillArgs KvCache::prefill_args(const Buffer& q, const Buffer& out,
                                           const Lengths& kv_len) const try {
  if (is_coded()) fail("dtype", name(shape_.dtype), "floats for attn_prefill");
  ops::AttnPrefillArgs args{.q = q, .k = k_, .v = v_, .out = out, .kv_len = kv_len};
  args.ring = is_ring();
  args.window_size = shape_.window_size;
  args.block_table = block_table_;
  return args;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
