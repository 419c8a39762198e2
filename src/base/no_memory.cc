// SPDX-License-Identifier: Apache-2.0
#include "base/no_memory.h"

#include "mlxn/error.h"

namespace mlxn::base {
namespace {

// The fields fit the space inside std::string and the text of a runtime_error is shared, so a copy
// allocates nothing.
const Error kNoMemory(ErrorKind::kBufferAllocation,
                      ErrorDetail{"host memory", "", "none left", "free memory"});

}  // namespace

void throw_no_memory() { throw Error(kNoMemory); }

}  // namespace mlxn::base
