r"""Paths into nested configs: keys joined by dots, ``\.`` for a dot in a key and ``\\`` for a backslash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from windlass.errors import UsageError
from windlass.models import JSON

__all__ = ["KeyPath", "covered", "dotted", "leaves", "merge", "parse_path", "parse_paths", "select", "set_path"]

KeyPath = tuple[str, ...]


def parse_path(text: str, where: str = "") -> KeyPath:
    """Split a path into keys.

    A backslash escapes a dot or a backslash; before anything else, or at the end, it is an error.

    Raises:
        UsageError: Empty path, empty key or stray backslash.
    """
    keys, key, rest = [], "", iter(text)
    for char in rest:
        if char == "\\":
            following = next(rest, "")
            if following not in (".", "\\") or not following:
                raise UsageError(
                    f"a stray backslash in the path {text!r}",
                    where=where,
                    hint=r"Write \. for a dot, \\ for a backslash.",
                )
            key += following
        elif char == ".":
            keys.append(key)
            key = ""
        else:
            key += char
    keys.append(key)
    if not all(keys):
        raise UsageError(f"an empty key in the path {text!r}", where=where, hint="Write keys joined by single dots.")
    return tuple(keys)


def parse_paths(texts: Iterable[str] | None, where: str = "") -> tuple[KeyPath, ...]:
    """Several paths; None gives none. Raises `UsageError`."""
    if isinstance(texts, str):
        raise UsageError(f"expected a list of paths, got the text {texts!r}", where=where, hint=f"Write [{texts!r}].")
    return tuple(parse_path(text, where) for text in texts or ())


def dotted(path: Iterable[str]) -> str:
    r"""The text of a path, dots and backslashes escaped."""
    return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in path)


def covered(path: KeyPath, prefixes: Iterable[KeyPath]) -> bool:
    """True if one of the prefixes is the path itself or leads to it."""
    return any(path[: len(prefix)] == prefix for prefix in prefixes)


def leaves(tree: Mapping[str, JSON], above: KeyPath = ()) -> Iterator[tuple[KeyPath, JSON]]:
    """All values that are not non-empty mappings, with their paths."""
    for key, value in tree.items():
        path = (*above, str(key))
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def select(tree: Mapping[str, JSON], include: Iterable[KeyPath], exclude: Iterable[KeyPath]) -> dict[str, JSON]:
    """The part of a tree below `include` (empty: all) that is not below `exclude`. The tree is not changed."""
    include, exclude = tuple(include), tuple(exclude)
    result: dict[str, JSON] = {}
    for path, value in leaves(tree):
        if (not include or covered(path, include)) and not covered(path, exclude):
            set_path(result, path, value)
    return result


def set_path(tree: dict[str, JSON], path: KeyPath, value: JSON) -> None:
    """Put a value into a tree in place, making mappings on the way."""
    for key in path[:-1]:
        below = tree.get(key)
        if not isinstance(below, dict):
            below = tree[key] = {}
        tree = below
    tree[path[-1]] = value


def merge(base: Mapping[str, JSON], over: Mapping[str, JSON]) -> dict[str, JSON]:
    """Lay one tree over another: mappings are merged, everything else is replaced. Neither is changed."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result
