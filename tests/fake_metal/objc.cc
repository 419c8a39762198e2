// SPDX-License-Identifier: Apache-2.0
#include "fake_metal/objc.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <vector>

// objc_msgSend finds the method and jumps there, with every register that may hold an argument as
// it was. Receiver and selector are the first two arguments, or, where the result is a large
// struct, the two after its address.
asm(R"(
.macro SEND name, receiver, selector
.globl \name
.type \name, @function
\name:
    pushq %rbp
    movq %rsp, %rbp
    subq $192, %rsp
    movq %rdi, (%rsp)
    movq %rsi, 8(%rsp)
    movq %rdx, 16(%rsp)
    movq %rcx, 24(%rsp)
    movq %r8, 32(%rsp)
    movq %r9, 40(%rsp)
    movq %rax, 48(%rsp)
    movaps %xmm0, 64(%rsp)
    movaps %xmm1, 80(%rsp)
    movaps %xmm2, 96(%rsp)
    movaps %xmm3, 112(%rsp)
    movaps %xmm4, 128(%rsp)
    movaps %xmm5, 144(%rsp)
    movaps %xmm6, 160(%rsp)
    movaps %xmm7, 176(%rsp)
    movq \selector, %r10
    movq \receiver, %rdi
    movq %r10, %rsi
    call fake_metal_find_method
    movq %rax, %r11
    movq (%rsp), %rdi
    movq 8(%rsp), %rsi
    movq 16(%rsp), %rdx
    movq 24(%rsp), %rcx
    movq 32(%rsp), %r8
    movq 40(%rsp), %r9
    movq 48(%rsp), %rax
    movaps 64(%rsp), %xmm0
    movaps 80(%rsp), %xmm1
    movaps 96(%rsp), %xmm2
    movaps 112(%rsp), %xmm3
    movaps 128(%rsp), %xmm4
    movaps 144(%rsp), %xmm5
    movaps 160(%rsp), %xmm6
    movaps 176(%rsp), %xmm7
    leave
    jmp *%r11
.size \name, . - \name
.endm
SEND objc_msgSend, %rdi, %rsi
SEND objc_msgSend_fpret, %rdi, %rsi
SEND objc_msgSend_stret, %rsi, %rdx
)");

namespace fake_metal {
namespace {

struct Pool : Object {
  ~Pool();
  std::vector<Object*> objects;
};
thread_local std::vector<Pool*> pools;

Pool::~Pool() {
  require(!pools.empty() && pools.back() == this, "autorelease pools released out of order");
  pools.pop_back();
  for (Object* const object : objects) release(object);
}

std::map<std::string, ClassInfo>& classes() {
  static std::map<std::string, ClassInfo> all;
  return all;
}

void add_foundation() {
  method(
      "NSObject", "retain", +[](Object* o, SEL) { return retain(o); });
  method(
      "NSObject", "release", +[](Object* o, SEL) { release(o); });
  method(
      "NSObject", "autorelease", +[](Object* o, SEL) { return autorelease(o); });
  method(
      "NSObject", "init", +[](Object* o, SEL) { return o; });
  method(
      "NSObject", "respondsToSelector:", +[](Object* o, SEL, SEL selector) {
        return o->isa->instance_methods.count(selector) != 0;
      });
  method(
      "NSObject",
      "methodSignatureForSelector:", +[](Object*, SEL, SEL) -> Object* { return nullptr; });
  class_method(
      "NSAutoreleasePool", "alloc", +[](Object*, SEL) {
        pools.push_back(create<Pool>("NSAutoreleasePool"));
        return pools.back();
      });
  class_method(
      "NSString", "stringWithCString:encoding:",
      +[](Object*, SEL, const char* text, unsigned long) { return new_string(text); });
  method(
      "NSString", "UTF8String", +[](String* s, SEL) { return s->text.c_str(); });
  method(
      "NSError", "localizedDescription", +[](Error* e, SEL) { return new_string(e->text); });
  method(
      "NSError", "code", +[](Error* e, SEL) { return e->code; });
  class_method(
      "NSURL", "fileURLWithPath:", +[](Object*, SEL, String* path) {
        String* const url = create<String>("NSURL");
        url->text = path->text;
        return autorelease(url);
      });
}

// Made before the objects of any test, so that its end comes after theirs.
struct Runtime {
  Runtime() { add_foundation(); }
  ~Runtime() {
    bool leaked = false;
    for (const auto& [name, info] : classes()) {
      if (info.alive == 0) continue;
      std::fprintf(stderr, "fake Metal: %ld of %s leaked\n", info.alive.load(), name.c_str());
      leaked = true;
    }
    if (leaked) std::_Exit(1);
  }
};
const Runtime runtime;

}  // namespace

ClassInfo* class_named(const std::string& name) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  ClassInfo& info = classes()[name];
  info.name = name;
  return &info;
}

void add_method(const char* class_name, const char* selector, void* function, bool of_class) {
  ClassInfo* const info = class_named(class_name);
  (of_class ? info->class_methods : info->instance_methods)[sel_registerName(selector)] = function;
}

void violation(const std::string& text) {
  std::fprintf(stderr, "fake Metal: %s\n", text.c_str());
  std::abort();
}

Object* retain(Object* object) {
  ++object->references;
  return object;
}

void release(Object* object) {
  if (--object->references > 0) return;
  --object->isa->alive;
  object->destroy(object);
}

void autorelease_object(Object* object) {
  if (pools.empty()) violation(object->isa->name + " autoreleased without a pool");
  pools.back()->objects.push_back(object);
}

String* new_string(const std::string& text) {
  String* const string = create<String>("NSString");
  string->text = text;
  return autorelease(string);
}

Error* new_error(long code, const std::string& text) {
  Error* const error = create<Error>("NSError");
  error->code = code;
  error->text = text;
  return autorelease(error);
}

}  // namespace fake_metal

extern "C" {

Class objc_lookUpClass(const char* name) {
  return reinterpret_cast<Class>(fake_metal::class_named(name));
}
Protocol* objc_getProtocol(const char*) { return nullptr; }
SEL sel_registerName(const char* name) {
  static std::mutex mutex;
  static std::set<std::string> names;
  const std::lock_guard<std::mutex> lock(mutex);
  return reinterpret_cast<SEL>(const_cast<char*>(names.insert(name).first->c_str()));
}

// What metal-cpp's own definitions refer to and the backend does not use.
void* MTLCopyAllDevices() { return nullptr; }
void* MTLCopyAllDevicesWithObserver() { return nullptr; }
void MTLRemoveDeviceObserver() {}
void* _NSConcreteStackBlock[32];
void _Block_object_assign() { std::abort(); }
void _Block_object_dispose() { std::abort(); }

void* fake_metal_find_method(fake_metal::Object* receiver, SEL selector) {
  using fake_metal::ClassInfo;
  static const auto to_nil = +[]() -> long { return 0; };
  if (receiver == nullptr) return reinterpret_cast<void*>(to_nil);
  static ClassInfo* const root = fake_metal::class_named("NSObject");
  const bool is_class = receiver->isa == nullptr;
  ClassInfo* const own = is_class ? static_cast<ClassInfo*>(receiver) : receiver->isa;
  for (ClassInfo* const info : {own, root}) {
    const auto& methods = is_class ? info->class_methods : info->instance_methods;
    const auto found = methods.find(selector);
    if (found != methods.end()) return found->second;
  }
  fake_metal::violation("unrecognised selector " + std::string(is_class ? "+[" : "-[") + own->name +
                        " " + reinterpret_cast<const char*>(selector) + "]");
}

}  // extern "C"
