// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of cuda_single.h, cuda_narrow.h, cuda_wide.h, cuda_stage.cu and
// cuda_pack.cu.
#include "kernels/matmul/cuda_launch.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "kernels/common/gpu_launch.h"
#include "kernels/glu/gpu_launch.h"
#include "kernels/matmul/cuda_args.h"
#include "kernels/matmul/cuda_plan.h"
#include "kernels/matmul/gpu_launch.h"
#include "quant/panels.h"

namespace mlxn::kernels {
namespace {

using mma::Kernel;
using mma::kPanelRows;
using mma::kSpanElements;
using mma::kWidePanels;
using mma::kWideRows;
using mma::kXTileRows;
using mma::Plan;
using mma::Spans;
using quant::PanelLayout;
using quant::WeightView;

constexpr uint32_t kThreads = 256, kPackThreads = 128;

uint32_t u32_of(int64_t value) { return static_cast<uint32_t>(value); }

// What a launch multiplies with the rows of x: weights of one format and K.
struct Product {
  struct Part {
    const void* packed;  // null until the launch is planned
    int64_t rows;
    void* out;
  };

  explicit Product(const MatmulParams& params) : p(params), spans(params.weight) {}
  void add(int64_t rows, void* out) {
    parts.push_back({nullptr, rows, out});
    panels += divide_up(rows, kPanelRows);
  }
  // The one part has gate and up: whole panels of each.
  void halve() {
    Part& gate = parts.front();
    gate.rows /= 2;
    const int64_t bytes = gate.rows / kPanelRows * spans.layout.panel_bytes;
    parts.push_back({static_cast<const std::byte*>(gate.packed) + bytes, gate.rows, nullptr});
  }
  // Panels that are worked on side by side: one of gate and one of up.
  int64_t together() const { return gate == kCudaNotGated ? 1 : 2; }

  const MatmulParams& p;  // of the first part: x, rows, ids, types
  Spans spans;
  std::vector<Part> parts;
  int64_t panels = 0;  // of all parts
  CudaGate gate = kCudaNotGated;
  bool prepared = true;  // all parts; the others are packed in front of the launch
};

Plan plan_of(const Product& product, StreamImpl& stream) {
  return mma::plan_of(product.p, product.spans, product.panels, product.together(),
                      backends::gpu_stream(stream).limits());
}

std::string kernel_of(const MatmulParams& p, const Plan& plan) {
  std::string text = "matmul_single";
  if (plan.kernel == Kernel::kNarrow) text = "matmul_narrow_" + std::to_string(plan.rows);
  if (plan.kernel == Kernel::kWide || plan.kernel == Kernel::kSorted) {
    text = "matmul_wide_" + std::to_string(mma::x_terms(p));
  }
  text += "_" + std::string(name(p.weight.format));
  if (p.weight.format == Format::kAffine) text += "_" + std::to_string(p.weight.bits);
  return text;
}

// The numbers of the bits that are set, 4 bits each.
uint32_t list_of(uint32_t slices) {
  uint32_t list = 0, count = 0;
  for (uint32_t i = 0; i < kCudaSlices; ++i) {
    if ((slices >> i & 1) != 0) list |= i << 4 * count++;
  }
  return list;
}

CudaMatmul args_of(const Product& product, const Plan& plan) {
  const MatmulParams& p = product.p;
  const WeightView& w = p.weight;
  const Spans& spans = product.spans;
  const PanelLayout& layout = spans.layout;
  const bool groups = layout.group_size > 0;
  const int64_t turns = product.panels / product.together(),
                parts = std::max(plan.parts, int64_t{1});
  const uint32_t slices = cuda_slices(spans.count), team_simds = u32_of(std::popcount(slices));
  CudaMatmul args{
      .rows = {},
      .panel_ends = {},
      .cols = u32_of(w.cols),
      .experts = u32_of(w.num_experts),
      .out_rows = u32_of(p.out_rows),
      .rows_per_x = u32_of(p.rows_per_x),
      .tiles = u32_of(plan.tiles),
      .parts = u32_of(plan.parts),
      .part_turns = u32_of(turns / parts),
      .longer_parts = u32_of(turns % parts),
      .team_simds = team_simds,
      .team_share = divide_up(1 << 16, team_simds),
      .slice_list = list_of(slices),
      .prepared = product.prepared,
      .slices = slices,
      .panels = u32_of(product.panels),
      .expert_panels = u32_of(layout.panels),
      .spans = u32_of(spans.count),
      .span_bytes = u32_of(layout.full_span_bytes()),
      .head_bytes = u32_of(layout.head_bytes(kSpanElements)),
      .last_head_bytes = u32_of(layout.head_bytes(spans.last_elements)),
      .biases_at = groups ? u32_of(layout.biases_at(kSpanElements)) : 0,
      .last_biases_at = groups ? u32_of(layout.biases_at(spans.last_elements)) : 0,
      .panel_bytes = u32_of(layout.panel_bytes),
      .group_shift =
          groups
              ? u32_of(std::countr_zero(static_cast<uint64_t>(std::max(layout.group_size / 32, 1))))
              : 0,
      .scale_type = matmul_type(w.scale_dtype),
      .has_biases = layout.has_biases,
      .has_ids = p.ids != nullptr,
      .has_residual = p.residual != nullptr,
      .out_type = matmul_type(p.out_dtype),
      .gated = product.gate,
      .x_tiles = u32_of(plan.kernel == Kernel::kSorted ? mma::sorted_x_tiles(p)
                                                       : plan.tiles * (kWideRows / kXTileRows)),
      .x_stages = u32_of(plan.x_stages),
      .panel_groups = divide_up(product.panels, kWidePanels),
      .sorted = plan.kernel == Kernel::kSorted};
  uint32_t end = 0;
  for (size_t i = 0; i < kCudaWeights; ++i) {
    if (i < product.parts.size()) {
      args.rows[i] = u32_of(product.parts[i].rows);
      end += divide_up(product.parts[i].rows, kPanelRows);
    }
    args.panel_ends[i] = end;
  }
  return args;
}

// Formats whose codes lie in the order of RunOrder (cuda_codecs.h).
bool is_run_order(const WeightView& w) {
  return (w.format == Format::kAffine && w.bits != 8) || w.format == Format::kMlxMxfp4;
}

// Out rows sorted by expert.
struct SortedRows {
  Buffer order;  // u32 [x tiles][8]
  Buffer tiles;  // CudaRowTile [row tiles]
};

SortedRows sort_rows(StreamImpl& stream, const MatmulParams& p, backends::Access& access) {
  constexpr uint32_t kSortThreads = 1024;
  const int64_t x_tiles = mma::sorted_x_tiles(p), row_tiles = mma::sorted_row_tiles(p);
  const SortedRows sorted{
      stream.scratch(static_cast<size_t>(x_tiles * kXTileRows) * sizeof(uint32_t)),
      stream.scratch(static_cast<size_t>(row_tiles) * sizeof(CudaRowTile))};
  backends::Access sorting = access.inputs();
  sorting.write(sorted.order);
  sorting.write(sorted.tiles);
  backends::GpuLaunch launch{
      .op = "expert_matmul", .kernel = "matmul_sort", .groups = {1, 1, 1}, .threads = kSortThreads};
  launch.buffer(p.ids).buffer(sorted.order.data()).buffer(sorted.tiles.data());
  launch.constants(CudaSort{.rows = u32_of(p.out_rows),
                            .experts = u32_of(p.weight.num_experts),
                            .x_tiles = u32_of(x_tiles),
                            .row_tiles = u32_of(row_tiles)});
  const int64_t counts = 2 * (p.weight.num_experts + 1);
  launch.threadgroup(static_cast<size_t>(divide_up(counts, 4)) * 16);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(sorting));
  access.read(sorted.order);
  access.read(sorted.tiles);
  return sorted;
}

// x as the kernel takes it: itself, or f32 rows or terms in scratch memory. `order` is that of
// sorted rows, or null.
const void* stage_x(StreamImpl& stream, const MatmulParams& p, Kernel kernel, const void* order,
                    backends::Access& access) {
  const bool wide = kernel == Kernel::kWide || kernel == Kernel::kSorted;
  const int64_t cols = p.weight.cols, count = p.x_rows * cols;
  const bool as_it_is = p.x_dtype == DType::kF32 && aligned({p.x});
  if (!wide && as_it_is) return p.x;
  const int64_t row_tiles = order != nullptr
                                ? mma::sorted_x_tiles(p)
                                : divide_up(p.x_rows, kWideRows) * (kWideRows / kXTileRows);
  const int64_t x_tiles = row_tiles * (cols / 32);
  const Buffer staged = stream.scratch(wide ? static_cast<size_t>(x_tiles * mma::x_tile_bytes(p))
                                            : static_cast<size_t>(count) * sizeof(float));
  backends::Access staging = access.inputs();
  staging.write(staged);
  const uint32_t groups = wide ? divide_up(x_tiles, kThreads / 32) : divide_up(count, kThreads);
  backends::GpuLaunch launch{
      .op = "matmul",
      .kernel = wide ? "matmul_split_" + std::to_string(mma::x_terms(p)) : "matmul_widen",
      .groups = {groups, 1, 1},
      .threads = kThreads};
  launch.buffer(p.x);
  if (wide) launch.buffer(order);
  launch.buffer(staged.data());
  launch.constants(CudaStage{.rows = u32_of(p.x_rows),
                             .cols = u32_of(cols),
                             .rows_per_x = u32_of(p.rows_per_x),
                             .sorted = order != nullptr,
                             .tiles = u32_of(row_tiles),
                             .x_type = matmul_type(p.x_dtype),
                             .run_order = is_run_order(p.weight)});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(staging));
  access.read(staged);
  return staged.data();
}

bool is_dense(Format format) { return !quant::has_panels(format); }

}  // namespace

uint32_t cuda_slices(int64_t count) {
  uint32_t slices = 0;
  for (int64_t i = 0; i < kCudaSlices; ++i) {
    const bool has_one = count * i / kCudaSlices < count * (i + 1) / kCudaSlices;
    slices |= static_cast<uint32_t>(has_one) << i;
  }
  return slices;
}

std::optional<std::string_view> matmul_cuda_leaves(const MatmulParams& p) {
  if (is_dense(p.weight.format)) return "is for formats of codes and scales";
  return std::nullopt;
}

std::optional<std::string_view> matmul_cuda_refuses(const MatmulParams& p) {
  const WeightView& w = p.weight;
  const Spans spans(w);
  const PanelLayout& layout = spans.layout;
  return refuse_large({p.out_rows, w.rows, w.cols, w.num_experts, w.row_bytes, layout.panel_bytes,
                       layout.panels * w.num_experts, layout.panels * p.out_rows,
                       layout.panels * w.num_experts * spans.count, p.x_rows * w.cols / kThreads});
}

void pack_cuda(StreamImpl& stream, const WeightView& w, backends::Access access, void* out) {
  const Spans spans(w);
  const PanelLayout& layout = spans.layout;
  const int64_t panels = layout.panels * w.num_experts;
  backends::GpuLaunch launch{.op = "prepare",
                             .kernel = "matmul_pack",
                             .groups = {u32_of(panels * spans.count), 1, 1},
                             .threads = kPackThreads};
  launch.buffer(w.data).buffer(w.scales).buffer(w.biases).buffer(out);
  launch.constants(CudaPack{.rows = u32_of(w.rows),
                            .cols = u32_of(w.cols),
                            .panels = u32_of(layout.panels),
                            .spans = u32_of(spans.count),
                            .span_bytes = u32_of(layout.full_span_bytes()),
                            .head_bytes = u32_of(layout.head_bytes(kSpanElements)),
                            .last_head_bytes = u32_of(layout.head_bytes(spans.last_elements)),
                            .panel_bytes = u32_of(layout.panel_bytes),
                            .row_bytes = u32_of(w.row_bytes),
                            .row_scale_bytes = u32_of(w.row_scale_bytes),
                            .block_elements = u32_of(layout.block_elements),
                            .words = u32_of(layout.words),
                            .words_at = u32_of(layout.words_at),
                            .side_size = u32_of(layout.side_size),
                            .side_at = u32_of(layout.side_at),
                            .group_size = u32_of(layout.group_size),
                            .scale_size = u32_of(layout.scale_size),
                            .has_biases = layout.has_biases});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

namespace {

// The panels of a weight: prepared, or, of a weight as stored, packed for this call.
const void* packed_of(StreamImpl& stream, const WeightView& w, backends::Access& access) {
  if (w.packed != nullptr) return w.packed;
  const Buffer panels = stream.scratch(static_cast<size_t>(quant::panel_layout(w).total_bytes));
  backends::Access packing = access.inputs();
  packing.write(panels);
  pack_cuda(stream, w, std::move(packing), panels.data());
  access.read(panels);
  return panels.data();
}

void launch_product(StreamImpl& stream, const char* op, const Product& product, const Plan& plan,
                    backends::Access access) {
  const MatmulParams& p = product.p;
  SortedRows sorted;
  if (plan.kernel == Kernel::kSorted) sorted = sort_rows(stream, p, access);
  const void* const order = sorted.order ? sorted.order.data() : nullptr;
  const void* const x = stage_x(stream, p, plan.kernel, order, access);
  backends::GpuLaunch launch{.op = op,
                             .kernel = kernel_of(p, plan),
                             .groups = {u32_of(plan.groups), 1, 1},
                             .threads = u32_of(plan.threads)};
  const auto part_of = [&product](size_t i) {
    return i < product.parts.size() ? product.parts[i] : Product::Part{nullptr, 0, nullptr};
  };
  for (size_t i = 0; i < kCudaWeights; ++i) launch.buffer(part_of(i).packed);
  launch.buffer(x);
  if (plan.kernel == Kernel::kSingle) launch.buffer(p.ids);
  if (plan.kernel == Kernel::kWide || plan.kernel == Kernel::kSorted) {
    launch.buffer(order).buffer(sorted.tiles ? sorted.tiles.data() : nullptr);
  }
  launch.buffer(p.residual);
  for (size_t i = 0; i < kCudaWeights; ++i) launch.buffer(part_of(i).out);
  launch.constants(args_of(product, plan)).threadgroup(static_cast<size_t>(plan.memory));
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

// Whether one launch can make both products: they differ in the weights, their rows and out.
bool is_alike(const MatmulParams& a, const MatmulParams& b) {
  const WeightView &v = a.weight, &w = b.weight;
  const bool weights = v.format == w.format && v.scale_dtype == w.scale_dtype && v.bits == w.bits &&
                       v.group_size == w.group_size &&
                       (v.biases == nullptr) == (w.biases == nullptr) && v.cols == w.cols &&
                       v.num_experts == w.num_experts;
  const bool rows = a.x == b.x && a.x_dtype == b.x_dtype && a.x_rows == b.x_rows &&
                    a.rows_per_x == b.rows_per_x && a.ids == b.ids && a.out_rows == b.out_rows;
  return weights && rows && a.out_dtype == b.out_dtype;
}

CudaGate gate_of(const GluParams& glu) {
  return glu.activation == ops::Activation::kGeluTanh ? kCudaGeluTanh
         : glu.activation == ops::Activation::kSilu   ? kCudaSilu
                                                      : kCudaNotGated;
}

// Whether glu reads gate and up from where the parts write them.
bool is_linked(const JointMatmulParams& p) {
  const MatmulParams& gate = p.parts.front();
  const GluParams& glu = *p.glu;
  const int64_t rows = gate.weight.rows,
                row_bytes = rows * static_cast<int64_t>(size_of(glu.dtype));
  if (glu.gate != gate.out || glu.dtype != gate.out_dtype) return false;
  if (p.parts.size() == 2) {
    return glu.up == p.parts[1].out && p.parts[1].weight.rows == rows && glu.in_stride == glu.dim &&
           glu.rows * glu.dim == gate.out_rows * rows;
  }
  return p.parts.size() == 1 && glu.in_stride == rows && glu.rows == gate.out_rows &&
         rows % (2 * kPanelRows) == 0 &&
         glu.up == static_cast<const std::byte*>(gate.out) + row_bytes / 2;
}

}  // namespace

void matmul_cuda(StreamImpl& stream, const MatmulParams& p, backends::Access access) {
  Product product(p);
  product.add(p.weight.rows, p.out);
  const Plan plan = plan_of(product, stream);
  if (plan.kernel == Kernel::kGpu) return matmul_gpu(stream, p, std::move(access));
  product.parts[0].packed = packed_of(stream, p.weight, access);
  product.prepared = p.weight.packed != nullptr;
  launch_product(stream, p.ids != nullptr ? "expert_matmul" : "matmul", product, plan,
                 std::move(access));
}

std::optional<std::string_view> joint_cuda_refuses(const JointMatmulParams& params) {
  const MatmulParams& first = params.parts.front();
  int64_t rows = 0;
  for (const MatmulParams& part : params.parts) {
    if (is_dense(part.weight.format)) return "is for formats of codes and scales";
    if (!is_alike(first, part) || part.residual != nullptr) return "is for weights of one format";
    if (auto refusal = matmul_cuda_refuses(part)) return refusal;
    rows += part.weight.rows;
  }
  if (params.glu && (gate_of(*params.glu) == kCudaNotGated || !is_linked(params))) {
    return "joins gelu_tanh and silu of its own products";
  }
  if (first.ids != nullptr && !params.glu) return "takes experts' gate and up only";
  return refuse_large({rows, rows * first.out_rows, rows * first.weight.cols / kSpanElements});
}

void joint_cuda(StreamImpl& stream, const JointMatmulParams& params, backends::Access access) {
  Product product(params.parts.front());
  for (const MatmulParams& part : params.parts) product.add(part.weight.rows, part.out);
  if (params.glu) product.gate = gate_of(*params.glu);
  const Plan plan = plan_of(product, stream);
  if (plan.kernel == Kernel::kGpu) {
    for (const MatmulParams& part : params.parts) matmul_cuda(stream, part, access);
    if (params.glu) glu_gpu(stream, *params.glu, std::move(access));
    return;
  }
  for (size_t i = 0; i < params.parts.size(); ++i) {
    const WeightView& weight = params.parts[i].weight;
    product.parts[i].packed = packed_of(stream, weight, access);
    product.prepared = product.prepared && weight.packed != nullptr;
  }
  if (params.glu) {
    if (product.parts.size() == 1) product.halve();
    product.parts[0].out = params.glu->out;
    product.parts[1].out = nullptr;
  }
  launch_product(stream, "joint_matmul", product, plan, std::move(access));
}

}  // namespace mlxn::kernels
