// SPDX-License-Identifier: Apache-2.0
// Marks what the shared library exports; everything else is hidden.
#pragma once

#if defined(MLXN_STATIC)
#define MLXN_API
#else
#define MLXN_API __attribute__((visibility("default")))
#endif
