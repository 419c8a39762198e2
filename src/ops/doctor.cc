// SPDX-License-Identifier: Apache-2.0
#include "mlxn/doctor.h"

#include <span>
#include <string>
#include <utility>

#include "base/no_memory.h"
#include "kernels/argmax/params.h"
#include "kernels/attn_decode/params.h"
#include "kernels/attn_decode_tq/params.h"
#include "kernels/attn_mask_build/params.h"
#include "kernels/attn_mask_classify/params.h"
#include "kernels/attn_merge/params.h"
#include "kernels/attn_prefill/params.h"
#include "kernels/attn_prefill_tq/params.h"
#include "kernels/common/entry.h"
#include "kernels/dequantize/params.h"
#include "kernels/elementwise/params.h"
#include "kernels/embed/params.h"
#include "kernels/glu/params.h"
#include "kernels/kv_append/params.h"
#include "kernels/matmul/params.h"
#include "kernels/moe_combine/params.h"
#include "kernels/moe_route/params.h"
#include "kernels/rms_norm/params.h"
#include "kernels/rope/params.h"
#include "kernels/sample/params.h"
#include "kernels/skeleton/params.h"
#include "kernels/softmax/params.h"
#include "kernels/top_k/params.h"
#include "kernels/turboquant/params.h"

namespace mlxn {
namespace {

template <typename Params>
KernelReport report_of(const char* op, std::span<const kernels::Entry<Params>> table,
                       const Device& device) {
  KernelReport report{.op = op, .entries = {}, .chosen = {}};
  for (kernels::EntryReport& entry : kernels::report(table, device)) {
    // The emulator is a tool of the tests.
    if (entry.device == DeviceKind::kEmulator && device.kind() != DeviceKind::kEmulator) continue;
    // As choose() does: with strict only the best entry that the device can run may serve a call.
    if (entry.refusal.empty() && device.options().strict && !report.chosen.empty()) {
      entry.refusal = "is not the best (strict)";
    }
    if (entry.refusal.empty() && report.chosen.empty()) report.chosen = entry.name;
    report.entries.push_back({std::move(entry.name), entry.device, std::move(entry.refusal)});
  }
  return report;
}

// Of an op that stands for the calls of others, and makes them where no kernel takes the whole.
template <typename Params>
KernelReport report_of_calls(const char* op, std::span<const kernels::Entry<Params>> table,
                             const Device& device) {
  KernelReport report = report_of(op, table, device);
  const bool is_needed = report.chosen.empty();
  report.entries.push_back({"calls", device.kind(), is_needed ? "" : "one kernel takes the whole"});
  if (is_needed) report.chosen = "calls";
  return report;
}

}  // namespace

std::vector<KernelReport> doctor(const Device& device) try {
  using namespace kernels;  // NOLINT: the tables
  return {
      report_of("argmax", argmax_entries(), device),
      report_of("attn_decode", attn_decode_entries(), device),
      report_of("attn_decode_tq", attn_decode_tq_entries(), device),
      report_of("attn_mask_build", attn_mask_build_entries(), device),
      report_of("attn_mask_classify", attn_mask_classify_entries(), device),
      report_of("attn_merge", attn_merge_entries(), device),
      report_of("attn_prefill", attn_prefill_entries(), device),
      report_of("attn_prefill_tq", attn_prefill_tq_entries(), device),
      report_of("axpy", axpy_entries(), device),
      report_of("dequantize", dequantize_entries(), device),
      report_of("elementwise", elementwise_entries(), device),
      report_of("embed", embed_entries(), device),
      report_of("expert_matmul", expert_matmul_entries(), device),
      report_of("fwht", fwht_entries(), device),
      report_of("glu", glu_entries(), device),
      report_of_calls("joint_matmul", joint_matmul_entries(), device),
      report_of("kv_append", kv_append_entries(), device),
      report_of("matmul", matmul_entries(), device),
      report_of("moe_combine", moe_combine_entries(), device),
      report_of("moe_route", moe_route_entries(), device),
      report_of_calls("qkv_rope", qkv_rope_entries(), device),
      report_of_calls("residual_norms", residual_norms_entries(), device),
      report_of("rms_norm", rms_norm_entries(), device),
      report_of("rope", rope_entries(), device),
      report_of("sample", sample_entries(), device),
      report_of("softmax", softmax_entries(), device),
      report_of("top_k", top_k_entries(), device),
      report_of("tq_decode", tq_decode_entries(), device),
      report_of("tq_encode", tq_encode_entries(), device),
  };
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
