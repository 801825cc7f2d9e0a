"""``{{name}}`` fields of a queue's config: finding, checking and filling them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from windlass.errors import ConfigError, Problem
from windlass.launch.macros import escape
from windlass.models.queue import TemplateVariable
from windlass.models.reason import JSON

__all__ = ["check_templates", "fields", "fill", "parse_assignment", "parse_templates", "template_values"]

_FIELD = re.compile(r"\{\{[ \t]*([A-Za-z_][A-Za-z0-9_-]*)[ \t]*\}\}")
_TYPES = ("string", "integer", "float")


def fields(config: JSON) -> tuple[str, ...]:
    """Names of the template fields in a config, in order of appearance. Keys are not searched."""
    return tuple(dict.fromkeys(name for text in _texts(config) for name in _FIELD.findall(text)))


def parse_templates(config: JSON, known: Mapping[str, TemplateVariable]) -> dict[str, TemplateVariable]:
    """The variables of a config: as declared in `known`, else required texts; for ``queue update --parse``."""
    return {name: known.get(name, TemplateVariable()) for name in fields(config)}


def check_templates(
    config: JSON, declared: Mapping[str, TemplateVariable], where: str = "$.templates"
) -> list[Problem]:
    """What is wrong with the declarations of a queue: types, bounds, defaults, and variables that no field uses."""
    problems = []
    used = fields(config)
    for name, variable in declared.items():
        place = f"{where}.{name}"
        if name not in used:
            near = difflib.get_close_matches(name, used, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"write {{{{{name}}}}} where the value belongs"
            problems.append(Problem(f"the config has no field {{{{{name}}}}}", where=place, hint=hint))
        if variable.type not in _TYPES:
            problems.append(Problem(f"unknown type {variable.type!r}", where=place, hint=f"one of {', '.join(_TYPES)}"))
            continue
        if variable.type == "string" and (variable.minimum is not None or variable.maximum is not None):
            problems.append(Problem("a text has no minimum and maximum", where=place, hint="use enum"))
        low, high = variable.minimum, variable.maximum
        if low is not None and high is not None and low > high:
            problems.append(Problem(f"minimum {low:g} is greater than maximum {high:g}", where=place))
        for value in variable.enum:
            _, problem = _coerce(value, TemplateVariable(type=variable.type), f"{place}.enum")
            problems += [problem] if problem else []
        if variable.default is not None:
            _, problem = _coerce(variable.default, variable, f"{place}.default")
            problems += [problem] if problem else []
    return problems


def parse_assignment(text: str, where: str) -> tuple[str, str] | Problem:
    """Split ``NAME=VALUE`` at the first equals sign; the value may hold more of them."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        return Problem(f"{text!r} is not of the form NAME=VALUE", where=where, hint="e.g. -v memory=4")
    return name.strip(), value


def template_values(
    config: JSON, declared: Mapping[str, TemplateVariable], given: Mapping[str, JSON], where: str = "$.template_values"
) -> tuple[dict[str, JSON], list[Problem]]:
    """The value of every field: given or default, brought to its type and checked against its bounds.

    Returns:
        The values that are right, and what is wrong with the others.
    """
    variables = {**parse_templates(config, declared), **{n: v for n, v in declared.items() if n in given}}
    values: dict[str, JSON] = {}
    problems = []
    for name in given:
        if name not in variables:
            near = difflib.get_close_matches(name, variables, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"fields: {', '.join(variables) or 'none'}"
            problems.append(Problem(f"the queue has no template field '{name}'", where=f"{where}.{name}", hint=hint))
    for name, variable in variables.items():
        place = f"{where}.{name}"
        value = given.get(name, variable.default)
        if value is None:
            hint = f"give -v {name}=…" + (f" ({variable.description})" if variable.description else "")
            problems.append(Problem(f"the template field '{name}' needs a value", where=place, hint=hint))
            continue
        coerced, problem = _coerce(value, variable, place)
        if problem:
            problems.append(problem)
        else:
            values[name] = coerced
    return values, problems


def fill(config: JSON, values: Mapping[str, JSON]) -> JSON:
    """Put values into all fields. A text that is one field alone becomes the value itself, with its type.

    Values are put in as data: what looks like a field or a macro in them stays as it is.

    Raises:
        ConfigError: A field has no value.
    """

    def text_of(match: re.Match[str]) -> str:
        value = values[match.group(1)]
        return escape(value) if isinstance(value, str) else _number_text(value)

    def walk(node: JSON, path: str) -> JSON:
        if isinstance(node, Mapping):
            return {key: walk(value, f"{path}.{key}") for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return [walk(value, f"{path}[{i}]") for i, value in enumerate(node)]
        if not isinstance(node, str) or "{{" not in node:
            return node
        missing = [name for name in _FIELD.findall(node) if name not in values]
        if missing:
            raise ConfigError(f"the template field '{missing[0]}' has no value", where=path)
        whole = _FIELD.fullmatch(node)
        if whole:
            value = values[whole.group(1)]
            return escape(value) if isinstance(value, str) else value
        return _FIELD.sub(text_of, node)

    return walk(config, "$")


def _texts(node: JSON) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _texts(value)


def _number_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _coerce(value: JSON, variable: TemplateVariable, where: str) -> tuple[JSON, Problem | None]:
    kind = variable.type
    result: JSON = value
    try:
        if isinstance(value, (bool, Mapping, list, tuple)):
            raise ValueError
        if kind == "string":
            result = value if isinstance(value, str) else _number_text(value)
        elif kind == "integer":
            number = float(value) if not isinstance(value, (int, str)) else int(value)
            if number != int(number):
                raise ValueError
            result = int(number)
        elif kind == "float":
            result = float(value)
            if not math.isfinite(result):
                raise ValueError
        else:
            return None, Problem(f"unknown type {kind!r}", where=where, hint=f"one of {', '.join(_TYPES)}")
    except (ValueError, OverflowError, TypeError):
        word = {"string": "a text", "integer": "a whole number", "float": "a number"}[kind]
        return None, Problem(f"expected {word}, got {value!r}", where=where)
    if isinstance(result, str) and "\x00" in result:
        return None, Problem("a text must not hold a NUL character", where=where)
    if variable.enum and result not in variable.enum:
        return None, Problem(
            f"{result!r} is not allowed", where=where, hint=f"one of {', '.join(map(str, variable.enum))}"
        )
    if kind != "string":
        if variable.minimum is not None and result < variable.minimum:
            return None, Problem(f"{result} is below the minimum {variable.minimum:g}", where=where)
        if variable.maximum is not None and result > variable.maximum:
            return None, Problem(f"{result} is above the maximum {variable.maximum:g}", where=where)
    return result, None
