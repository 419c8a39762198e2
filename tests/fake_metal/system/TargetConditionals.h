// SPDX-License-Identifier: Apache-2.0
// What metal-cpp uses of Apple's header of this name: nothing, on Linux.
#pragma once
