// SPDX-License-Identifier: Apache-2.0
// metal-cpp's definitions stand in one file of a program: here, and hidden, since a program that
// links the library may have its own.
#define METALCPP_SYMBOL_VISIBILITY_HIDDEN
#define NS_PRIVATE_IMPLEMENTATION
#define MTL_PRIVATE_IMPLEMENTATION
#include "backends/metal/metal_cpp.h"

namespace mlxn::backends::metal {
namespace {

const char* name_of(NS::Integer code) {
  switch (code) {
    case MTL::CommandBufferErrorInternal:
      return "MTLCommandBufferErrorInternal";
    case MTL::CommandBufferErrorTimeout:
      return "MTLCommandBufferErrorTimeout";
    case MTL::CommandBufferErrorPageFault:
      return "MTLCommandBufferErrorPageFault";
    case MTL::CommandBufferErrorAccessRevoked:
      return "MTLCommandBufferErrorAccessRevoked";
    case MTL::CommandBufferErrorNotPermitted:
      return "MTLCommandBufferErrorNotPermitted";
    case MTL::CommandBufferErrorOutOfMemory:
      return "MTLCommandBufferErrorOutOfMemory";
    case MTL::CommandBufferErrorInvalidResource:
      return "MTLCommandBufferErrorInvalidResource";
    case MTL::CommandBufferErrorMemoryless:
      return "MTLCommandBufferErrorMemoryless";
    case MTL::CommandBufferErrorDeviceRemoved:
      return "MTLCommandBufferErrorDeviceRemoved";
    case MTL::CommandBufferErrorStackOverflow:
      return "MTLCommandBufferErrorStackOverflow";
    default:
      return "MTLCommandBufferError";
  }
}

}  // namespace

std::string to_text(const NS::String* text) {
  const char* const bytes = text == nullptr ? nullptr : text->utf8String();
  return bytes == nullptr ? "" : bytes;
}

std::string to_text(const NS::Error* error) {
  return error == nullptr ? "no reason given" : to_text(error->localizedDescription());
}

std::string failure_of(const MTL::CommandBuffer& commands) {
  const NS::Error* const error = commands.error();
  return std::string(name_of(error == nullptr ? 0 : error->code())) + " (" + to_text(error) + ")";
}

}  // namespace mlxn::backends::metal
