// SPDX-License-Identifier: Apache-2.0
// What an attn_decode_tq kernel gets.
#pragma once

#include <span>

#include "kernels/attn_decode/params.h"
#include "kernels/turboquant/params.h"

namespace mlxn::kernels {

struct AttnDecodeTqParams {
  AttnDecodeParams attn;  // k and v null, everything else as there
  TqCache k;
  TqCache v;
  bool rotated;  // q and out are in the rotated domain
};

std::span<const Entry<AttnDecodeTqParams>> attn_decode_tq_entries();

}  // namespace mlxn::kernels
