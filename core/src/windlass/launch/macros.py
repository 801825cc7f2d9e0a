"""``${name}`` macros in a resource config: a closed list, resolved when an item is claimed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from windlass.errors import MacroError, Problem
from windlass.models import JSON

__all__ = ["MACROS", "escape", "expand", "unknown_macros"]

MACROS = ("project_name", "entity_name", "run_id", "run_name", "image_uri", "queue_name", "author")
"""All macros there are. The agent's environment cannot be read through them."""

# One "$" makes a macro; with more, one of them is taken away and the rest stays as text.
_MACRO = re.compile(r"(\$+)\{(\w+)\}")


def escape(text: str) -> str:
    """A text that `expand` turns back into exactly this text."""
    return _MACRO.sub(lambda m: f"${m.group(0)}", text)


def unknown_macros(config: JSON, where: str = "$") -> list[Problem]:
    """Macros in the string leaves of a config that do not exist, with their paths."""
    problems: list[Problem] = []
    _walk(config, where, None, problems)
    return problems


def expand(config: JSON, values: Mapping[str, str], where: str = "$") -> JSON:
    """Replace the macros in all string leaves (not in keys). ``$${x}`` stands for the text ``${x}``.

    Raises:
        MacroError: Unknown macros; names every one with its path.
    """
    problems: list[Problem] = []
    result = _walk(config, where, values, problems)
    if problems:
        raise MacroError("the resource config has unknown macros", problems=problems)
    return result


def _walk(node: JSON, path: str, values: Mapping[str, str] | None, problems: list[Problem]) -> JSON:
    if isinstance(node, Mapping):
        return {key: _walk(value, f"{path}.{key}", values, problems) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_walk(value, f"{path}[{i}]", values, problems) for i, value in enumerate(node)]
    if not isinstance(node, str) or "${" not in node:
        return node

    def replace(match: re.Match[str]) -> str:
        dollars, name = match.groups()
        if len(dollars) > 1:
            return match.group(0)[1:]
        if name not in MACROS:
            hint = f"known macros: {', '.join(MACROS)}; write $${{{name}}} for the text itself"
            problems.append(Problem(f"unknown macro ${{{name}}}", where=path, hint=hint))
            return match.group(0)
        return values.get(name, "") if values is not None else match.group(0)

    return _MACRO.sub(replace, node)
