"""Whether requirements are met by what is installed beside this program. What cannot be told counts as not met."""

from __future__ import annotations

import contextlib
import re
from importlib import metadata
from itertools import zip_longest
from pathlib import Path

from windlass.launch.requirements import Requirements, logical_lines, without_ours
from windlass.launch.safe import read_text

__all__ = ["beside", "unmet"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PARTS = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*\(?\s*((?:[=<>~!].*?)?)\s*\)?")
_CLAUSE = re.compile(r"\s*(===|==|!=|<=|>=|~=|<|>)\s*([A-Za-z0-9.+!_-]+?)(\.\*)?\s*")
_RELEASE = re.compile(r"\d+(?:\.\d+)*")
_OPTION = re.compile(r"\s+--(?:hash|config-settings?|global-option|install-option)\b.*")


def unmet(needs: Requirements, root: Path) -> tuple[str, ...]:
    """Those requirements that are not met beside this program, or of which that cannot be told: local paths, URLs,
    extras. A marker is taken to apply, as then nothing that is needed can be missing.

    Lines of included files are judged, too.
    """
    return tuple(dict.fromkeys(line for line in _lines(needs, root) if not _met(line)))


def beside(needs: Requirements, root: Path) -> tuple[str, ...]:
    """What code finds beside this program of all that it asks for, ``name==version`` each."""
    found = []
    for line in _lines(needs, root):
        match = _NAME.match(line)
        with contextlib.suppress(metadata.PackageNotFoundError):
            if match is not None:
                found.append(f"{match.group()}=={metadata.version(match.group())}")
    return tuple(dict.fromkeys(found))


def _lines(needs: Requirements, root: Path) -> tuple[str, ...]:
    lines = list(needs.lines)
    for name in needs.includes:
        lines += logical_lines(read_text(root, name) or "")
    return without_ours(lines)


def _met(line: str) -> bool:
    if line.startswith("-"):
        return not line.startswith(("-e", "--editable"))
    match = _PARTS.fullmatch(_OPTION.sub("", line).partition(";")[0].strip())
    if match is None:
        return False
    try:
        have = metadata.version(match.group(1))
    except metadata.PackageNotFoundError:
        return False
    return all(_fits(have, clause) for clause in match.group(2).split(",") if clause.strip())


def _fits(have: str, clause: str) -> bool:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        return False
    operator, wanted, prefix = match.groups()
    if have == wanted:
        return operator in ("==", "===", ">=", "<=", "~=")
    if "+" not in wanted:
        have = have.partition("+")[0]
    if operator == "===" or not (_RELEASE.fullmatch(have) and _RELEASE.fullmatch(wanted)):
        return have == wanted and operator == "=="
    ours, theirs = ([int(part) for part in text.split(".")] for text in (have, wanted))
    if prefix:
        same = ours[: len(theirs)] == theirs
        return same if operator == "==" else not same and operator == "!="
    padded = list(zip_longest(ours, theirs, fillvalue=0))
    left, right = [pair[0] for pair in padded], [pair[1] for pair in padded]
    return {
        "==": left == right,
        "!=": left != right,
        ">=": left >= right,
        "<=": left <= right,
        ">": left > right,
        "<": left < right,
        "~=": left >= right and ours[: len(theirs) - 1] == theirs[:-1],
    }[operator]
