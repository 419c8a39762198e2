// SPDX-License-Identifier: Apache-2.0
// The Metal text of this build's GPU kernels. The build writes one object per gpu.h
// (cmake/metal_source.cmake); they enter the list while static objects are constructed.
#pragma once

namespace mlxn::backends::metal {

struct KernelSource {
  const char* module;          // "rms_norm"
  const char* const* kernels;  // names that launches use, then null
  const char* text;            // Metal shading language that includes nothing but <metal_stdlib>
  const KernelSource* next;

  KernelSource(const char* name, const char* const* names, const char* source)
      : module(name), kernels(names), text(source), next(head()) {
    head() = this;
  }
  static const KernelSource*& head();
};

// Written by the build: the sources of the library, then null. Naming them makes a static library
// bring them along.
extern const KernelSource* const kLinkedSources[];

}  // namespace mlxn::backends::metal
