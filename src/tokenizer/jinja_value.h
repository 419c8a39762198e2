// SPDX-License-Identifier: Apache-2.0
// Values of the template language, with Python's meaning of equality, order, truth and text.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/jinja_ast.h"

namespace mlxn::tokenizer::jinja {

enum class Type : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kNamespace,
  kLoop,
  kMacro,
  kMethod,
  kFunction,
};

struct List;
struct Dict;
struct Loop;
struct Macro;
struct Method;

// A handle; what it points to lives in the Heap, or in the syntax tree for constant strings.
struct Value {
  Type type = Type::kUndefined;
  union {
    bool boolean;
    int64_t integer;
    double number;
    const std::string* string;  // kString; kUndefined: its name, or null
    List* list;                 // kList, kTuple
    Dict* dict;                 // kDict, kNamespace
    const Loop* loop;
    const Macro* macro;
    const Method* method;
    const char* name;  // kFunction
  };
  Value() : string(nullptr) {}

  bool is(Type other) const { return type == other; }
  bool is_number() const {
    return type == Type::kInt || type == Type::kFloat || type == Type::kBool;
  }
  bool is_sequence() const { return type == Type::kList || type == Type::kTuple; }
  bool is_mapping() const { return type == Type::kDict; }
  bool is_callable() const {
    return type == Type::kMacro || type == Type::kMethod || type == Type::kFunction;
  }
  // Of numbers.
  double as_double() const {
    return type == Type::kFloat  ? number
           : type == Type::kBool ? (boolean ? 1 : 0)
                                 : static_cast<double>(integer);
  }
  int64_t as_int() const { return type == Type::kBool ? (boolean ? 1 : 0) : integer; }
};

Value none();
Value make_bool(bool value);
Value make_int(int64_t value);
Value make_float(double value);
Value make_function(const char* name);

struct List {
  std::vector<Value> items;
};

// Insertion order is kept. Keys are strings, numbers, booleans or none.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::map<std::string, size_t, std::less<>> index;  // from key_of() to the entry
};

struct Method {
  Value self;
  std::string name;
};

struct Scope {
  std::shared_ptr<Scope> parent;
  std::map<std::string_view, Value> variables;
};

struct Macro {
  std::string name;
  const std::vector<std::pair<std::string, Expr*>>* params;
  const Body* body;
  std::shared_ptr<Scope> scope;  // where it was defined
};

struct Loop {
  const std::vector<Value>* items = nullptr;
  size_t index = 0;
};

// What one rendering may take. A step is an expression, a statement, an item of a list or 4 bytes
// of text looked at; what makes several objects counts as several. With sanitizers it takes a
// microsecond at most.
struct Budget {
  uint64_t steps = 400'000;
  uint64_t bytes = uint64_t{48} << 20;  // made in all

  // More for a longer conversation: published templates take some 100 steps a message.
  static Budget for_input(size_t messages, size_t text_bytes);
};

// Memory of one rendering, all freed at its end; and its budget. A template that wants more memory
// or more steps gets Error(kTemplate).
class Heap {
 public:
  explicit Heap(Budget budget = {}) : budget_(budget) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // Counts work. `line` is where errors point.
  void step(uint64_t count = 1);
  // Counts the reading of a text. What is charged as memory need not be counted so.
  void scan(size_t bytes) { step(bytes / 4); }
  void scan(const Value& value) {
    if (value.is(Type::kString)) scan(value.string->size());
  }
  void charge(uint64_t bytes);
  // Fails if a text in the making is too long.
  void check_text(size_t bytes) const;
  // Fails if a text to look for in another is too long.
  void check_part(size_t bytes) const;

  Value string(std::string text);
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value dict();
  Value name_space();
  Value method(Value self, std::string_view name);
  Value macro(Macro macro);
  Value loop(Loop** out);
  void append(List& list, Value item);
  void set(Dict& dict, Value key, Value value);

  int line = 1;

 private:
  Budget budget_;  // what is left
  std::deque<std::string> strings_;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Method> methods_;
  std::deque<Macro> macros_;
  std::deque<Loop> loops_;
};

// Longest string and longest result, in bytes.
inline constexpr size_t kMaxText = size_t{16} << 20;

std::string_view type_name(const Value& value);
bool truthy(const Value& value);
std::optional<Value> find(Heap& heap, const Dict& dict, const Value& key);
std::optional<Value> find(const Dict& dict, std::string_view key);
bool equal(Heap& heap, const Value& a, const Value& b, int depth = 0);
// Negative, zero, positive; fails for values that have no order.
int compare(Heap& heap, const Value& a, const Value& b, int depth = 0);
bool contains(Heap& heap, const Value& container, const Value& item);
// str(value), as printed.
std::string to_text(Heap& heap, const Value& value);
std::string repr(Heap& heap, const Value& value);
std::string float_text(double value);
// The items that a loop sees: of lists, keys of dicts, characters of strings, nothing of undefined.
std::vector<Value> iterate(Heap& heap, const Value& value);
size_t length(Heap& heap, const Value& value);

// JSON, as Python's json.dumps writes it.
struct JsonStyle {
  bool ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string to_json(Heap& heap, const Value& value, const JsonStyle& style);
// `name` is what errors call the text.
Value from_json(Heap& heap, std::string_view text, std::string_view name);

}  // namespace mlxn::tokenizer::jinja
