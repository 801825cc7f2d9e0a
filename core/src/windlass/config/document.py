"""A configuration file as data, with the line of every value."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from attrs import field, frozen

from windlass.errors import ConfigError, Problem

__all__ = ["Document", "load", "loads", "loads_json", "loads_toml"]

# PyYAML follows YAML 1.1, where 1e-3 is a text; people who write learning rates mean a number.
_FLOAT = re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")


_MAX_NODES = 1_000_000  # aliases of aliases grow without bound; no configuration is that large
_MAX_DEPTH = 100  # nor so deep, and each value's path is kept


class _Loader(yaml.SafeLoader):
    """SafeLoader with numbers like ``1e-3``, and without YAML 1.1's base 60, in which the port map 22:22 is 1342."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, re.compile(rule.pattern.replace("(?::[0-5]?[0-9])+", "(?!)"), re.VERBOSE)) for tag, rule in rules]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


@frozen(kw_only=True)
class Document:
    """Parsed content of a file.

    Attributes:
        data: Plain JSON-like data.
        source: File name for messages.
        lines: Line number (from 1) by JSON path (``$.builder.type``).
    """

    data: Any
    source: str = ""
    lines: dict[str, int] = field(factory=dict)

    def place(self, path: str) -> str:
        """``file:line`` of a JSON path with the path behind it; of its nearest known parent if it is missing."""
        probe = path
        while probe and probe not in self.lines:
            cut = max(probe.rfind("."), probe.rfind("["))
            probe = probe[:cut] if cut > 0 else ""
        line = self.lines.get(probe)
        if line is None:
            return f"{self.source}: {path}" if self.source else path
        return f"{self.source}:{line} ({path})"


def load(path: str | Path) -> Document:
    """Read a YAML or JSON file.

    Raises:
        ConfigError: Missing, not readable, or not well formed; gives ``file:line``.
    """
    name = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("the file does not exist", where=name, hint="Check the path.") from None
    except IsADirectoryError:
        raise ConfigError("this is a directory, not a file", where=name, hint="Give a YAML or JSON file.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text: {error.reason}", where=name, hint="Save the file as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=name) from None
    return loads(text, name)


_QUOTE = 'In YAML, a text with {{name}} stands in quotes: "{{name}}".'


def loads(text: str, source: str = "") -> Document:
    """Parse YAML or JSON text. An empty text gives an empty mapping. Raises `ConfigError` with ``source:line``."""
    parsed = None
    if source.endswith(".json") or text.lstrip()[:1] in ("{", "["):
        try:
            parsed = loads_json(text or "{}", source)
        except ConfigError as error:
            if source.endswith(".json") or isinstance(error.__cause__, RecursionError):
                raise
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        field = mark is not None and "{{" in "".join(text.splitlines()[mark.line : mark.line + 1])
        raise ConfigError(
            f"not well-formed YAML: {error.problem or error.context}",
            where=f"{source}{line}",
            hint=_QUOTE if field else "Correct the syntax.",
        ) from None
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"not well-formed YAML: {reason}", where=source, hint="Correct the syntax.") from None
    except RecursionError:
        raise _deep(source) from None
    if node is None:
        return Document(data={}, source=source)
    size, depth = _extent(node, {})  # composing goes deeper into calls than this does
    if size > _MAX_NODES:
        raise ConfigError(f"more than {_MAX_NODES} values", where=source, hint="Do not nest aliases.")
    if depth > _MAX_DEPTH:  # one alias in the next is deeper than it looks
        raise _deep(source)
    lines: dict[str, int] = {}
    problems: list[Problem] = []
    data = _build(node, "$", lines, problems, source, frozenset())
    if problems:
        raise ConfigError("the file is not well formed", where=source, problems=problems)
    # YAML reads JSON, but takes its NaN for a text, and not its escapes for characters outside of the basic plane.
    return Document(data=data if parsed is None else parsed, source=source, lines=lines)


def loads_json(text: str, source: str) -> Any:
    """Parse JSON text. Raises `ConfigError` with ``source:line``."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"not well-formed JSON: {error.msg}", where=f"{source}:{error.lineno}", hint="Correct the syntax."
        ) from error
    except RecursionError as error:
        raise _deep(source) from error


def loads_toml(text: str, source: str) -> dict[str, Any]:
    """Parse TOML text. Raises `ConfigError` with ``source:line``."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).partition(" (at ")
        line = re.match(r"line (\d+)", place)
        where = f"{source}:{line[1] if line else max(len(text.splitlines()), 1)}"  # or at the end
        raise ConfigError(f"not well-formed TOML: {reason}", where=where, hint="Correct the syntax.") from error
    except RecursionError as error:
        raise _deep(source) from error


def _deep(source: str) -> ConfigError:
    return ConfigError("nested too deeply", where=source, hint="Simplify it.")


def _compose(text: str) -> Any:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.scanner.ScannerError as error:
        # Tabs cannot indent in YAML, but documents in the wild have them; two spaces each is what was meant.
        if "'\\t'" not in str(error.problem):
            raise
        spaced = re.sub(r"(?m)^\t+", lambda m: "  " * len(m.group()), text)
        return yaml.compose(spaced, Loader=_Loader)


def _extent(node: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node is with each alias written out, and how many levels; none inside of itself."""
    if (extent := known.get(id(node))) is None:
        known[id(node)] = 0, 0
        size = depth = 0
        for part in node.value if isinstance(node, yaml.CollectionNode) else ():
            more, below = _extent(part[1] if isinstance(node, yaml.MappingNode) else part, known)
            size, depth = size + more, max(depth, below)
        extent = known[id(node)] = size + 1, depth + 1
    return extent


def _build(
    node: Any, path: str, lines: dict[str, int], problems: list[Problem], source: str, parents: frozenset[int]
) -> Any:
    lines[path] = node.start_mark.line + 1
    place = f"{source}:{node.start_mark.line + 1} ({path})"
    if id(node) in parents:
        problems.append(Problem("an alias that contains itself", where=place))
        return None
    if not isinstance(node, yaml.ScalarNode) and node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
        problems.append(Problem(f"the tag {node.tag} is not known", where=place, hint="use plain YAML"))
        return None
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for item in sources:
                    part = _build(item, path, {}, problems, source, parents | {id(node)})
                    merged = {**(part if isinstance(part, dict) else {}), **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                field = isinstance(key_node, yaml.MappingNode)  # {{name}} is a map with a map as key
                problems.append(Problem("keys must be simple texts", where=place, hint=_QUOTE if field else ""))
                continue
            key = str(key_node.value)
            if key in result:
                line = key_node.start_mark.line + 1
                problems.append(Problem(f"the key '{key}' is given twice", where=f"{source}:{line} ({path}.{key})"))
            result[key] = _build(value_node, f"{path}.{key}", lines, problems, source, parents | {id(node)})
        return {**merged, **result}
    if isinstance(node, yaml.SequenceNode):
        return [
            _build(item, f"{path}[{i}]", lines, problems, source, parents | {id(node)})
            for i, item in enumerate(node.value)
        ]
    if node.tag in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:binary"):
        return node.value
    constructor = yaml.constructor.SafeConstructor()
    try:
        return constructor.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        problems.append(Problem(f"cannot be read: {getattr(error, 'problem', error)}", where=place))
        return None
