// SPDX-License-Identifier: Apache-2.0
// Repacking of weights. On the CPU and on CUDA formats of codes and scales become panels of sixteen
// rows (quant/panels.h); dense weights, and all weights on other devices, run as they are.
#include "ops/prepare.h"

#include "base/no_memory.h"
#include "kernels/matmul/cuda_launch.h"
#include "kernels/matmul/pack.h"
#include "mlxn/stream.h"
#include "mlxn/weight.h"
#include "ops/weight_operand.h"
#include "quant/panels.h"

namespace mlxn {
namespace {

bool has_layout(DeviceKind kind, const Weight& weight) {
  const bool takes_panels = kind == DeviceKind::kCpu || kind == DeviceKind::kCuda;
  return takes_panels && quant::has_panels(weight.format);
}

}  // namespace

size_t ops::prepared_bytes(DeviceKind kind, const Weight& weight) {
  if (!has_layout(kind, weight)) return 0;
  return static_cast<size_t>(quant::panel_layout(quant::view_of(weight)).total_bytes);
}

Weight prepare(const Device& device, const Weight& weight) try {
  ops::check_weight_operand("prepare", "weight", weight, device);
  if (weight.packed || !has_layout(device.kind(), weight)) return weight;
  const quant::WeightView view = quant::view_of(weight);
  Weight prepared = weight;
  prepared.packed = device.alloc(u8, {quant::panel_layout(view).total_bytes});
  Stream stream(device);
  backends::Access access;
  ops::read_weight(access, weight);
  access.write(prepared.packed);
  std::byte* const packed = prepared.packed.data();
  if (device.kind() == DeviceKind::kCuda) {
    kernels::pack_cuda(stream.impl(), view, std::move(access), packed);
  } else {
    kernels::matmul::launch_pack(stream.impl(), view, std::move(access), packed);
  }
  stream.commit().wait();
  return prepared;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

size_t prepared_bytes(const Device& device, const Weight& weight) try {
  ops::check_weight_operand("prepared_bytes", "weight", weight, device);
  return ops::prepared_bytes(device.kind(), weight);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
