// SPDX-License-Identifier: Apache-2.0
// Head dims that are no multiple of 16, in caches that end exactly at the last key: address
// sanitizers see a read behind it.
#include "kernels/attn_prefill/params.h"
#include "kernels/common/test_kit.h"
#include "mlxn/ops/attention.h"

namespace mlxn {
namespace {

class PrefillBounds : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, PrefillBounds,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_prefill_entries())));

TEST_P(PrefillBounds, NothingBehindTheLastKeyIsRead) {
  const Device device = testing::entry_device(GetParam());
  Stream stream(device);
  testing::Random random(1);
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t dim : {8, 24, 40, 72, 264}) {
      const int64_t keys = 64;
      const Buffer q = testing::random_buffer(device, f32, {1, 1, keys, dim}, random);
      const Buffer k = testing::random_buffer(device, dtype, {1, 1, keys, dim}, random);
      const Buffer v = testing::random_buffer(device, dtype, {1, 1, keys, dim}, random);
      // The same cache with a row of NaN behind it must give the same bits.
      const Buffer k2 = device.alloc(dtype, {1, 1, keys + 1, dim});
      const Buffer v2 = device.alloc(dtype, {1, 1, keys + 1, dim});
      for (auto [from, to] : {std::pair(&k, &k2), std::pair(&v, &v2)}) {
        std::memset(to->data(), 0xff, to->byte_len());
        std::memcpy(to->data(), from->data(), from->byte_len());
      }
      const testing::GuardedBuffer out(device, f32, q.shape()), poisoned(device, f32, q.shape());
      ops::attn_prefill(stream, {.q = q, .k = k, .v = v, .out = out.view(), .kv_len = keys});
      ops::attn_prefill(stream, {.q = q, .k = k2, .v = v2, .out = poisoned.view(), .kv_len = keys});
      stream.commit().wait();
      out.check();
      EXPECT_EQ(testing::bytes_of(out.view()), testing::bytes_of(poisoned.view()))
          << name(dtype) << " " << dim;
    }
  }
}

}  // namespace
}  // namespace mlxn
