// SPDX-License-Identifier: Apache-2.0
// What metal-cpp uses of Apple's header of this name.
#pragma once
typedef struct objc_class* Class;
struct objc_object {
  Class isa;
};
typedef objc_object* id;
typedef struct objc_selector* SEL;
typedef struct objc_protocol Protocol;
typedef bool BOOL;
extern "C" {
Class objc_lookUpClass(const char* name);
Protocol* objc_getProtocol(const char* name);
SEL sel_registerName(const char* name);
}
