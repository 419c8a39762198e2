// SPDX-License-Identifier: Apache-2.0
// A dispatch as its op describes it to a graph, so that the graph can join it with the one behind
// it.
#pragma once

#include <functional>
#include <optional>

#include "mlxn/buffer.h"

namespace mlxn {
class StreamImpl;
}

namespace mlxn::backends {

// Two dispatches as one that writes the same bits.
struct Joined {
  std::function<void(StreamImpl&)> record;  // records the one dispatch
  // An output of the first that the one does not write; empty if there is none.
  Buffer unwritten;
};

class Fusible {
 public:
  virtual ~Fusible() = default;
  // This dispatch and the one right behind it as one; nullopt if that would change bits or memory
  // other than Joined::unwritten.
  virtual std::optional<Joined> join(const Fusible& next) const = 0;
};

}  // namespace mlxn::backends
