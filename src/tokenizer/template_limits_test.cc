// SPDX-License-Identifier: Apache-2.0
// What one rendering may take: every way to make a template slow or large ends in an error within a
// second and 64 MiB. Long conversations get more.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/test_kit.h"
#include "mlxn/tokenizer.h"
#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/test_support.h"

namespace mlxn::tokenizer {
namespace {

constexpr size_t kMaxBytes = size_t{64} << 20;
constexpr double kMaxSeconds = 1;

template <typename Call>
void expect_within_limits(const Call& call) {
  const base::Cost cost = base::cost_of(call);
  EXPECT_LT(cost.seconds, kMaxSeconds);
  EXPECT_LT(cost.bytes, kMaxBytes);
}

std::string render(const std::string& source) {
  jinja::Heap heap;
  const jinja::Template parsed = jinja::parse(source);
  return jinja::Interpreter(heap, 0).run(parsed);
}

void expect_stopped(const std::string& source, const char* part) {
  SCOPED_TRACE(source.substr(0, 200));
  expect_within_limits([&] { expect_error(ErrorKind::kTemplate, part, [&] { render(source); }); });
}

// A template whose body runs again and again, with a text t of `size` bytes and one t2 that
// differs.
std::string again(const std::string& body, size_t size) {
  return "{% set t = 'a' * " + std::to_string(size) + " %}{% set t2 = t[:-1] + 'b' %}" +
         "{% for i in range(99999) %}{% if " + body + " %}{% endif %}{% endfor %}";
}

TEST(TemplateLimits, Loops) {
  expect_stopped("{% for i in range(1000000000) %}{% endfor %}", "too long");
  expect_stopped("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
                 "too long");
  std::string nested;
  for (int i = 0; i < 40; ++i) nested += "{% for i" + std::to_string(i) + " in range(9) %}";
  for (int i = 0; i < 40; ++i) nested += "{% endfor %}";
  expect_stopped(nested, "too long");
  expect_stopped(
      "{% macro f(n) %}{% for i in range(9) %}{% if n %}{{ f(n - 1) }}{% endif %}"
      "{% endfor %}{% endmacro %}{{ f(30) }}",
      "too long");
  expect_stopped("{% set l = range(99999) | list %}{% for i in l %}{{ l | sum }}{% endfor %}",
                 "too long");
  expect_stopped("{% set l = range(99999) | list %}{% for i in l %}{{ i in l }}{% endfor %}",
                 "too long");
  expect_stopped(
      "{% set l = range(99999) | list %}{% for i in l %}{{ l[i:] | length }}"
      "{% endfor %}",
      "t");
}

// Work that grows with texts is counted by their sizes, not by the expression.
TEST(TemplateLimits, WorkOnLongTexts) {
  for (const char* body : {"t == t2",
                           "t < t2",
                           "t in t2",
                           "t | length",
                           "t.upper() == 1",
                           "t.islower()",
                           "t[5:6] == 1",
                           "t.find('b')",
                           "t.rfind('ba')",
                           "t.count('ab')",
                           "t.startswith(t2)",
                           "t.strip('ab') == 1",
                           "t | int",
                           "t.replace('b', 'c') == 1",
                           "t.split('b') == 1",
                           "{t: 1} == 1",
                           "t | trim == 1",
                           "t.splitlines() == 1",
                           "t.partition('b') == 1",
                           "t | escape == 1",
                           "t | tojson == 1",
                           "t | indent == 1",
                           "t | title == 1",
                           "t[::-1] == 1",
                           "t.isdigit()",
                           "t.title() == 1",
                           "t.isalnum()",
                           "t is lower",
                           "t.find('aab')",
                           "t | string == 1"}) {
    expect_stopped(again(body, 100'000), "line 1");
  }
}

// Searches whose plain form takes the product of both lengths.
TEST(TemplateLimits, SearchForLongParts) {
  for (const char* body : {"t.find(h)", "t.rfind(h)", "h in t", "t.count(h)", "t.split(h) == 1",
                           "t.replace(h, '') == 1", "t.partition(h) == 1", "t.rsplit(h) == 1",
                           "t | replace(h, '') == 1", "t.strip(h) == 1"}) {
    expect_stopped("{% set h = 'b' + 'a' * 100000 + 'b' %}" + again(body, 300'000), "line 1");
  }
  expect_stopped("{% set h = 'a' * 1100000 %}{{ h in h }}", "1100000 bytes to look for");
  expect_stopped("{% set h = 'a' * 700000 + 'b' * 400000 %}{{ 'x'.split(h) }}",
                 "1100000 bytes to look for");
}

TEST(TemplateLimits, GrowingTexts) {
  const std::string doubled = "{% set ns = namespace(s='ab') %}{% for i in range(99) %}";
  expect_stopped(doubled + "{% set ns.s = ns.s + ns.s %}{% endfor %}", "16 MiB");
  expect_stopped(doubled + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "too long");
  expect_stopped(doubled + "{% set ns.s = ns.s * 9 %}{% endfor %}", "16 MiB");
  expect_stopped(doubled + "{% set ns.s = ns.s.replace('a', 'aaaa') %}{% endfor %}", "too long");
  expect_stopped(doubled + "{% set ns.s = ns.s.join([ns.s, ns.s]) %}{% endfor %}", "too long");
  expect_stopped(doubled + "{% set ns.s = [ns.s, ns.s] | join(ns.s) %}{% endfor %}", "too long");
  expect_stopped(doubled + "{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
                 "too long");
  expect_stopped("{% for i in range(99) %}{{ 'x' * 1000000 }}{% endfor %}", "too long");
  expect_stopped("{{ ('&' * 4000000) | escape }}", "too long");
  expect_stopped("{{ ('\\x01' * 4000000) | tojson }}", "16 MiB");
  expect_stopped("{{ ('\\x01' * 8000000) | list | string | length }}", "line 1");
  expect_stopped("{{ ('\\n' * 40000) | indent(1000, true, true) }}", "16 MiB");
  expect_stopped("{{ strftime_now('%c' * 4000000) }}", "line 1");
}

TEST(TemplateLimits, GrowingCollections) {
  const std::string doubled = "{% set ns = namespace(s=['ab']) %}{% for i in range(99) %}";
  expect_stopped(doubled + "{% set ns.s = ns.s + ns.s %}{% endfor %}", "too");
  expect_stopped(doubled + "{% set ns.s = ns.s * 9 %}{% endfor %}", "16 MiB");
  expect_stopped(
      "{% set l = [] %}{% for i in range(99999) %}{% set _ = l.append('x' * 99999) %}"
      "{% endfor %}",
      "too much memory");
  expect_stopped(
      "{% set d = {} %}{% for i in range(9999) %}{% set _ = d.update({'x' * i: i}) %}"
      "{% endfor %}",
      "too");
  expect_stopped("{{ ('a' * 10000000) | list | length }}", "too");
  expect_stopped("{{ ('a' * 10000000) | reverse | length }}", "too");
  expect_stopped("{% for c in 'a' * 10000000 %}{% endfor %}", "too");
}

TEST(TemplateLimits, HugeSplits) {
  for (const char* call : {"split('a')", "rsplit('a')", "split()", "splitlines()", "split('aa')"}) {
    const std::string text = std::string(call) == "split()"        ? "'a '"
                             : std::string(call) == "splitlines()" ? "'\\n'"
                                                                   : "'a'";
    const std::string count = std::string(call) == "split()" ? "530000" : "1200000";
    expect_stopped("{{ (" + text + " * " + count + ")." + call + " | length }}", "parts");
  }
  expect_stopped("{{ [{'a': 1}] | map(attribute='a.' * 8000000) | list }}", "line 1");
}

// Work that grows with the arguments of a call, which are many only in a template made for it.
TEST(TemplateLimits, CallsWithManyArguments) {
  std::string names, named, numbers;
  for (int i = 0; i < 9000; ++i) {
    const std::string name = "a" + std::to_string(i);
    names += name + ",";
    named += name + "=1,";
    numbers += "1,";
  }
  const std::string loop = "{% for i in range(99999) %}";
  const std::string macro = "{% macro f(" + names + ") %}{% endmacro %}";
  expect_stopped(macro + loop + "{{ f() }}{% endfor %}", "too");
  expect_stopped(macro + loop + "{{ f(" + named + ") }}{% endfor %}", "too");
  expect_stopped("{{ range(99999) | map('default', " + numbers + ") | list | length }}" + loop +
                     "{{ range(99999) | select('in', " + numbers + ") | list }}{% endfor %}",
                 "line 1");
  expect_stopped("{% set t = 'A' * 999999 %}{{ [t, t, t, t, t, t, t, t, t, t, t, t] | sort }}",
                 "too");
}

TEST(TemplateLimits, HugeSources) {
  std::string sum = "1";
  for (int i = 0; i < 60'000; ++i) sum += "+1";
  expect_stopped("{{ " + sum + " }}", "more than 100000 tokens");
  std::string prints;
  for (int i = 0; i < 60'000; ++i) prints += "{{ 1 }}";
  expect_stopped(prints, "more than 100000 tokens");
  expect_stopped("{{ " + std::string(2000, 'a') + " }}", "a name of 2000 bytes");
  EXPECT_EQ(render("{{ " + std::string(1024, 'a') + " is defined }}"), "False");
}

// The budget grows with the conversation: what a template does with each message stays possible.
TEST(TemplateLimits, LongConversationsRender) {
  const auto tokenizer = Tokenizer::from_json(
      read_fixture("gemma_tokenizer.json"), {},
      "{% for m in messages %}{% for c in range(200) %}{% if c == 199 %}{{ m.content | trim }}"
      "{% endif %}{% endfor %}{% endfor %}");
  std::vector<ChatMessage> messages(2000, {"user", std::string(1000, 'x')});
  std::string text;
  expect_within_limits([&] { text = tokenizer.apply_chat_template(messages); });
  EXPECT_EQ(text.size(), size_t{2'000'000});
  messages.resize(1);
  messages[0].content.assign(8'000'000, 'x');
  expect_within_limits([&] { text = tokenizer.apply_chat_template(messages); });
  EXPECT_EQ(text.size(), size_t{8'000'000});
}

}  // namespace
}  // namespace mlxn::tokenizer
