"""Rules for names, types, aliases, tags and paths, and the reading of ``[[entity/]project/]name[:alias|@digest]``."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from windlass.errors import UsageError

if TYPE_CHECKING:
    from windlass.models.artifact import ArtifactRef

__all__ = [
    "check_alias",
    "check_entry_path",
    "check_entry_paths",
    "check_name",
    "check_project",
    "check_reserved",
    "check_tag",
    "check_type",
    "parse_collection",
    "parse_ref",
    "safe_name",
    "words",
]

MAX_LENGTH = 128
MAX_PART = 255
MAX_PATH = 3072
MAX_OBJECTS = 10_000
"""Objects that one `add_reference` takes when nothing else is said."""
RESERVED_PREFIX = "windlass-"
MEDIA_FOLDER = "media/"
"""Where the files of rich objects are."""
CODE_TYPES = ("code", "code-patch")
"""Types of artifacts in which a run keeps its own code, and how that differs from its commit."""

_NAME = re.compile(r"[a-zA-Z0-9_\-.]+")
_PLAIN = r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]*+(?:/[A-Za-z0-9_\-][A-Za-z0-9_.\-]*+)*+"  # what most paths are
_PLAIN_PATH, _PLAIN_PATHS = re.compile(_PLAIN), re.compile(rf"{_PLAIN}(?:\n{_PLAIN})*+")


def check_name(name: str) -> str:
    """Return `name` if a new collection may be called so: letters, digits, ``_ - .``, at most 128 characters.

    Raises:
        UsageError: It may not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (".", "..") or len(name) > MAX_LENGTH:
        raise UsageError(
            f"{_show(name)} is not a valid artifact name",
            hint=f"Use letters, digits, '_', '-' and '.', at most {MAX_LENGTH} characters.",
        )
    return name


def check_type(type: str) -> str:
    """Return `type` if it is one: not empty, no ``/`` or ``:``, at most 128 characters. Raises `UsageError`."""
    if not isinstance(type, str) or not type.strip() or len(type) > MAX_LENGTH or _has(type, "/:"):
        raise UsageError(
            f"{_show(type)} is not a valid artifact type",
            hint=f"Use a word such as 'dataset' or 'model', without '/' and ':', at most {MAX_LENGTH} characters.",
        )
    return type


def check_reserved(name: str, type: str) -> None:
    """Raise `UsageError` for types that Windlass makes itself (jobs, code, run tables, ``windlass-…``)."""
    if (
        type.startswith(RESERVED_PREFIX)
        or type == "job"
        or (type == "run_table" and name.startswith("run-"))
        or (type == "code" and name.startswith("source-"))
    ):
        raise UsageError(
            f"artifacts of type '{type}' named '{name}' are made by Windlass itself",
            hint="Choose another type or name; make jobs with 'windlass job create'.",
        )


def check_alias(alias: str) -> str:
    """Return `alias` if it may be written: not empty, no ``/``, ``:``, ``@``; not ``v<N>``. Raises `UsageError`."""
    if not isinstance(alias, str) or not alias.strip() or len(alias) > MAX_LENGTH or _has(alias, "/:@"):
        raise UsageError(f"{_show(alias)} is not a valid alias", hint="Use a word without '/', ':' and '@'.")
    if re.fullmatch(r"v[0-9]+", alias):
        raise UsageError(f"the alias '{alias}' is a version number", hint="Versions number themselves; choose a word.")
    return alias


def check_tag(tag: str) -> str:
    """Return `tag` if it is one: words of letters, digits, ``_ -`` with single spaces between. Raises `UsageError`."""
    if not isinstance(tag, str) or not re.fullmatch(r"[-\w]+( +[-\w]+)*", tag) or len(tag) > MAX_LENGTH:
        raise UsageError(f"{_show(tag)} is not a valid tag", hint="Use words of letters, digits, '_' and '-'.")
    return tag


def check_project(project: str, *, what: str = "project") -> str:
    r"""Return `project` if it is valid for a project or entity: none of ``/ \ # ? % :``. Raises `UsageError`."""
    if not isinstance(project, str) or not project.strip() or len(project) > MAX_LENGTH or project in (".", ".."):
        raise UsageError(f"{_show(project)} is not a valid {what} name", hint=f"1 to {MAX_LENGTH} characters.")
    if _has(project, "/\\#?%:"):
        raise UsageError(
            f"{_show(project)} is not a valid {what} name", hint="It may not hold / \\ # ? % : or line ends."
        )
    return project


def check_entry_path(path: str) -> str:
    """Return `path` if it is safe inside an artifact under POSIX and under Windows rules.

    Relative, ``/`` between parts, no empty part, ``.`` or ``..``, no drive, UNC or NUL; parts of at most 255 bytes, as
    file systems take them.

    Raises:
        UsageError: It is not; names the path and why.
    """
    plain = isinstance(path, str) and len(path) <= MAX_PART and _PLAIN_PATH.fullmatch(path)
    why = "" if plain else _path_problem(path)
    if why:
        raise UsageError(
            f"{_show(path)} cannot be a path in an artifact: {why}",
            hint="Use a relative path with '/' between its parts, such as 'data/train.csv'.",
        )
    return path


def check_entry_paths(paths: list[str]) -> None:
    """`check_entry_path` for many; those that are plain are looked at together."""
    together = "\n".join(paths)
    if together.count("\n") == len(paths) - 1 and _PLAIN_PATHS.fullmatch(together) and max(map(len, paths)) <= MAX_PART:
        return
    for path in paths:
        check_entry_path(path)


def _path_problem(path: str) -> str:
    if not isinstance(path, str):
        return f"it is {type(path).__name__}, not text"
    if not path:
        return "it is empty"
    if "\0" in path:
        return "it holds a NUL"
    if path[0] == "/" or path[0] == "\\":
        return "it is absolute"
    if path[1:2] == ":" and path[0].isascii() and path[0].isalpha():
        return "it starts with a drive"
    parts = path.split("/")
    if "" in parts or "." in parts or ".." in parts:
        return "it holds an empty part, '.' or '..'"
    if "\\" in path and any(part in (".", "..") for part in re.split(r"[/\\]", path)):
        return "it holds '..' under Windows rules"
    size = max(len(part.encode(errors="replace")) for part in parts)
    if size > MAX_PART:
        return f"a part of it has {size} bytes, and file systems take {MAX_PART}"
    if len(path) > MAX_PATH:
        return f"it has {len(path)} characters, more than {MAX_PATH}"
    if not path.isascii():
        try:
            path.encode()
        except UnicodeEncodeError:
            return "it is not valid UTF-8"
    return ""


def parse_ref(text: str, *, entity: str, project: str) -> ArtifactRef:
    """Read ``[[entity/]project/]name[:alias|:v3|@digest]``; missing parts come from the arguments and ``latest``.

    All after the first ``:`` of the name is the alias, so aliases made elsewhere may hold ``/`` and ``:``.

    Raises:
        UsageError: More than three parts, or an empty one.
    """
    from windlass.models.artifact import ArtifactRef  # a run that has no artifacts checks names only

    head, mark, selector = text, "", ""
    cut = min((index for index in (text.find(":"), text.find("@")) if index >= 0), default=-1)
    if cut >= 0:
        head, mark, selector = text[:cut], text[cut], text[cut + 1 :]
    parts = head.split("/")
    if len(parts) > 3 or not all(part.strip() for part in parts) or (mark and not selector):
        raise UsageError(
            f"{_show(text)} does not name an artifact",
            hint="Write [[entity/]project/]name[:alias], [[entity/]project/]name:v3 or …/name@digest.",
        )
    name = parts[-1]
    if len(parts) > 1:
        project = parts[-2]
    if len(parts) > 2:
        entity = parts[-3]
    if name in (".", "..") or "\0" in name or len(name) > MAX_LENGTH:
        raise UsageError(f"{_show(name)} is not a valid artifact name")
    return ArtifactRef(entity=entity, project=project, name=name, selector=selector or "latest")


def parse_collection(text: str, *, entity: str, project: str) -> ArtifactRef:
    """Read ``[[entity/]project/]name``, which names a collection. Raises `UsageError`, also when it names a version."""
    ref = parse_ref(text, entity=entity, project=project)
    if _has(text, ":@"):
        raise UsageError(
            f"{_show(text)} names a version, and a collection is needed",
            hint=f"Write '{re.split('[:@]', text)[0]}'; versions number themselves, and aliases go beside it.",
        )
    check_name(ref.name)
    return ref


def safe_name(text: str, *, unique: bool = False) -> str:
    """A valid artifact name close to `text`: other characters become ``_``, the middle of long ones ``..``.

    Args:
        text: Anything.
        unique: Add a checksum when something was changed, so that different texts keep different names.
    """
    name = re.sub(r"[^a-zA-Z0-9_\-.]", "_", text) or "_"
    if name in (".", ".."):
        name = name.replace(".", "_")
    suffix = f"-{zlib.crc32(text.encode(errors='surrogateescape')):08x}"[:7] if unique and name != text else ""
    room = MAX_LENGTH - len(suffix)
    if len(name) > room:
        half = (room - 2) // 2
        name = f"{name[:half]}..{name[-half:]}"
    return name + suffix


def _has(text: str, characters: str) -> bool:
    return any(c in text for c in characters) or any(c < " " for c in text)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}…"


def words(given: str | Iterable[str]) -> tuple[str, ...]:
    """One or several words as several."""
    return (given,) if isinstance(given, str) else tuple(given)
