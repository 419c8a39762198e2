// SPDX-License-Identifier: Apache-2.0
// Chat templates against jinja2, from committed fixtures; limits; the public call.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mlxn/tokenizer.h"
#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/test_support.h"

namespace mlxn::tokenizer {
namespace {

// 2031-05-07 09:03:02 UTC, the clock of make_template_fixtures.py.
constexpr int64_t kNow = 1935910982;

std::string render(const std::string& source) {
  jinja::Heap heap;
  const jinja::Template parsed = jinja::parse(source);
  return jinja::Interpreter(heap, kNow).run(parsed);
}

class TemplateParity : public testing::Test {
 protected:
  static const TestJson& cases() {
    static const TestJson all = read_template_cases();
    return all;
  }
};

// Names of variables must outlive the interpreter: they are views into the fixture.
std::string render_case(const TestJson& entry) {
  jinja::Heap heap;
  jinja::Interpreter interpreter(heap, kNow);
  const jinja::Template parsed = jinja::parse(entry[1].get_ref<const std::string&>());
  for (auto item = entry[2].begin(); item != entry[2].end(); ++item) {
    interpreter.define(item.key(), jinja::from_json(heap, item.value().dump(), item.key()));
  }
  return interpreter.run(parsed);
}

TEST_F(TemplateParity, ResultsEqualJinja2) {
  size_t compared = 0;
  for (const TestJson& entry : cases()) {
    if (entry[3].is_null()) continue;
    ++compared;
    try {
      EXPECT_EQ(render_case(entry), entry[3].get<std::string>()) << entry[0] << "\n" << entry[1];
    } catch (const Error& error) {
      ADD_FAILURE() << entry[0] << ": " << error.what() << "\n" << entry[1].get<std::string>();
    }
  }
  EXPECT_GE(compared, 120u);
}

TEST_F(TemplateParity, FailuresNameTheLine) {
  size_t compared = 0;
  for (const TestJson& entry : cases()) {
    if (!entry[3].is_null()) continue;
    ++compared;
    const std::string line =
        entry[4].is_null() ? "line " : fmt::format("line {}:", entry[4].get<int>());
    SCOPED_TRACE(entry[0].get<std::string>() + " " + entry[1].get<std::string>());
    expect_error(ErrorKind::kTemplate, line, [&] { render_case(entry); });
  }
  EXPECT_GE(compared, 40u);
}

TEST(Template, HostileTemplatesStop) {
  const auto hostile = [](const std::string& source, const char* part) {
    SCOPED_TRACE(source.substr(0, 100));
    expect_error(ErrorKind::kTemplate, part, [&] { render(source); });
  };
  hostile("{% for i in range(1000000000) %}{% endfor %}", "too long");
  hostile("{% for i in range(5000) %}{% for j in range(5000) %}{% endfor %}{% endfor %}",
          "too long");
  hostile("{{ 'x' * 100000000 }}", "16 MiB");
  hostile(
      "{% set ns = namespace(s='xx') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% "
      "endfor %}",
      "16 MiB");
  hostile(
      "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% "
      "endfor %}",
      "memory");
  hostile("{% for i in range(99) %}{{ 'x' * 1000000 }}{% endfor %}", "too long");
  hostile("{% set l = [1] %}{% for i in l %}{% set _ = l.append(l) %}{% endfor %}{{ l }}",
          "deeply");
  hostile("{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}", "deeply");
  hostile("{% set l = [] %}{% set _ = l.append(l) %}{{ l == [l] }}", "deeply");
  hostile(
      "{% set ns = namespace(a=[]) %}{% for i in range(200) %}{% set ns.a = [ns.a, ns.a] %}{% "
      "endfor %}{{ ns.a }}",
      "deeply");
  hostile(
      "{% set ns = namespace(a=[]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% "
      "endfor %}{{ ns.a == ns.a[0] or ns.a | tojson }}",
      "chat template line 1");
  hostile("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply");
  hostile("{% macro f(x) %}{% if x %}{{ f(x) + f(x) }}{% endif %}{% endmacro %}{{ f(1) }}",
          "too deeply");
  hostile("{{ " + std::string(40000, '(') + "1" + std::string(40000, ')') + " }}", "too deeply");
  hostile("{{ " + std::string(40000, '[') + std::string(40000, ']') + " }}", "too deeply");
  hostile("{{ " + std::string(40000, '-') + "1 }}", "too deeply");
  std::string nots;
  for (int i = 0; i < 40000; ++i) nots += "not ";
  hostile("{{ " + nots + "1 }}", "too deeply");
  std::string sum = "1";
  for (int i = 0; i < 40000; ++i) sum += "+1";
  hostile("{{ " + sum + " }}", "too long");
  std::string ifs;
  for (int i = 0; i < 20000; ++i) ifs += "{% if 1 %}";
  hostile(ifs, "too deeply");
  hostile("{{ 9223372036854775807 + 1 }}", "64 bits");
  hostile("{{ 9999999999999999999 }}", "out of range");
  hostile("{{ 7 ** 7 ** 7 ** 7 }}", "64 bits");
  hostile("{{ strftime_now('%Q') }}", "strftime");
  hostile("{{ 'a' | indent(1000000000) }}", "indentation");
}

TEST(Template, NothingLeadsOutOfTheSandbox) {
  EXPECT_EQ(render("{{ ''.__class__ }}|{{ [].__class__ is defined }}|{{ {}['__class__'] }}"),
            "|False|");
  expect_error(ErrorKind::kTemplate, "line 1", [] { render("{{ ''.__class__.__mro__ }}"); });
  expect_error(ErrorKind::kTemplate, "line 1", [] { render("{{ open('/etc/passwd') }}"); });
}

TEST(Template, BytesThatAreNoUtf8PassThrough) {
  const std::string bytes = "a\xff\xe4\xb8z";
  const auto tokenizer = Tokenizer::from_json(
      read_fixture("gemma_tokenizer.json"), {},
      "{{ messages[0].content }}|{{ messages[0].content[::-1] }}|{{ messages[0].content | length }}"
      "|{{ messages[0].content | tojson }}|{{ messages[0].content | upper | trim }}");
  const std::vector<ChatMessage> messages = {{"user", bytes}};
  EXPECT_EQ(tokenizer.apply_chat_template(messages),
            bytes + "|z\xe4\xb8\xff" + "a|4|\"" + bytes + "\"|A\xff\xe4\xb8Z");
}

TEST(ChatTemplate, VariablesAndChoice) {
  const std::string config =
      R"({"bos_token": "<bos>", "eos_token": {"content": "<eos>"}, "chat_template": [
      {"name": "default", "template": "{{ bos_token }}{{ eos_token }}{{ tools }}{{ add_generation_prompt }}{{ x | default('-') }}"},
      {"name": "tool_use", "template": "{{ tools | length }} tools"}]})";
  const std::string json = read_fixture("gemma_tokenizer.json");
  const auto tokenizer = Tokenizer::from_json(json, config);
  EXPECT_TRUE(tokenizer.has_chat_template());
  EXPECT_EQ(tokenizer.apply_chat_template({}), "<bos><eos>NoneTrue-");
  ChatOptions options;
  options.add_generation_prompt = false;
  options.variables["x"] = R"({"a": [1, "é"]})";
  EXPECT_EQ(tokenizer.apply_chat_template({}, options), "<bos><eos>NoneFalse{'a': [1, 'é']}");
  options.variables["tools"] = "[{}, {}]";
  EXPECT_EQ(tokenizer.apply_chat_template({}, options), "2 tools");
  options.variables["x"] = "{broken";
  expect_error(ErrorKind::kInvalidArgument, "variables[x]",
               [&] { tokenizer.apply_chat_template({}, options); });

  const auto file_wins = Tokenizer::from_json(json, config, "from file");
  EXPECT_EQ(file_wins.apply_chat_template({}), "from file");
  const auto none = Tokenizer::from_json(json);
  EXPECT_FALSE(none.has_chat_template());
  expect_error(ErrorKind::kTemplate, "chat template", [&] { none.apply_chat_template({}); });
}

TEST(ChatTemplate, RenderedTextEncodesWithoutSecondBos) {
  const auto tokenizer = Tokenizer::from_json(read_fixture("gemma_tokenizer.json"), {},
                                              "{{ bos_token }}{% for m in messages %}<|turn>{{ "
                                              "m.role }}\n{{ m.content }}<turn|>\n{% endfor %}");
  const std::vector<ChatMessage> messages = {{"user", "hi"}};
  const std::string text = tokenizer.apply_chat_template(messages);
  EXPECT_EQ(text, "<bos><|turn>user\nhi<turn|>\n");
  const auto ids = tokenizer.encode(text, {false, true});
  EXPECT_EQ(ids.front(), *tokenizer.bos_id());
  EXPECT_EQ(ids[1], *tokenizer.token_id("<|turn>"));
  EXPECT_EQ(tokenizer.encode(text), ids) << "BOS is there already";
}

}  // namespace
}  // namespace mlxn::tokenizer
