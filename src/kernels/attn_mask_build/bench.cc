// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "mlxn/ops/attention_mask.h"

namespace mlxn {
namespace {

void attn_mask_build_bf16(benchmark::State& state) {
  const Device device = Device::open("cpu");
  Stream stream(device);
  const int64_t len = state.range(0);
  const Buffer mask = device.alloc(bf16, {len, len});
  for (auto _ : state) {
    ops::attn_mask_build(stream, {.out = mask, .window_size = 1024});
    stream.commit().wait();
  }
  state.SetBytesProcessed(state.iterations() * len * len * 2);
}
BENCHMARK(attn_mask_build_bf16)->Arg(2048)->Arg(8192);

}  // namespace
}  // namespace mlxn
