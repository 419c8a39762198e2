# SPDX-License-Identifier: Apache-2.0
"""Templates that use every feature of the language, and templates in the shape of well-known ones."""

SNIPPETS = r'''
{{ 1 }}|{{ 1.5 }}|{{ "a" }}|{{ true }}|{{ none }}|{{ nothing }}|{{ [1, "a", none, 2.0] }}|{{ {"a": 1, "b": [2]} }}|{{ (1, 2) }}|{{ (1,) }}|{{ () }}
{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 1e16 }} {{ 0.1 + 0.2 }}
{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 3 * 1.0 }} {{ 1_000 }} {{ -3 ** 2 }} {{ - 5 }} {{ +5 }} {{ --5 }} {{ true + 1 }}
{{ "a" ~ 1 ~ none ~ true ~ nothing ~ [1] }} {{ "a" + "b" }} {{ "ab" * 3 }} {{ 2 * "xy" }} {{ [1] + [2] }} {{ [0] * 3 }} {{ "a" * 0 }}|{{ "a" * -1 }}
{{ 'it''s' }} {{ "a\tb\n\\ \" \' \x41 \u00e9 \U0001F600 \101 \q" }} {{ 'single "double"' }}
{{ 1 < 2 }} {{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 1 == 1.0 }} {{ "a" == "b" }} {{ "a" != 1 }} {{ [1, 2] < [1, 3] }} {{ "a" < "b" }} {{ none == none }} {{ true == 1 }}
{{ 1 in [1, 2] }} {{ "a" in "cat" }} {{ "x" not in "cat" }} {{ "k" in {"k": 1} }} {{ 5 not in (1, 2) }} {{ 1 in nothing }}
{{ true and false }} {{ true or x.y }} {{ not true }} {{ not not 1 }} {{ 0 or "fallback" }} {{ "" and 1 }} {{ 1 and 2 }} {{ not 1 == 2 }}
{{ "yes" if true else "no" }} {{ "yes" if false else "no" }} {{ "yes" if false }}|{{ 1 if 0 else 2 if 0 else 3 }}
{{ "abcdef"[0] }} {{ "abcdef"[-1] }} {{ "abcdef"[1:3] }} {{ "abcdef"[::-1] }} {{ "abcdef"[::2] }} {{ "abcdef"[-3:] }} {{ "abcdef"[:-3] }} {{ "abcdef"[10:] }}|{{ "abcdef"[4:1:-1] }} {{ "äöü漢字"[1:4] }} {{ "äöü"[::-1] }}
{{ [1,2,3,4][1:] }} {{ [1,2,3,4][::-1] }} {{ [1,2,3,4][::-2] }} {{ [1,2,3,4][-2] }} {{ [1,2][9] }}|{{ (1,2,3)[1:] }} {{ [1,2,3,4][3:0:-1] }} {{ [1,2,3][-100:100] }} {{ [1,2,3][:] }}
{{ {"a": {"b": [10, 20]}}.a.b[1] }} {{ {"a": 1}["a"] }} {{ {"a": 1}["zz"] }}|{{ {"a": 1}.zz }}|{{ {1: "one", none: "n"}[1] }} {{ [[1, 2], [3]].0.1 }}
{{ none.x }}|{{ 5.x is defined }}|{{ "abc".nope }}|{{ [1]["x"] }}
{{ {"items": 5}["items"] }} {{ {"items": 5}.items() | list }} {{ {"get": 1}.get("get") }} {{ {"a": 1}.get("b", "dflt") }} {{ {"a": 1}.get("b") }}
{{ "  trim me  ".strip() }}|{{ "xxaxx".strip("x") }}|{{ "xxaxx".lstrip("x") }}|{{ "xxaxx".rstrip("x") }}|{{ " \n\ta\u00a0".strip() }}|{{ "abc".strip("ca") }}|{{ "äbä".strip("ä") }}
{{ "a,b,,c".split(",") }} {{ " a  b c ".split() }} {{ "a b c".split(" ", 1) }} {{ "a b c d".split(maxsplit=2) }} {{ "".split() }} {{ "".split(",") }} {{ "a--b--c".rsplit("--", 1) }} {{ "a<x>b<x>c".split("<x>")[-1] }}
{{ "hello".startswith("he") }} {{ "hello".endswith("lo") }} {{ "hello".startswith(("x", "h")) }} {{ "hello".endswith("x") }} {{ "a".startswith("") }}
{{ "hELLO wORLD".upper() }} {{ "HeLLo".lower() }} {{ "hello wORLD it's x2y".title() }} {{ "hELLO".capitalize() }} {{ "straße ÄÖ éÉ ДД".upper() }} {{ "ÄÖ ÉΩ Д".lower() }}
{{ "a.b.c".replace(".", "-") }} {{ "aaa".replace("a", "b", 2) }} {{ "aaa".replace("aa", "x") }} {{ "abcabc".find("c") }} {{ "abcabc".rfind("c") }} {{ "abc".find("x") }} {{ "äöü".find("ü") }} {{ "aXbXc".count("X") }} {{ "abc".index("b") }}
{{ "-".join(["a", "b"]) }} {{ "abc".removeprefix("a") }} {{ "abc".removesuffix("c") }} {{ "12".isdigit() }} {{ "1a".isdigit() }} {{ "ab".isalpha() }} {{ " ".isspace() }} {{ "".isdigit() }} {{ "AB".isupper() }} {{ "a=b=c".partition("=") }} {{ "a=b=c".rpartition("=") }}
{{ "a\nb\r\nc\rd\n".splitlines() }} {{ "\n\na".splitlines() }}
{% set l = [1] %}{% set _ = l.append(2) %}{{ l }} {% set _ = l.extend([3, 4]) %}{{ l }} {{ l.pop() }} {{ l.index(3) }} {{ l.count(1) }} {{ l.pop(0) }} {{ l }} {% set _ = l.insert(1, "x") %}{{ l }}
{% set d = {"b": 1, "a": 2} %}{{ d.keys() | list }} {{ d.values() | list }} {% set _ = d.update({"c": 3}) %}{{ d }} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {% for k in d %}{{ k }}{% endfor %}
{{ "  x ".strip() | upper ~ "!" }} {{ "a" | upper | lower }} {{ -1 | abs }} {{ -5 | string }} {{ (1, 2) | first }} {{ "abc" | last }} {{ [] | first }}|{{ "abc" | first }}
{{ "hello world-foo (bar) it's" | title }} {{ "hELLO wORLD" | capitalize }} {{ "  a b " | trim }}|{{ "xxaxx" | trim("x") }} {{ "aXbX" | replace("X", "y") }} {{ "aXbX" | replace("X", "y", 1) }} {{ 12321 | replace(2, 5) }}
{{ [1, 2, 3] | length }} {{ "äöü" | length }} {{ {"a": 1} | length }} {{ nothing | length }} {{ [3, 1, 2] | count }} {{ [1, 2] | join }} {{ [1, "a", none] | join("-") }} {{ [{"n": 1}, {"n": 2}] | join(",", attribute="n") }}
{{ nothing | default("d") }} {{ "" | default("d") }}|{{ "" | default("d", true) }} {{ none | default("d") }} {{ none | d("e", boolean=true) }} {{ 0 | default(5, true) }} {{ nothing | default }}|
{{ "42" | int }} {{ "x" | int }} {{ "x" | int(7) }} {{ "3.9" | int }} {{ 3.9 | int }} {{ "ff" | int(0, 16) }} {{ "0x1F" | int(base=16) }} {{ " 5 " | int }} {{ "-12" | int }} {{ "2.5" | float }} {{ "x" | float }} {{ "x" | float(1.5) }} {{ 3 | float }} {{ true | int }} {{ none | int }}
{{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.1 | round(method="ceil") }} {{ 2.9 | round(0, "floor") }} {{ 7 | round }}
{{ [3, 1, 2] | sort }} {{ [3, 1, 2] | sort(reverse=true) }} {{ ["b", "A", "c"] | sort }} {{ ["b", "A", "c"] | sort(case_sensitive=true) }} {{ [{"n": 2, "i": 1}, {"n": 1, "i": 2}, {"n": 2, "i": 3}] | sort(attribute="n") | map(attribute="i") | list }}
{{ {"b": 1, "A": 3, "c": 2} | dictsort }} {{ {"b": 1, "A": 3} | dictsort(true) }} {{ {"b": 2, "a": 3} | dictsort(by="value") }} {{ {"b": 2, "a": 3} | dictsort(reverse=true) }} {{ {"x": 1} | items | list }} {{ nothing | items | list }}
{{ ["a", "B", "b", "A"] | unique | list }} {{ ["a", "B", "b", "A"] | unique(case_sensitive=true) | list }} {{ [1, 2, 1] | unique | list }} {{ [{"n": 1}, {"n": 1}] | unique(attribute="n") | list | length }}
{{ [1, 2, 3] | reverse | list }} {{ "abc" | reverse }} {{ [1, 2] | sum }} {{ [{"n": 4}] | sum(attribute="n") }} {{ [1, 2] | sum(start=10) }} {{ [3, 9, 4] | min }} {{ [3, 9, 4] | max }} {{ "abc" | list }}
{{ ["a", "b"] | map("upper") | list }} {{ [{"a": {"b": 1}}, {"a": {"b": 2}}] | map(attribute="a.b") | list }} {{ [{"a": 1}, {}] | map(attribute="a", default=0) | list }} {{ ["a-b"] | map("replace", "-", "+") | list }} {{ ["1", "2"] | map("int") | sum }}
{{ [1, 2, 3, 4] | select("odd") | list }} {{ [1, 2, 3, 4] | reject("odd") | list }} {{ [0, 1, ""] | select | list }} {{ [0, 1, ""] | reject | list }} {{ [1, 5, 9] | select("gt", 3) | list }} {{ ["a", none] | reject("none") | list }}
{{ [{"r": "u", "k": 1}, {"r": "s", "k": 0}, {"k": 2}] | selectattr("r", "equalto", "u") | list }} {{ [{"r": "u", "k": 1}, {"r": "s", "k": 0}] | rejectattr("r", "equalto", "u") | map(attribute="k") | list }} {{ [{"k": 1}, {"k": 0}] | selectattr("k") | list }} {{ [{"r": 1}, {}] | selectattr("r", "defined") | list | length }} {{ [{"r": 1}] | rejectattr("r") | list }}
{{ "l1\nl2\n\nl4" | indent }}|{{ "l1\nl2" | indent(2) }}|{{ "l1\n\nl2" | indent(2, true) }}|{{ "l1\n\nl2" | indent(2, blank=true) }}|{{ "a\nb\n" | indent("> ") }}|{{ "a" | indent(first=true) }}|
{{ {"b": 1, "a": [1, 2.5, none, true, "é\n\"<&>'"], "c": {}, "d": []} | tojson }} {{ {"b": 1, "a": 2} | tojson(sort_keys=true) }} {{ "é😀\u007f\u0001" | tojson }} {{ "é😀" | tojson(ensure_ascii=true) }} {{ 1.0 | tojson }} {{ {1: 2, none: 3, true: 4} | tojson }}
{{ {"a": [1, {"b": 2}], "c": {}, "d": []} | tojson(indent=2) }} {{ [1, 2] | tojson(indent=0) }} {{ {"a": [1, 2]} | tojson(separators=(",", ":")) }} {{ {"a": [1]} | tojson(indent=4, separators=(", ", "=")) }} {{ [] | tojson(indent=2) }}
{{ "<a href='x'>&\"" | escape }} {{ "<b>" | e }} {{ "<b>" | safe }} {{ {"a": 5} | attr("x") }}|
{{ x is defined }} {{ x is undefined }} {{ x is not defined }} {{ none is none }} {{ "a" is string }} {{ 1 is string }} {{ {} is mapping }} {{ [] is mapping }} {{ [] is iterable }} {{ 5 is iterable }} {{ [] is sequence }} {{ {} is sequence }} {{ "a" is sequence }} {{ 5 is sequence }}
{{ 1 is number }} {{ 1.5 is number }} {{ "1" is number }} {{ true is boolean }} {{ 1 is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ range is callable }} {{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }}
{{ 1 is equalto 1 }} {{ 1 is eq 2 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 1 is le 1 }} {{ 1 is gt 2 }} {{ 2 is ge 2 }} {{ 1 is in [1, 2] }} {{ 1 is not in [1, 2] }} {{ "a" is in "abc" }} {{ none is sameas none }} {{ "abc" is lower }} {{ "ABC" is upper }} {{ not x is defined }} {{ x is defined and x.y }} {{ "a" is string and 1 is number or false }}
{% if a %}A{% elif b %}B{% else %}C{% endif %}|{% if not a and b == 2 %}D{% endif %}|{% if a is not none and a is defined %}E{% endif %}
{% for i in [1, 2, 3] %}{{ i }}{{ "," if not loop.last }}{% endfor %} {% for i in [] %}x{% else %}empty{% endfor %} {% for i in nothing %}x{% else %}undefined{% endfor %} {% for c in "äb" %}<{{ c }}>{% endfor %} {% for a, b in [[1, 2], (3, 4)] %}{{ a }}-{{ b }};{% endfor %} {% for (a, b) in [[1, 2]] %}{{ a + b }}{% endfor %}
{% for i in [5, 6, 7] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{ loop.cycle("a", "b") }} {% endfor %}
{% for i in range(10) if i % 2 == 0 %}{{ i }}/{{ loop.length }} {% endfor %}{% for i in range(3, 9, 2) %}{{ i }}{% endfor %} {{ range(5, 0, -2) | list }} {{ range(0) | list }} {% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in [1, 2] %}{% for j in [1, 2] %}{{ i }}{{ j }}{{ loop.index }} {% endfor %}{{ loop.index }};{% endfor %}{% for i in [3] %}{% set y = i %}{{ y }}{% endfor %}{{ y }}|{% set z = 1 %}{% for i in [5, 6] %}{{ z }}{% set z = i %}{{ z }}{% endfor %}{{ z }}
{% set ns = namespace(found=false, n=0) %}{% for i in [1, 2, 3] %}{% set ns.n = ns.n + i %}{% if i == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }} {{ ns.found }} {{ ns.missing }}|{% set ns2 = namespace({"a": 1}, b=2) %}{{ ns2.a }}{{ ns2.b }}
{% set a, b = 1, 2 %}{{ a }}{{ b }} {% set (c, d) = [3, 4] %}{{ c }}{{ d }} {% set t = 1, %}{{ t }} {% set x = 5 %}{% if true %}{% set x = 6 %}{% endif %}{{ x }} {% set body %}text {{ x }}{% endset %}[{{ body }}] {% set up | upper | trim %}  shout {{ x }} {% endset %}[{{ up }}]
{% macro m(a, b="B", c=a) %}<{{ a }}{{ b }}{{ c }}>{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(1, c=3) }}{{ m(b=5, a=4) }}{{ m() }} {% macro n(k) %}{% if k > 0 %}{{ k }}{{ n(k - 1) }}{% endif %}{% endmacro %}{{ n(3) }} {{ m(1) | upper }} {% set r = m(9) %}{{ r | length }}
{% set g = "outer" %}{% macro show() %}{{ g }}{% endmacro %}{{ show() }}{% set g = "later" %}{{ show() }}{% for g in [1] %}{{ show() }}{% endfor %} {% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap("b") %}in {{ g }}{% endcall %} {% macro each(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) each([1, 2]) %}[{{ i }}]{% endcall %}
{% filter upper %}shout {{ 1 }}{% endfilter %} {% filter replace("a", "b") | trim %}  aaa {% endfilter %}| {% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}| {% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}|
{# comment #}a{#- strip -#}  b {# multi
line #} c {% raw %}{{ not }} {% a %}{# b #}{% endraw %} {%- raw -%}  x  {%- endraw -%}  y {{- 1 -}}  z {{- "{{" }} {{ "%}" }} {{ {"a": {"b": 1}}["a"] }} {{ {'a': {'b': 2}}}}
{{ strftime_now("%Y-%m-%d %H:%M:%S %d %b %B %A %j %y %p %I %%") }} {{ dict(a=1, b=2) }} {{ "%s" }} {{ messages | length }} {{ messages[0].role }} {{ messages[-1]["content"] }} {{ messages[::-1][0].role }} {{ (messages | last).role }}
{{ "a" "b" 'c' }} {{ [1, 2,] }} {{ {"a": 1,} }} {{ m is defined }} {{ "\
x" }} {{ 1if true else 2 }} {{ [x for_ in y] if false else "ok" }}
{{ (1 if true else 2) + 1 }} {{ [1, 2, 3][1 if true else 0] }} {{ ("a" ~ "b") * 2 }} {{ 3 - 1 - 1 }} {{ 2 ** 3 ** 2 }} {{ 10 / 4 * 2 }} {{ 1 ~ 2 * 3 }} {{ "x" ~ 2 * 3 }} {{ not true or true }} {{ 5 if not false and true }}
{{ [[1, [2, "x"]], {"k": (1, none)}] }} {{ ["it's", 'say "hi"', "both ' and \""] }} {{ "tab\t" | list }} {{ ["\n\\"] }} {{ [1.0, 1e100, 1e-5, 123456789.123, 1e15, -0.0] }}
{% generationx %}
'''

WHITESPACE = [
    "{% if true %}\n  a\n{% endif %}\nb\n", "  {% if true %}\n  a\n  {% endif %}\n  b", "x {% if true %} y {% endif %} z\n\n", "\n\n{{ 1 }}\n\n", "{{ 1 }}\n",
    "a\n  {%- if true %}\n b\n  {%- endif %}\n c", "a\n  {% if true -%}\n\n b\n  {% endif -%}\n\n c", "a\n  {%+ if true %}\n b\n  {%+ endif %}\n c", "{% if true +%}\nb{% endif +%}\nc",
    "  {# c #}\n  x\n  {#- c -#}\n  y {#+ c +#}\n z", "{{- 1 -}}\n {{ 2 }}\n  {{- 3 }}", "\t{% set a = 1 %}\t\n{{ a }}", "a\r\n{% if true %}\r\nb\r{% endif %}\nc\r\n", "  {{ 1 }}  {% if 1 %}  {{ 2 }}  {% endif %}",
    "{% raw %}\n  {{ x }}\n{% endraw %}\n y", "{%- raw %} a {% endraw -%}  b", "  {% raw %}x{% endraw %}", "{%if 1%}a{%endif%}", "a {%- set x = 1 -%} {{ x }} {%- set y = 2 %} {{ y }}", "{% for i in [1,2] %}\n  {{ i }}\n{% endfor %}\nend",
    "{% for i in [1,2] -%}\n  {{ i }}\n{%- endfor %}\nend", "line\n   {% if 1 %}x{% endif %}   \n   tail", "\u00a0{% if 1 %}x{% endif %}", "a\f{% if 1 %}\nx{% endif %}", "{{ 'a' }}  \n  {% set q = 1 %}  \n  {{ q }}", "\n", "", "\n\n", "{", "{ {", "a{b}%}c}}",
    "{% macro f(x) -%}\n  {{ x }}\n{%- endmacro -%}\n{{ f(1) }}\n{{ f(2) -}}\n!", "{%- if a -%}\n{%- else -%}\n  no\n{%- endif -%}", "   {%- if 1 %}\n\n  k\n{%- endif %}", "{% if 1 %}{# c #}\n{% endif %}x", "x{#-#}y", "a {#--#} b",
]

FAILURES = [
    "{{ x.y.z }}", "a\n{{ x() }}", "{{ raise_exception('bad input') }}", "\n\n{{ raise_exception('third line') }}", "{% if %}", "{% for x in %}{% endfor %}", "{% endif %}", "{% if true %}", "{{ 1 + }}", "{{ 'a' + 1 }}", "{{ [1] + (2,) }}", "{{ 1 // 0 }}", "{{ 5 | nofilter }}",
    "{{ 5 is notest }}", "{% unknown %}", "{{ 'open }}", "{{ (1 }}", "{{ [1, 2 }}", "{% set %}", "{% set x 1 %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{{ none | length }}", "{{ 'a' < 1 }}", "{{ nothing + 1 }}", "{{ 'x' in 5 }}",
    "{% set x.y = 1 %}", "{% macro %}{% endmacro %}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=1) }}", "{{ 'a'.split('') }}", "{{ [1].index(9) }}", "{{ {[1]: 2} }}", "{# open", "{% raw %} open", "{{ 1 }", "{% break %}", "{{ a b }}", "{{ a. }}", "{{ ] }}",
    "{{ f(a=1, 2) }}", "{% if a = 1 %}{% endif %}", "line1\nline2\n{% if true %}\n{{ undefined_thing.attr }}\n{% endif %}", "{{ x | }}", "{{ | upper }}", "{{ nothing | tojson }}", "{{ 'abc' | sum }}", "{% include 'x' %}", "{% else %}", "{{ range(1, 5, 0) | list }}", "{{ ns is }}", "{{ 'a' is 'b' }}",
]

GEMMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set prefix = '' -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for m in turns -%}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('user and assistant must take turns') }}
    {%- endif -%}
    {%- set role = 'model' if m['role'] == 'assistant' else m['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (prefix if loop.first else '') }}
    {%- if m['content'] is string -%}
        {{ m['content'] | trim }}
    {%- elif m['content'] is iterable -%}
        {%- for part in m['content'] -%}
            {%- if part['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif part['type'] == 'text' -%}
                {{ part['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception('unknown content') }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
"""

GEMMA4 = """{%- macro value_text(v, keys=true) -%}
    {%- if v is string -%}
        {{- '<|"|>' + v + '<|"|>' -}}
    {%- elif v is boolean -%}
        {{- 'true' if v else 'false' -}}
    {%- elif v is none -%}
        null
    {%- elif v is mapping -%}
        {{- '{' -}}
        {%- set ns = namespace(first=true) -%}
        {%- for k, x in v | dictsort -%}
            {%- if not ns.first %},{% endif -%}
            {%- set ns.first = false -%}
            {{- k if keys else '<|"|>' ~ k ~ '<|"|>' -}}:{{- value_text(x, keys) -}}
        {%- endfor -%}
        {{- '}' -}}
    {%- elif v is iterable -%}
        {{- '[' -}}
        {%- for x in v -%}
            {{- value_text(x, keys=keys) -}}
            {%- if not loop.last %},{% endif -%}
        {%- endfor -%}
        {{- ']' -}}
    {%- else -%}
        {{- v -}}
    {%- endif -%}
{%- endmacro -%}
{%- macro without_thoughts(text) -%}
    {%- set ns = namespace(kept='') -%}
    {%- for part in text.split('<channel|>') -%}
        {%- if '<|channel>' in part -%}
            {%- set ns.kept = ns.kept + part.split('<|channel>')[0] -%}
        {%- else -%}
            {%- set ns.kept = ns.kept + part -%}
        {%- endif -%}
    {%- endfor -%}
    {{- ns.kept | trim -}}
{%- endmacro -%}
{{- bos_token -}}
{%- set state = namespace(turns=messages, last=none) -%}
{%- set thinks = enable_thinking is defined and enable_thinking -%}
{%- if thinks or tools or messages[0].role in ['system', 'developer'] -%}
    {{- '<|turn>system\n' -}}
    {%- if thinks -%}{{- '<|think|>' -}}{%- endif -%}
    {%- if messages[0].role in ['system', 'developer'] -%}
        {{- messages[0].content | trim -}}
        {%- set state.turns = messages[1:] -%}
    {%- endif -%}
    {%- for tool in tools or [] -%}
        {{- '<|tool>declaration:' ~ tool.function.name ~ value_text(tool.function.parameters | default({})) ~ '<tool|>' -}}
    {%- endfor -%}
    {{- '<turn|>\n' -}}
{%- endif -%}
{%- for m in state.turns -%}
    {%- set role = 'model' if m.role == 'assistant' else m.role -%}
    {%- if role == 'tool' -%}
        {{- '<|tool_response>response:' ~ (m.name or 'unknown') ~ '{value:' ~ value_text(m.content) ~ '}<tool_response|>' -}}
        {%- set state.last = 'tool' -%}
        {%- continue -%}
    {%- endif -%}
    {%- if state.last != 'tool' or role != 'model' -%}{{- '<|turn>' ~ role ~ '\n' -}}{%- endif -%}
    {%- for call in m.tool_calls | default([]) -%}
        {{- '<|tool_call>call:' ~ call.function.name ~ value_text(call.function.arguments) ~ '<tool_call|>' -}}
    {%- endfor -%}
    {%- if m.content is string -%}
        {{- without_thoughts(m.content) if role == 'model' else m.content | trim -}}
    {%- elif m.content is sequence and m.content is not undefined -%}
        {%- for item in m.content | selectattr('type', 'equalto', 'text') -%}{{- item.text | trim -}}{%- endfor -%}
    {%- endif -%}
    {{- '<turn|>\n' if not m.get('tool_calls') -}}
    {%- set state.last = role -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|turn>model\n' -}}
    {%- if not thinks -%}{{- '<|channel>thought\n<channel|>' -}}{%- endif -%}
{%- endif -%}
"""

CHATML = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi=true, last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query and (loop.last or thought) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' ~ call.name ~ '", "arguments": ' }}
            {{- call.arguments if call.arguments is string else call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""

TOOLS = [{"type": "function", "function": {"name": "weather", "description": "It's \"nice\" & <hot>", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Köln", "東京"]}, "days": {"type": "integer"}}, "required": ["city"]}}}]
USER = {"role": "user", "content": "  What is 2 + 2?\n"}
BOT = {"role": "assistant", "content": "<|channel>thought\nadd<channel|>It is 4. <think>\nhm\n</think>\n\nFour."}
CONVERSATIONS = {
    "one": [USER], "system": [{"role": "system", "content": "Be brief."}, USER], "turns": [USER, BOT, {"role": "user", "content": "Why? <turn|> {{ x }}"}],
    "ended": [USER, BOT], "parts": [{"role": "user", "content": [{"type": "text", "text": " look "}, {"type": "image"}]}],
    "tools": [USER, {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {
        "name": "weather", "arguments": {"days": 3, "city": "Köln", "deep": {"b": [1, 2.5, None], "a": True}}}}]},
        {"role": "tool", "name": "weather", "content": "sunny"}, {"role": "tool", "name": "weather", "content": "rain"}, {"role": "assistant", "content": "Sun, then rain."}],
}


def all_cases():
    context = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}], "b": 2, "bos_token": "<bos>"}
    lines = [line for line in SNIPPETS.strip("\n").split("\n")]
    joined = []  # a snippet may go on in the next line: when it is no template yet
    for line in lines:
        if joined and (joined[-1].count("{#") > joined[-1].count("#}") or joined[-1].endswith("\\")):
            joined[-1] += "\n" + line
        else:
            joined.append(line)
    for index, text in enumerate(joined):
        if "generationx" in text or "for_" in text:
            text = text.replace("{% generationx %}", "").replace(" {{ [x for_ in y] if false else \"ok\" }}", "")
        yield f"snippet {index}", text, context
    for index, text in enumerate(WHITESPACE):
        yield f"white space {index}", text, {}
    for index, text in enumerate(FAILURES):
        yield f"fails {index}", text, {}
    for name, text in {"gemma3": GEMMA3, "gemma4": GEMMA4, "chatml": CHATML}.items():
        for kind, messages in CONVERSATIONS.items():
            if name == "gemma3" and kind == "tools":
                continue
            for extra in ({}, {"enable_thinking": True}, {"enable_thinking": False, "tools": TOOLS}):
                variables = {"messages": messages, "bos_token": "<bos>", "eos_token": "<eos>", "add_generation_prompt": kind != "ended", "tools": None} | extra
                yield f"{name} {kind} {len(extra)}", text, variables
    yield "fails gemma3 order", GEMMA3, {"messages": [BOT], "bos_token": ""}
