// SPDX-License-Identifier: Apache-2.0
// Elementwise ops on f32 and f16 vectors, per entry.
#include <benchmark/benchmark.h>

#include "kernels/common/test_kit.h"
#include "kernels/elementwise/params.h"
#include "mlxn/ops/elementwise.h"

namespace mlxn {
namespace {

using kernels::ElementwiseKind;

void run(benchmark::State& state, const std::string& entry, ElementwiseKind kind, DType dtype) {
  const Device device = testing::cpu_device(entry, 0);
  testing::Random random(1);
  const int64_t count = state.range(0);
  const Buffer a = testing::random_buffer(device, dtype, {count}, random);
  const Buffer b = testing::random_buffer(device, dtype, {count}, random);
  const Buffer out = device.alloc(dtype, {count});
  const bool two_inputs = kind == ElementwiseKind::kAdd || kind == ElementwiseKind::kMul;
  Stream stream(device);
  for (auto _ : state) {
    if (kind == ElementwiseKind::kAdd) ops::add(stream, {.a = a, .b = b, .out = out});
    if (kind == ElementwiseKind::kMul) ops::mul(stream, {.a = a, .b = b, .out = out});
    if (kind == ElementwiseKind::kScale) ops::scale(stream, {.x = a, .out = out, .factor = 0.7f});
    if (kind == ElementwiseKind::kSoftcap) ops::softcap(stream, {.x = a, .out = out, .cap = 30.0f});
    stream.commit().wait();
  }
  state.SetItemsProcessed(state.iterations() * count);
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(a.byte_len() * (two_inputs ? 3 : 2)));
}

const bool kRegistered = [] {
  const std::pair<const char*, ElementwiseKind> kinds[] = {{"add", ElementwiseKind::kAdd},
                                                           {"mul", ElementwiseKind::kMul},
                                                           {"scale", ElementwiseKind::kScale},
                                                           {"softcap", ElementwiseKind::kSoftcap}};
  for (const std::string& entry : testing::runnable(kernels::elementwise_entries())) {
    for (const auto& [label, kind] : kinds) {
      for (DType dtype : {f32, f16}) {
        const std::string text = std::string(label) + "/" + std::string(name(dtype)) + "/" + entry;
        benchmark::RegisterBenchmark(text.c_str(),
                                     [entry, kind = kind, dtype](benchmark::State& state) {
                                       run(state, entry, kind, dtype);
                                     })
            ->Arg(2048)
            ->Arg(1 << 20);
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace mlxn
