// SPDX-License-Identifier: Apache-2.0
// Runs a launch of a dialect kernel on the host, one fibre per GPU thread, and reports what a GPU
// would do silently. This header must not contain the words that Metal uses for address spaces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace mlxn::backends::emulator {

struct Uint3 {
  uint32_t x = 1, y = 1, z = 1;
};

// ---- what kernels call, through the emulator's <metal_stdlib> ----

// Where a barrier or simdgroup operation stands in the source.
struct Site {
  const char* file;
  int line;
};
// What a lane hands to a simdgroup operation, and gets back.
struct Slot {
  alignas(16) unsigned char value[32];
  uint32_t source;  // the lane a shuffle reads
  bool present;     // false: the lane is not taking part (possible only without the simd detector)
};
void barrier(unsigned flags, Site site);
void simd_barrier(Site site);
// Hands `bytes` bytes to the simdgroup; the last lane to come runs `combine` over the 32 slots.
void collective(void* inout, size_t bytes, uint32_t source, void (*combine)(Slot*), Site site);
// A defect if the value differs between the lanes of the simdgroup.
void same_in_lanes(const void* value, size_t bytes, Site site);
// An access of which the whole simdgroup is the author: no one knows which lane makes it.
void matrix_access(const void* address, size_t bytes, bool write, const void* pc);
// The array that `key` stands for, allocated when the first thread of the group asks.
void* shared(const void* key, const char* name, size_t element_size, size_t count);
bool spec(unsigned index);
uint32_t lane();

// ---- kernels by name ----

struct Ids {
  Uint3 group, group_size, id;
  uint32_t lane, simd;
};
enum class ParamKind : uint8_t { kIn, kShadow, kOut, kInOut, kParams, kTgBuf };
struct Param {
  ParamKind kind;
  std::string name;
  size_t size;  // of an element, or of the params struct
};
struct Kernel {
  std::string name;
  std::vector<Param> params;
  void (*function)() = nullptr;
  void (*call)(void (*function)(), void* const* args, const Ids& ids) = nullptr;
};
// `declaration` is the text of the parameter list: "IN(T, x), OUT(T, y), PARAMS(S, p)".
void add_kernel(const char* name, const char* declaration, const size_t* sizes, size_t count,
                void (*function)(), void (*call)(void (*)(), void* const*, const Ids&));
const Kernel* find_kernel(const std::string& name);

// ---- launches ----

struct Binding {
  void* data = nullptr;  // null: the operand is absent; unused for kTgBuf
  size_t bytes = 0;
};
struct Launch {
  const Kernel* kernel;
  std::vector<Binding> bindings;  // one per parameter
  Uint3 groups;
  uint32_t threads = 32;
  uint32_t spec = 0;
  size_t max_threadgroup_bytes = 32768;
};
// Every detector can be switched off, so that a test can show what it is good for.
struct Options {
  bool bounds = true;         // accesses outside the operands; writes to read-only ones
  bool alignment = true;      // accesses that are not aligned to their own width
  bool races = true;          // two threads, one of them writing, with no barrier in between
  bool uninitialised = true;  // reads of threadgroup memory that nobody wrote
  bool barriers = true;       // barriers that not all threads of the group reach
  bool simd = true;           // simdgroup operations that not all 32 lanes reach, or in which the
                              // arguments of a matrix differ between them
  uint32_t schedule = 0;      // 0: threads run in order; else the seed of a random order
};
// Returns the first defect as text, or an empty string. An access that is out of bounds or
// misaligned is reported before it happens, and the launch ends there.
std::string run(const Launch& launch, const Options& options = {});

// ---- registration ----

// A parameter list as a template argument.
template <size_t N>
struct Text {
  char chars[N];
  constexpr Text(const char (&text)[N]) {  // NOLINT: implicit on purpose
    for (size_t i = 0; i < N; ++i) chars[i] = text[i];
  }
};
// The type of a kernel's last parameter: it carries the declaration and no value.
template <Text kText>
struct Declared {};

// Tells threadgroup pointers from device pointers in a signature.
template <typename T>
struct TgBuf {
  T* data;
  operator T*() const { return data; }
};
template <typename A>
struct Passed;  // how a parameter of type A is made from an address
template <typename T>
struct Passed<T*> {
  static constexpr size_t kSize = sizeof(T);
  static T* from(void* address) { return static_cast<T*>(address); }
};
template <typename T>
struct Passed<const T&> {
  static constexpr size_t kSize = sizeof(T);
  static const T& from(void* address) { return *static_cast<const T*>(address); }
};
template <typename T>
struct Passed<TgBuf<T>> {
  static constexpr size_t kSize = sizeof(T);
  static TgBuf<T> from(void* address) { return {static_cast<T*>(address)}; }
};

// A kernel's function type: its parameters, then five identifiers, then the declaration.
struct Registration {
  template <typename... A>
  Registration(const char* name, void (*function)(A...)) {
    constexpr size_t kHidden = 6;
    add<std::tuple<A...>>(name, reinterpret_cast<void (*)()>(function),
                          std::make_index_sequence<sizeof...(A) - kHidden>());
  }

 private:
  template <Text kText>
  static const char* declaration_of(Declared<kText>) {
    static constexpr auto kCopy = kText;
    return kCopy.chars;
  }
  template <typename Tuple, size_t... I>
  void add(const char* name, void (*function)(), std::index_sequence<I...>) {
    static const size_t sizes[] = {Passed<std::tuple_element_t<I, Tuple>>::kSize...};
    using Last = std::tuple_element_t<std::tuple_size_v<Tuple> - 1, Tuple>;
    add_kernel(name, declaration_of(Last()), sizes, sizeof...(I), function, &enter<Tuple, I...>);
  }
  // What it reads is the emulator's, not the kernel's.
  template <typename Tuple, size_t... I>
  __attribute__((no_sanitize("thread"))) static void enter(void (*function)(), void* const* args,
                                                           const Ids& ids) {
    using Last = std::tuple_element_t<std::tuple_size_v<Tuple> - 1, Tuple>;
    using Function =
        void (*)(std::tuple_element_t<I, Tuple>..., Uint3, Uint3, Uint3, uint32_t, uint32_t, Last);
    reinterpret_cast<Function>(function)(Passed<std::tuple_element_t<I, Tuple>>::from(args[I])...,
                                         ids.group, ids.id, ids.group_size, ids.lane, ids.simd,
                                         Last());
  }
};

}  // namespace mlxn::backends::emulator
