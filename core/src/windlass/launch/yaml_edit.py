"""Edit YAML text in place, through the positions that its parser gives: comments and what is around stay."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from windlass.launch.paths import KeyPath, leaves
from windlass.models import JSON

__all__ = ["new_yaml", "patch_yaml", "without_aliases"]

_TEXT = "tag:yaml.org,2002:str"
_DATE = "tag:yaml.org,2002:timestamp"


def patch_yaml(text: str, values: Mapping[str, JSON]) -> str:
    """Edit YAML text in place: only the places of the given values change.

    The caller reads the result back: values below anchors, and documents in unusual shapes, may come out wrong.
    """
    for path, value in leaves(values):
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            return text
        text = _set(text, root, path, value)
    return text


def _set(text: str, root: Any, path: KeyPath, value: JSON) -> str:
    node = root
    for depth, key in enumerate(path):
        if not isinstance(node, yaml.MappingNode):
            return text
        below = next((item for name, item in node.value if getattr(name, "value", None) == key), None)
        if below is None:
            return _insert(text, node, path[depth:], value)
        node = below
    return _replace(text, node, value)


def without_aliases(text: str) -> str:
    """YAML text in which what an alias stands for is written in its place; all else stays as it is."""
    try:
        events: list[Any] = list(yaml.parse(text, Loader=yaml.SafeLoader))
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        nodes = {node.start_mark.index: node for node in _nodes(root)}
        meant: dict[str, Any] = {}  # an anchor may be given again further down
        places: list[tuple[int, int, str]] = []
        for event in events:
            name, start, end = getattr(event, "anchor", None), event.start_mark.index, event.end_mark.index
            if type(event) is yaml.AliasEvent:
                places.append((start, end, _flow_of(meant[str(name)])))
            elif name is not None:
                meant[name] = nodes[start]
    except (yaml.YAMLError, KeyError, RecursionError):
        return text
    for start, end, value in reversed(places):
        text = text[:start] + value + text[end:]
    return text


def _nodes(root: Any) -> list[Any]:
    """A node and all below it, each once."""
    found: dict[int, Any] = {}
    rest = [root]
    while rest:
        node = rest.pop()
        if id(node) not in found:
            found[id(node)] = node
            if isinstance(node, yaml.MappingNode):
                rest += [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                rest += node.value
    return list(found.values())


def _flow_of(node: Any) -> str:
    """A node in flow style. Plain scalars stay as they are written, where that means the same within brackets."""
    if isinstance(node, yaml.MappingNode):
        return "{" + ", ".join(f"{_flow_of(key)}: {_flow_of(item)}" for key, item in node.value) + "}"
    if isinstance(node, yaml.SequenceNode):
        return "[" + ", ".join(_flow_of(item) for item in node.value) + "]"
    text = str(node.value)
    if node.style is None and (node.tag != _TEXT or not re.search(r"[,\[\]{}:#]", text)):
        return text or "null"
    return _flow(text)


def new_yaml(value: JSON, old: str) -> str:
    """YAML text of a value; texts that the old YAML text has as dates stay dates."""
    try:
        root = yaml.compose(old, Loader=yaml.SafeLoader)
        dates = {str(node.value) for node in _nodes(root) if node.tag == _DATE}
    except yaml.YAMLError:
        dates = set()

    class Dumper(yaml.SafeDumper):
        pass

    def text_node(dumper: Any, text: str) -> Any:
        return dumper.represent_scalar(_DATE if text in dates else _TEXT, text)

    Dumper.add_representer(str, text_node)
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True))


def _flow(value: JSON) -> str:
    """A value in flow style: as in JSON, with floats that every YAML parser knows (``1e-05`` is a text to some)."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(str(key))}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        if not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")
    return json.dumps(value, ensure_ascii=False)


def _end(node: Any) -> int:
    """Where a node's own text ends; for block collections the parser's end lies behind comments that follow."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _replace(text: str, node: Any, value: JSON) -> str:
    start, end = node.start_mark.index, _end(node)
    if node.tag == _DATE and _is_date(value):  # without quotes, so that the code goes on reading a date
        return text[:start] + str(value) + text[end:]
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return text[:start] + _flow(value) + "\n" + text[end:]
    gap = " " if start and text[start - 1] == ":" else ""
    return text[:start] + gap + _flow(value) + text[end:]


def _is_date(value: JSON) -> bool:
    loader: Any = yaml.SafeLoader("")
    return isinstance(value, str) and loader.resolve(yaml.ScalarNode, value, (True, False)) == _DATE


def _insert(text: str, node: Any, path: KeyPath, value: JSON) -> str:
    for key in reversed(path[1:]):
        value = {key: value}
    entry = f"{_flow(path[0]) if not re.fullmatch(r'[A-Za-z_][A-Za-z0-9_-]*', path[0]) else path[0]}: {_flow(value)}"
    if node.flow_style or not node.value:
        end = node.end_mark.index - 1
        if end < 0 or text[end : end + 1] != "}":
            return text
        return text[:end] + (", " if node.value else "") + entry + text[end:]
    indent = " " * node.value[0][0].start_mark.column
    end = _end(node)
    stop = text.find("\n", end) if not text[:end].endswith("\n") else end - 1
    if stop < 0:
        return f"{text}\n{indent}{entry}\n"
    return f"{text[: stop + 1]}{indent}{entry}\n{text[stop + 1 :]}"
