"""Where in a file a value stands: lines of TOML, and problems of a launch that a file has brought."""

from __future__ import annotations

import re
from collections.abc import Mapping

from windlass.config.document import Document
from windlass.errors import Problem

__all__ = ["placed", "toml_lines"]

_TABLE = re.compile(r"\s*\[\[?\s*([^\]\[]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def toml_lines(text: str, first: int = 1) -> dict[str, int]:
    """The line of each key by JSON path, as far as it stands at the beginning of one; `first` is that of the text."""
    lines = {"$": first}
    above = "$"
    for number, line in enumerate(text.split("\n"), first):
        if table := _TABLE.fullmatch(line):
            above = _note(lines, "$", table[1], number)
        elif key := _KEY.match(line):
            _note(lines, above, key[1], number)
    return lines


def _note(lines: dict[str, int], path: str, key: str, number: int) -> str:
    for part in _PART.findall(key):
        path = f"{path}.{part.strip(chr(34) + chr(39))}"
        lines.setdefault(path, number)
    return path


def placed(problem: Problem, origins: Mapping[str, str], files: Mapping[str, tuple[Document, str]]) -> Problem:
    """A problem with ``file:line``, when a file has brought what is wrong.

    Args:
        problem: Its place is a path like ``$.run_config.lr``.
        origins: By dotted path, without the ``$``: what a value comes from.
        files: By origin: the file, and the path in it below which its values lie.
    """
    if not problem.where.startswith("$."):
        return problem
    path = _plain(problem.where.removeprefix("$."))
    known = {_plain(key): origin for key, origin in origins.items()}
    probe = path
    while probe and probe not in known:
        probe = probe[: max(probe.rfind("."), probe.rfind("["), 0)]
    if known.get(probe) not in files:
        return problem
    document, root = files[known[probe]]
    return Problem(problem.message, where=document.place(f"{root}.{path}"), hint=problem.hint)


def _plain(path: str) -> str:
    """A path as documents know it: with keys as they are, dots and all."""
    return re.sub(r"\\(.)", r"\1", path)
