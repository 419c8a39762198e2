# SPDX-License-Identifier: Apache-2.0
"""Writes template_cases.json: chat templates and what the PyPI package jinja2 makes of them, in the
environment of published chat templates. A case is [name, template, variables, result]; where the
template must fail the result is null, and the line follows (null if jinja2 does not tell). A number in the template's place is that of an earlier
case with the same template.
"""
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

import template_sources

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2031, 5, 7, 9, 3, 2)


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(template, variables):
    """The result, or None and the line where it failed (None if jinja2 does not tell)."""
    try:
        return environment().from_string(template).render(**variables), None
    except jinja2.exceptions.TemplateSyntaxError as error:
        return None, error.lineno
    except Exception as error:  # the template's frame in the traceback has its line
        lines = []
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "<template>":
                lines.append(trace.tb_lineno)
            trace = trace.tb_next
        return None, lines[-1] if lines else None


def main():
    cases, first = [], {}
    for name, template, variables in template_sources.all_cases():
        result, line = render(template, variables)
        stored = first.get(template, template) if len(template) > 200 else template
        first.setdefault(template, len(cases))
        cases.append([name, stored, variables, result] + ([line] if result is None else []))
        expected_failure = name.startswith("fails")
        if (result is None) != expected_failure:
            raise SystemExit(f"{name}: {'failed' if result is None else 'did not fail'}: {template!r}")
    (HERE / "template_cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(len(cases), "cases,", sum(c[3] is None for c in cases), "failures")


main()
