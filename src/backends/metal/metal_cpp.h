// SPDX-License-Identifier: Apache-2.0
// Apple's metal-cpp, and what makes its errors and lifetimes ours.
#pragma once

#include <Foundation/Foundation.hpp>
#include <Metal/Metal.hpp>
#include <string>

namespace mlxn::backends::metal {

// Objects that methods other than new, alloc and copy return live until the innermost scope ends.
class AutoreleaseScope {
 public:
  AutoreleaseScope() : pool_(NS::TransferPtr(NS::AutoreleasePool::alloc()->init())) {}

 private:
  NS::SharedPtr<NS::AutoreleasePool> pool_;
};

inline NS::String* to_ns(const std::string& text) {
  return NS::String::string(text.c_str(), NS::UTF8StringEncoding);
}
std::string to_text(const NS::String* text);
// "text", or what to say where Metal gives no reason.
std::string to_text(const NS::Error* error);
// "MTLCommandBufferErrorDeviceRemoved (text)".
std::string failure_of(const MTL::CommandBuffer& commands);

}  // namespace mlxn::backends::metal
