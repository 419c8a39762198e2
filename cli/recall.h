// SPDX-License-Identifier: Apache-2.0
// Recall items as files hold them, such as demo/recall.json.
#pragma once

#include <string>
#include <vector>

#include "mlxn/kv_report.h"

namespace mlxn::cli {

// recall.json beside a model file or directory; empty if there is none.
std::string recall_file_beside(const std::string& model_path);

// The first `count` of {"items": [{"prompt": .., "digits": ".."}, ..]}, all if there are fewer. A
// prompt is a list of token ids, or a string of two base64 characters a token: id = 64 * first +
// second. Throws UsageError that names the flag and the file.
std::vector<RecallItem> read_recall(const std::string& path, size_t count);

}  // namespace mlxn::cli
