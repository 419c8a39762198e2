// SPDX-License-Identifier: Apache-2.0
// Figures of this process and machine.
#pragma once

#include <cstdint>
#include <string>

namespace mlxn::cli {

// Largest resident set of this process, in bytes, since it began or since reset_peak_memory().
uint64_t peak_memory_bytes();
// Starts the count afresh where the system allows it (Linux does).
void reset_peak_memory();
// Bytes per second that num_threads threads together read from memory: the best of several passes
// over 512 MB.
double measure_read_bandwidth(int num_threads);
// HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub.
std::string hugging_face_cache();

}  // namespace mlxn::cli
