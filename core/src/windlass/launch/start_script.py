"""Whether the script that an entry point starts is in the code: told before it fails with nothing but an exit code."""

from __future__ import annotations

import re
from pathlib import Path

from windlass.errors import ConfigError
from windlass.launch.safe import relative_problem

__all__ = ["DEFAULT_SCRIPT", "check_script"]

DEFAULT_SCRIPT = "main.py"
"""What Python is given when there is no entry point."""
_NAMED = 5


def check_script(entry: tuple[str, ...], context: Path, where: str) -> None:
    """Raise `ConfigError` if the script that an interpreter is to be given is not there.

    Args:
        entry: The entry point.
        context: Where it starts.
        where: Where it was written.
    """
    missing = _missing_script(entry, context)
    if not missing:
        return
    there = sorted(file.name for file in context.glob("*.py"))
    names = ", ".join(there[:_NAMED]) + (" …" if len(there) > _NAMED else "")
    told = "It is what runs when no entry point is given. " if missing == DEFAULT_SCRIPT else ""
    raise ConfigError(
        f"there is no file {missing!r} in the build context, where the entry point {' '.join(entry[:2])!r} starts",
        where=where,
        hint=f'{told}Give one at the launch, e.g. --entry-point "python {there[0] if there else "train.py"}"; '
        f"the Python files there: {names or 'none'}.",
    )


def _missing_script(entry: tuple[str, ...], context: Path) -> str:
    """The script that an interpreter is to be given and that is not there; empty if it is, or that cannot be told."""
    if len(entry) < 2 or not re.fullmatch(r"python(?:3(?:\.\d+)?)?|bash|sh", entry[0]):
        return ""
    script = entry[1]
    if script.startswith(("-", "/")) or "$" in script or relative_problem(script):
        return ""
    return "" if (context / script).exists() else script
