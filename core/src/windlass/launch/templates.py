"""``{{name}}`` fields of a queue's config: finding, checking and filling them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from windlass.errors import ConfigError, Problem
from windlass.launch.macros import escape
from windlass.models import JSON
from windlass.models.queue import TemplateVariable

__all__ = [
    "TemplateField",
    "check_templates",
    "fields",
    "fill",
    "found_fields",
    "parse_assignment",
    "parse_templates",
    "template_values",
    "undeclared",
    "unused",
]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_FIELD = re.compile(rf"\{{\{{[ \t]*({_NAME.pattern})[ \t]*\}}\}}")
_TYPES = ("string", "integer", "float")


@frozen(kw_only=True)
class TemplateField:
    """A ``{{name}}`` of a config, as ``windlass queue update --parse`` lists it.

    Attributes:
        name: Of the variable.
        paths: Where it stands in the config, ``$.env[0]``. Empty: it is declared, and the config has no such field.
        declared: The owner said what it takes. Undeclared ones are refused when a queue is stored.
        variable: Type, default and bounds; those of a required text where nothing is declared.
    """

    name: str
    paths: tuple[str, ...]
    declared: bool
    variable: TemplateVariable


def fields(config: JSON) -> tuple[str, ...]:
    """Names of the template fields in a config, in order of appearance. Keys are not searched."""
    return tuple(_paths(config))


def found_fields(config: JSON, declared: Mapping[str, TemplateVariable]) -> tuple[TemplateField, ...]:
    """The fields of a config in order of appearance, then what is declared beside them."""
    paths: dict[str, list[str]] = {**_paths(config), **{name: [] for name in unused(config, declared)}}
    return tuple(
        TemplateField(
            name=name,
            paths=tuple(places),
            declared=name in declared,
            variable=declared.get(name, TemplateVariable()),
        )
        for name, places in paths.items()
    )


def parse_templates(config: JSON, known: Mapping[str, TemplateVariable]) -> dict[str, TemplateVariable]:
    """The variables of a config: as declared in `known`, else required texts."""
    return {name: known.get(name, TemplateVariable()) for name in fields(config)}


def undeclared(config: JSON, declared: Mapping[str, TemplateVariable]) -> list[Problem]:
    """Fields of a config whose owner did not say what they take: submitters could fill in anything."""
    problems = []
    for name, paths in _paths(config).items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f"did you mean '{near[0]}'? Else declare" if near else "declare"
            hint += f" it: {name}: {{type: string}} in the file of --templates"
            problems.append(Problem(f"the field {{{{{name}}}}} is not declared", where=paths[0], hint=hint))
    return problems


def unused(config: JSON, declared: Mapping[str, TemplateVariable]) -> dict[str, str]:
    """Declared variables that no field of a config uses, each with the name of a field like it or ``""``."""
    used = fields(config)
    return {name: next(iter(difflib.get_close_matches(name, used, n=1)), "") for name in declared if name not in used}


def check_templates(declared: Mapping[str, TemplateVariable], where: str = "$.templates") -> list[Problem]:
    """What is wrong with the declarations of a queue: types, bounds and defaults."""
    problems = [
        Problem(f"{name!r} can be no field", where=f"{where}.{name}", hint="letters, digits, _ and -")
        for name in declared
        if not _NAME.fullmatch(name)
    ]
    for name, variable in declared.items():
        place = f"{where}.{name}"
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


def _paths(config: JSON) -> dict[str, list[str]]:
    """The fields of a config, each with the places where it stands."""
    found: dict[str, list[str]] = {}
    for path, text in _texts(config, "$"):
        for name in dict.fromkeys(_FIELD.findall(text)):
            found.setdefault(name, []).append(path)
    return found


def _texts(node: JSON, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _texts(value, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from _texts(value, f"{path}[{i}]")


def _number_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _allowed(variable: TemplateVariable) -> list[JSON]:
    """The values of `enum`, brought to the variable's type as those are that are held against them."""
    plain = TemplateVariable(type=variable.type)
    checked = [_coerce(value, plain, "") for value in variable.enum]
    return [value for value, problem in checked if problem is None]


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
    if variable.enum and result not in _allowed(variable):
        return None, Problem(
            f"{result!r} is not allowed", where=where, hint=f"one of {', '.join(map(str, variable.enum))}"
        )
    if kind != "string":
        if variable.minimum is not None and result < variable.minimum:
            return None, Problem(f"{result} is below the minimum {variable.minimum:g}", where=where)
        if variable.maximum is not None and result > variable.maximum:
            return None, Problem(f"{result} is above the maximum {variable.maximum:g}", where=where)
    return result, None
