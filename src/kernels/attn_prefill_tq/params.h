// SPDX-License-Identifier: Apache-2.0
// What an attn_prefill_tq kernel gets.
#pragma once

#include <span>

#include "kernels/attn_prefill/params.h"
#include "kernels/turboquant/params.h"

namespace mlxn::kernels {

struct AttnPrefillTqParams {
  // As there, but k and v are null and their strides count rows; no mask, nothing packed.
  AttnPrefillParams attn;
  TqCache k;
  TqCache v;
  bool rotated;  // q and out are in the rotated domain
};

std::span<const Entry<AttnPrefillTqParams>> attn_prefill_tq_entries();

}  // namespace mlxn::kernels
