// SPDX-License-Identifier: Apache-2.0
// What metal-cpp uses of Apple's header of this name. Callers cast these to the method's type.
#pragma once
#include <objc/runtime.h>
extern "C" {
void objc_msgSend(void);
void objc_msgSend_stret(void);
void objc_msgSend_fpret(void);
}
