// SPDX-License-Identifier: Apache-2.0
// The two mask ops, which share their checks of extents.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/no_memory.h"
#include "kernels/attn_mask_build/params.h"
#include "kernels/attn_mask_classify/params.h"
#include "mlxn/ops/attention_mask.h"
#include "ops/check.h"

namespace mlxn::ops {
namespace {

constexpr const char* kBuild = "attn_mask_build";
constexpr const char* kClassify = "attn_mask_classify";
constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();

void check_build(const Device& device, const AttnMaskBuildArgs& args) {
  check_output(kBuild, "out", args.out, device, {f32, f16, bf16});
  if (args.out.rank() != 2) {
    fail(kBuild, "out", "shape " + to_string(args.out.shape()), "2 extents");
  }
  check_range(kBuild, "out: queries", args.out.dim(0), 1, kIntMax);
  check_range(kBuild, "out: keys", args.out.dim(1), 1, kIntMax);
  check_range(kBuild, "q_offset", args.q_offset, 0, kIntMax - args.out.dim(0));
  if (args.window_size) check_min(kBuild, "window_size", *args.window_size, 1);
}

kernels::AttnMaskClassifyParams check_classify(const Device& device,
                                               const AttnMaskClassifyArgs& args) {
  const Buffer& mask = args.mask;
  check_buffer(kClassify, "mask", mask, device, {f32, f16, bf16, u8});
  if (mask.rank() != 2 && mask.rank() != 4) {
    fail(kClassify, "mask", "shape " + to_string(mask.shape()), "2 or 4 extents");
  }
  const int64_t q_len = mask.dim(mask.rank() - 2), k_len = mask.dim(mask.rank() - 1);
  check_range(kClassify, "mask: queries", q_len, 1, kIntMax);
  check_range(kClassify, "mask: keys", k_len, 1, kIntMax);
  check_range(kClassify, "q_tile", args.tiles.q_tile, 1, kIntMax);
  check_range(kClassify, "k_tile", args.tiles.k_tile, 1, kIntMax);
  kernels::AttnMaskClassifyParams params{
      .mask = mask.data(),
      .classes = nullptr,
      .planes = mask.rank() == 4 ? mask.dim(0) * mask.dim(1) : 1,
      .q_len = q_len,
      .k_len = k_len,
      .q_tile = args.tiles.q_tile,
      .k_tile = args.tiles.k_tile,
      .dtype = mask.dtype(),
  };
  check_output(kClassify, "classes", args.tiles.classes, device, {u8});
  Shape shape = mask.shape();
  shape[shape.size() - 2] = params.q_tiles();
  shape[shape.size() - 1] = params.k_tiles();
  check_shape(kClassify, "classes", args.tiles.classes, shape);
  check_overlap(kClassify, "classes", args.tiles.classes, "mask", mask);
  params.classes = reinterpret_cast<uint8_t*>(args.tiles.classes.data());
  return params;
}

}  // namespace

void attn_mask_build(Stream& stream, const AttnMaskBuildArgs& args) try {
  check_build(stream.device(), args);
  const kernels::AttnMaskBuildParams params{
      .out = args.out.data(),
      .q_len = args.out.dim(0),
      .k_len = args.out.dim(1),
      .q_offset = args.q_offset,
      .window_size = std::min(args.window_size.value_or(0), kIntMax),
      .causal = args.causal,
      .dtype = args.out.dtype(),
  };
  backends::Access access;
  access.write(args.out);
  const auto& entry =
      kernels::choose(kBuild, kernels::attn_mask_build_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void attn_mask_classify(Stream& stream, const AttnMaskClassifyArgs& args) try {
  const auto params = check_classify(stream.device(), args);
  backends::Access access;
  access.read(args.mask);
  access.write(args.tiles.classes);
  const auto& entry =
      kernels::choose(kClassify, kernels::attn_mask_classify_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
