// SPDX-License-Identifier: Apache-2.0
// KV caches, coded rows, and what ops need from the host: frequencies, codebooks, slopes.
#include "binding.h"

namespace mlxn::python {
namespace {

struct Cache {
  KvCache cache;
  Device device;
};

Cache make_cache(const Device& device, int64_t batch, int64_t num_kv_heads, int64_t head_dim,
                 int64_t v_dim, const std::string& kv_type, std::optional<std::string> kv_type_v,
                 bool norm_correction, int64_t max_context, int64_t window_size, int64_t max_chunk,
                 int64_t page_size, int64_t num_pages) {
  KvCacheShape shape{.batch = batch,
                     .num_kv_heads = num_kv_heads,
                     .head_dim = head_dim,
                     .v_dim = v_dim,
                     .dtype = parse_kv(kv_type),
                     .norm_correction = norm_correction,
                     .max_context = max_context,
                     .window_size = window_size,
                     .max_chunk = max_chunk,
                     .page_size = page_size,
                     .num_pages = num_pages};
  if (kv_type_v) shape.v_type = parse_kv(*kv_type_v);
  const nb::gil_scoped_release no_gil;
  return {KvCache(device, shape), device};
}

DeviceRows make_rows(const Array& codes, const Array& norms, int bits, bool byte_per_code,
                     std::vector<float> codebook, std::vector<uint8_t> signs, float scale_factor) {
  return {{codes.buffer,
           norms.buffer,
           {.bits = bits,
            .packing = byte_per_code ? ops::TqPacking::kBytes : ops::TqPacking::kDense,
            .codebook = std::move(codebook),
            .signs = std::move(signs),
            .scale_factor = scale_factor}},
          codes.device};
}

void append(const Cache& c, nb::handle k, nb::handle v, int64_t pos, SharedStream* stream) {
  const Array keys = as_array(k, c.device, "KvCache.append: k");
  const Array values = as_array(v, c.device, "KvCache.append: v");
  record(c.device, stream, k,
         [&](Stream& s) { c.cache.append(s, keys.buffer, values.buffer, pos); });
}

Array attend(const Cache& c, nb::handle q, int64_t kv_len, float softmax_scale,
             float logits_soft_cap, SharedStream* stream) {
  const Array query = as_array(q, c.device, "KvCache.attend: q");
  const bool decode = query.buffer.rank() == 3;
  Shape shape = query.buffer.shape();
  if (!shape.empty() && c.cache.shape().v_dim > 0) shape.back() = c.cache.shape().v_dim;
  const Array out{c.device.alloc(query.buffer.dtype(), shape), c.device};
  const KvAttention args{.q = query.buffer,
                         .out = out.buffer,
                         .kv_len = kv_len,
                         .softmax_scale = softmax_scale,
                         .logits_soft_cap = logits_soft_cap};
  record(c.device, stream, q,
         [&](Stream& s) { decode ? c.cache.decode(s, args) : c.cache.prefill(s, args); });
  return out;
}

template <auto Get>
Array buffer_of(const Cache& c) {
  return {(c.cache.*Get)(), c.device};
}
template <auto Get>
DeviceRows rows_of(const Cache& c) {
  return {(c.cache.*Get)(), c.device};
}
template <auto Get>
Array array_of(const DeviceRows& r) {
  return {r.rows.*Get, r.device};
}

}  // namespace

void bind_op_helpers(nb::module_& m) {
  nb::class_<DeviceRows>(m, "TqRows", "A coded cache, K or V: codes, norms and their format.")
      .def_static("make", &make_rows, "codes"_a, "norms"_a, "bits"_a = 4, "byte_per_code"_a = false,
                  "codebook"_a = std::vector<float>(), "signs"_a = std::vector<uint8_t>(),
                  "scale_factor"_a = 1.0f,
                  "codes u8 [B, Hkv, C, row bytes], norms f32 [B, Hkv, C, 1 or 2].")
      .def_prop_ro("codes", &array_of<&ops::TqRows::codes>)
      .def_prop_ro("norms", &array_of<&ops::TqRows::norms>)
      .def_prop_ro("bits", [](const DeviceRows& r) { return r.rows.format.bits; })
      .def_prop_ro("device", [](const DeviceRows& r) { return r.device; });
  m.def("check_sampling_params", &ops::check_sampling_params, "params"_a,
        "Throws for a parameter outside its range.");
  m.def("rope_frequencies", &ops::rope_frequencies, "theta"_a, "rotary_dim"_a, "denominator"_a,
        "factors"_a = std::vector<float>(),
        "theta^(-2 i / denominator) / factors[i], i < rotary_dim / 2.");
  m.def("alibi_slopes", &ops::alibi_slopes, "num_heads"_a);
  m.def("lloyd_max", &ops::lloyd_max, "bits"_a,
        "The 2^bits ascending levels of the Lloyd-Max quantiser of N(0, 1).");
  m.def("tq_codebook", &ops::tq_codebook, "bits"_a, "Levels by code.");
  m.def("tq_signs", &ops::tq_signs, "512 signs, bit j % 8 of byte j / 8 set: -1.");
  m.def(
      "tq_row_bytes", [](int bits, int64_t dim) { return ops::tq_row_bytes({.bits = bits}, dim); },
      "bits"_a, "dim"_a);
  m.def("tq_norm_count", &ops::tq_norm_count, "dim"_a);
  m.def("tq_stream_pack", [](int kind, const std::vector<uint8_t>& indices) {
    return ops::tq_stream_pack(static_cast<ops::TqStream>(kind), indices);
  });
  m.def("tq_stream_unpack", [](int kind, const std::vector<uint8_t>& bytes, int64_t dim) {
    return ops::tq_stream_unpack(static_cast<ops::TqStream>(kind), bytes, dim);
  });
}

void bind_cache(nb::module_& m) {
  nb::class_<Cache>(m, "KvCache", "Keys and values of one layer for a batch of sequences.")
      .def_static(
          "make", &make_cache, "device"_a, nb::kw_only(), "batch"_a = 1, "num_kv_heads"_a = 1,
          "head_dim"_a, "v_dim"_a = 0, "kv_type"_a = "f16", "kv_type_v"_a = nb::none(),
          "norm_correction"_a = false, "max_context"_a, "window_size"_a = 0, "max_chunk"_a = 1,
          "page_size"_a = 0, "num_pages"_a = 0,
          "kv_type: f32, f16, bf16, or tq2 to tq8 for codes. norm_correction: as in tq_encode. "
          "window_size > 0: a ring. "
          "page_size > 0: num_pages pages that sequences take and give back.")
      .def_prop_ro("device", [](const Cache& c) { return c.device; })
      .def_prop_ro("capacity", [](const Cache& c) { return c.cache.capacity(); })
      .def_prop_ro("nbytes", [](const Cache& c) { return c.cache.bytes(); })
      .def_prop_ro("is_ring", [](const Cache& c) { return c.cache.is_ring(); })
      .def_prop_ro("k", &buffer_of<&KvCache::k>, "[batch, Hkv, capacity, head_dim], or the codes.")
      .def_prop_ro("v", &buffer_of<&KvCache::v>)
      .def_prop_ro("k_rows", &rows_of<&KvCache::k_rows>)
      .def_prop_ro("v_rows", &rows_of<&KvCache::v_rows>)
      .def_prop_ro("free_pages", [](const Cache& c) { return c.cache.free_pages(); })
      .def(
          "release",
          [](const Cache& c, int64_t sequence, int64_t keep) {
            record(c.device, nullptr, nb::none(),
                   [&](Stream& s) { c.cache.release(s, sequence, keep); });
          },
          "sequence"_a = 0, "keep"_a = 0, "Gives back the pages behind the first `keep` tokens.")
      .def("append", &append, "k"_a, "v"_a, "pos"_a, "stream"_a.none() = nb::none(),
           "Writes tokens k and v [batch, n, Hkv, head_dim] at positions pos ..")
      .def("attend", &attend, "q"_a, "kv_len"_a, nb::kw_only(), "softmax_scale"_a = 1.0f,
           "logits_soft_cap"_a = 0.0f, "stream"_a.none() = nb::none(),
           "q [batch, H, D], or [batch, H, n, D] at the last n of kv_len positions; window and "
           "type are the cache's.");
}

}  // namespace mlxn::python
