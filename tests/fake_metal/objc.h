// SPDX-License-Identifier: Apache-2.0
// A small Objective-C runtime: classes are tables from selectors to C++ functions, objects are C++
// structs with a reference count. metal-cpp runs on it as it is.
#pragma once
#include <objc/message.h>
#include <objc/runtime.h>

#include <atomic>
#include <map>
#include <string>
#include <utility>

namespace fake_metal {

struct ClassInfo;
struct Object {              // begins as objc_object does
  ClassInfo* isa = nullptr;  // null in a class
  std::atomic<long> references{1};
  void (*destroy)(Object*) = nullptr;
};
struct ClassInfo : Object {
  std::string name;
  std::map<SEL, void*> instance_methods, class_methods;
  std::atomic<long> alive{0};
};
ClassInfo* class_named(const std::string& name);
void add_method(const char* class_name, const char* selector, void* function, bool of_class);

template <typename R, typename... A>
void method(const char* class_name, const char* selector, R (*function)(A...)) {
  add_method(class_name, selector, reinterpret_cast<void*>(function), false);
}
template <typename R, typename... A>
void class_method(const char* class_name, const char* selector, R (*function)(A...)) {
  add_method(class_name, selector, reinterpret_cast<void*>(function), true);
}

// Ends the process, as Metal's validation layer does when the interface is misused.
[[noreturn]] void violation(const std::string& text);
inline void require(bool ok, const char* text) {
  if (!ok) violation(text);
}

Object* retain(Object* object);
void release(Object* object);
void autorelease_object(Object* object);

template <typename T>
T* create(const char* class_name) {
  T* const object = new T;
  object->isa = class_named(class_name);
  object->destroy = [](Object* o) { delete static_cast<T*>(o); };
  ++object->isa->alive;
  return object;
}
template <typename T>
T* autorelease(T* object) {
  autorelease_object(object);
  return object;
}
// Answers alloc; init gives the object back.
template <typename T>
void allocatable(const char* class_name) {
  static const char* const name = class_name;
  class_method(
      class_name, "alloc", +[](Object*, SEL) { return create<T>(name); });
}

template <typename T>
class Ref {  // a strong reference
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) {
    if (object_ != nullptr) retain(object_);
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref& operator=(Ref other) {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) release(object_);
  }
  T* operator->() const { return object_; }
  T* get() const { return object_; }

 private:
  T* object_ = nullptr;
};

struct String : Object {
  std::string text;
};
struct Error : Object {
  long code = 0;
  std::string text;
};
String* new_string(const std::string& text);           // autoreleased
Error* new_error(long code, const std::string& text);  // autoreleased

}  // namespace fake_metal
