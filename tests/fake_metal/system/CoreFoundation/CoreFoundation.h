// SPDX-License-Identifier: Apache-2.0
// What metal-cpp uses of Apple's header of this name.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
typedef double CFTimeInterval;
typedef const struct __CFString* CFStringRef;
