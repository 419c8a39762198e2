// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/rope/gpu_launch.h"

#include <bit>
#include <utility>

#include "kernels/common/gpu_attn_launch.h"
#include "kernels/common/gpu_tq_launch.h"
#include "kernels/rope/gpu_args.h"

namespace mlxn::kernels {
namespace {

constexpr uint32_t kSimdsPerGroup = 4;

// From the first to the second element of a pair; 0 if they are neighbours.
int64_t half_dim(const RopeParams& p) {
  switch (p.pairing) {
    case ops::RopePairing::kSplitHead:
      return p.pairs > 0 ? p.head_dim / 2 : 0;
    case ops::RopePairing::kSplitRotary:
      return p.pairs;
    case ops::RopePairing::kInterleaved:
      break;
  }
  return 0;
}

// Few tokens: every head its own simdgroup. Many: the angles are shared among up to 16 heads, in
// about four rounds of the 32 simdgroups that each of 132 cores holds, or two of 16-bit heads,
// which take half the time to move and pay for half as many angles.
int64_t heads_per_simd(const RopeParams& p) {
  const int64_t simds = p.dtype == DType::kF32 ? 16384 : 8192;
  const int64_t parts = std::clamp<int64_t>(simds / std::max<int64_t>(p.tokens, 1), 1, p.heads);
  return std::min<int64_t>(divide_up(p.heads, parts), 16);
}

// 16-bit heads whose groups of 4 pairs are more than a simdgroup has lanes: groups are of 8.
bool is_wide(DType dtype, int64_t head_dim) {
  return dtype != DType::kF32 && head_dim > 256 && head_dim <= 512;
}
int64_t pairs_per_lane(DType dtype, int64_t head_dim) { return is_wide(dtype, head_dim) ? 8 : 4; }

// Lanes that share a head: one for each group of pairs, those that rotate apart from the others.
uint32_t lanes_of(DType dtype, int64_t head_dim, int64_t units) {
  const int64_t pairs = pairs_per_lane(dtype, head_dim);
  const uint32_t groups = divide_up(units, pairs) + divide_up((head_dim + 1) / 2 - units, pairs);
  return std::clamp(std::bit_ceil(groups), 4U, 32U);
}

GpuRope gpu_rope(const RopeParams& p) {
  const int64_t half = half_dim(p);
  const int64_t units = half > 0 ? half : p.pairs > 0 ? p.head_dim / 2 : 0;
  const int64_t per_simd = heads_per_simd(p);
  const uint32_t chunks = divide_up(p.heads, per_simd);
  return {.heads = static_cast<uint32_t>(p.heads),
          .head_dim = static_cast<uint32_t>(p.head_dim),
          .pairs = static_cast<uint32_t>(p.pairs),
          .units = static_cast<uint32_t>(units),
          .half_dim = static_cast<uint32_t>(half),
          .lanes = lanes_of(p.dtype, p.head_dim, units),
          .heads_per_simd = static_cast<uint32_t>(per_simd),
          .chunks = chunks,
          .simds = static_cast<uint32_t>(p.tokens) * chunks,
          .weight = p.norm && p.weight != nullptr,
          .inverse_dim = 1.0f / static_cast<float>(p.head_dim),
          .eps = p.eps,
          .weight_offset = p.weight_offset};
}

// Whether heads and their rotated part are whole lanes of pairs and every operand is aligned.
bool has_vectors(const RopeParams& p) {
  const int64_t pairs = pairs_per_lane(p.dtype, p.head_dim);
  const bool fits = p.dtype == DType::kF32 || p.head_dim <= 512;  // a lane for all pairs
  return fits && p.head_dim % (2 * pairs) == 0 && p.pairs % pairs == 0 &&
         aligned({p.x, p.out, p.norm ? p.weight : nullptr, p.pairs > 0 ? p.inv_freq : nullptr});
}
bool has_halves(const RopeParams& p) {
  return has_vectors(p) && (p.pairs == 0 || half_dim(p) == p.head_dim / 2);
}
bool has_neighbours(const RopeParams& p) {
  return has_vectors(p) && p.pairs > 0 && half_dim(p) == 0;
}

bool is_f32(const RopeParams& p) {
  return p.dtype == DType::kF32 && (p.weight == nullptr || p.weight_dtype == DType::kF32);
}

// The same norm and rotation.
bool is_alike(const RopeParams& a, const RopeParams& b) {
  return a.tokens == b.tokens && a.head_dim == b.head_dim && a.positions == b.positions &&
         a.inv_freq == b.inv_freq && a.pairs == b.pairs && a.pairing == b.pairing &&
         a.eps == b.eps && a.weight_offset == b.weight_offset;
}

int64_t all_heads(const QkvRopeParams& p) { return (p.q ? p.q->heads : 0) + 2 * p.k.heads; }

// V as it is projected.
const void* values_of(const QkvRopeParams& p) { return p.v ? p.v->x : p.append.v; }

}  // namespace

std::optional<std::string_view> rope_gpu_refuses(const RopeParams& p) {
  return refuse_large({p.tokens * p.heads, p.head_dim});
}

void rope_gpu(StreamImpl& stream, const RopeParams& p, backends::Access access) {
  const GpuRope args = gpu_rope(p);
  const bool has_weight = args.weight != 0;
  backends::GpuLaunch launch{
      .op = p.norm ? "head_norm_rope" : "rope",
      .kernel = p.norm ? kernel_name("head_norm_rope",
                                     {p.dtype, has_weight ? p.weight_dtype : DType::kF32})
                       : kernel_name("rope", {p.dtype}),
      .groups = {divide_up(args.simds, kSimdsPerGroup), 1, 1},
      .threads = 32 * kSimdsPerGroup,
      .spec = uint32_t{has_halves(p)} | uint32_t{has_neighbours(p)} << 1 |
              uint32_t{is_wide(p.dtype, p.head_dim)} << 2};
  launch.buffer(p.x).buffer(has_weight ? p.weight : nullptr);
  launch.buffer(p.pairs > 0 ? p.positions : nullptr).buffer(p.pairs > 0 ? p.inv_freq : nullptr);
  launch.buffer(p.out).constants(args);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

std::optional<std::string_view> qkv_rope_gpu_refuses(const QkvRopeParams& p) {
  const KvAppendParams& a = p.append;
  if (!is_f32(p.k) || (p.q && !is_f32(*p.q)) || (p.v && !is_f32(*p.v)) ||
      a.src_dtype != DType::kF32) {
    return "is for f32 projections";
  }
  if (a.token_major || a.src_offset != 0 || a.pos_skip != 0 || a.n != a.n_src) {
    return "is for whole calls and head-major caches";
  }
  if (!p.codes.empty()) {
    const TqEncodeParams &k = p.codes[0], &v = p.codes[1];
    if (v.batch != a.batch || v.n != a.n || v.n_src != a.n || v.num_kv_heads != a.num_kv_heads ||
        v.capacity != a.capacity || v.src_dtype != a.src_dtype || v.ring != a.ring ||
        v.pages.table != a.pages.table || k.norm_correction || v.norm_correction) {
      return "is for K and V in like places, without correction of norms";
    }
  }
  const bool v_is_k = p.v && p.v->x == p.k.x;
  const bool is_linked = a.k == p.k.out && a.v != nullptr && (!p.v || a.v == p.v->out) &&
                         p.k.tokens == a.batch * a.n && p.k.heads == a.num_kv_heads &&
                         p.k.head_dim == a.dim && a.v_dim == a.dim && (!p.q || is_alike(p.k, *p.q));
  const bool norms_v = !p.v || (p.v->pairs == 0 && p.v->weight == nullptr && p.v->eps == p.k.eps &&
                                p.v->heads == p.k.heads && p.v->head_dim == p.k.head_dim);
  // V that is k's normed output is what the kernel does not write.
  if (!is_linked || !norms_v || (!p.v && a.v == p.k.out) || (v_is_k && p.v->out == p.k.x)) {
    return "is for calls that read each other";
  }
  return refuse_large(
      {p.k.tokens * all_heads(p), all_heads(p) * p.k.head_dim, a.capacity, a.pages.count});
}

void qkv_rope_gpu(StreamImpl& stream, const QkvRopeParams& p, backends::Access access) {
  const KvAppendParams& a = p.append;
  const RopeParams q = p.q.value_or(RopeParams{});
  RopeParams all = p.k;
  all.heads = all_heads(p);
  GpuRope rope = gpu_rope(all);
  const uint32_t q_chunks = divide_up(q.heads, rope.heads_per_simd);
  const uint32_t kv_chunks = divide_up(p.k.heads, rope.heads_per_simd);
  rope.chunks = q_chunks + 2 * kv_chunks;
  rope.simds = static_cast<uint32_t>(p.k.tokens) * rope.chunks;
  const bool halves = has_halves(p.k) && aligned({q.x, q.weight, q.out, values_of(p)}) &&
                      aligned({a.k_cache, a.v_cache});
  const bool coded = !p.codes.empty();
  backends::GpuLaunch launch{
      .op = "qkv_rope",
      .kernel = coded ? "qkv_encode" : kernel_name("qkv_rope", {a.cache_dtype}),
      .groups = {divide_up(rope.simds, kSimdsPerGroup), 1, 1},
      .threads = 32 * kSimdsPerGroup,
      .spec = halves};
  launch.buffer(q.x).buffer(p.k.x).buffer(values_of(p)).buffer(q.weight).buffer(p.k.weight);
  launch.buffer(rope.pairs > 0 ? p.k.positions : nullptr);
  launch.buffer(rope.pairs > 0 ? p.k.inv_freq : nullptr);
  launch.buffer(a.pos).buffer(a.pages.table).buffer(q.out);
  const GpuQkvRope args{.num_heads = static_cast<uint32_t>(q.heads),
                        .num_kv_heads = static_cast<uint32_t>(p.k.heads),
                        .q_chunks = q_chunks,
                        .kv_chunks = kv_chunks,
                        .v_lanes = lanes_of(DType::kF32, p.k.head_dim, 0),
                        .n = static_cast<uint32_t>(a.n),
                        .capacity = static_cast<uint32_t>(a.capacity),
                        .ring = a.ring,
                        .norm_v = p.v.has_value(),
                        .q_weight = q.weight != nullptr,
                        .k_weight = p.k.weight != nullptr,
                        .pages = gpu_pages(a.pages),
                        .rope = rope};
  if (coded) {
    const TqCache &k = p.codes[0].to, &v = p.codes[1].to;
    launch.buffer(k.codes).buffer(k.norms).buffer(v.codes).buffer(v.norms);
    launch.constants(GpuQkvEncode{args, {gpu_tq_coder(k), gpu_tq_coder(v)}});
  } else {
    launch.buffer(a.k_cache).buffer(a.v_cache).constants(args);
  }
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
