// SPDX-License-Identifier: Apache-2.0
// Rows of planned tensors from the source to the output, a piece at a time, on several threads.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "convert/output.h"
#include "convert/plan.h"

namespace mlxn::convert {

struct TensorErrors {
  double relative_rms = 0.0;
  double max_abs = 0.0;
};

class Encoder {
 public:
  // keep_going: called on the calling thread with the bytes of the source that were read since the
  // last call; false stops.
  Encoder(int num_threads, bool measure_errors, std::function<bool(uint64_t)> keep_going);

  // Reads, encodes and writes every row. False if keep_going said so. The bytes are the same for
  // any number of threads, and so are the errors. Throws what the encoders and the file throw, with
  // the tensor's name in front.
  bool write(const PlannedTensor& tensor, FileWriter& file, TensorErrors* errors);

 private:
  base::ThreadPool pool_;
  bool measure_errors_;
  std::function<bool(uint64_t)> keep_going_;
};

}  // namespace mlxn::convert
