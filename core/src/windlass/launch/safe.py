"""Looking at files of fetched code without being led out of it by links or ``..``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from windlass.errors import ConfigError, Problem

__all__ = ["build_path_problems", "inside", "read_text", "relative_problem"]


def relative_problem(text: str) -> str:
    """Why a text is not a relative path that stays below its root; empty when it is one."""
    path = PurePosixPath(text)
    if "\x00" in text or "\\" in text:
        return "it holds a NUL character or a backslash"
    if path.is_absolute() or text.startswith("~") or (len(text) > 1 and text[1] == ":"):
        return "it is not relative"
    if ".." in path.parts:
        return "it holds '..'"
    return ""


def build_path_problems(paths: Mapping[str, str]) -> list[Problem]:
    """What is wrong with paths into the source, by where they were given; empty ones are fine."""
    return [
        Problem(f"{text!r}: {problem}", where=where, hint="give a path relative to the source")
        for where, text in paths.items()
        if text and (problem := relative_problem(text))
    ]


def inside(root: Path, relative: str, where: str) -> Path:
    """The path below `root`, links resolved.

    Raises:
        ConfigError: `relative` leads out of `root`.
    """
    problem = relative_problem(relative)
    base = Path(os.path.realpath(root))
    found = Path(os.path.realpath(base / relative)) if not problem else base
    if not problem and found != base and base not in found.parents:
        problem = "a link leads out of the source"
    if problem:
        raise ConfigError(
            f"{relative!r} is not a path within the source: {problem}", where=where, hint="Give a path relative to it."
        )
    return found


def read_text(root: Path, relative: str, limit: int = 1 << 20) -> str | None:
    """Content of a small text file of the source; None if there is no such regular file within it.

    Raises:
        ConfigError: Too large, or not UTF-8.
    """
    try:
        path = inside(root, relative, relative)
    except ConfigError:
        return None
    if not path.is_file():
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ConfigError(f"the file is larger than {limit} bytes", where=relative)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text: {error.reason}", where=relative, hint="Save it as UTF-8.") from None
