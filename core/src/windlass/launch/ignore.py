"""Which files of a directory belong to its code: ``.gitignore`` and ``.windlassignore``."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from attrs import frozen

from windlass.artifacts.files import special
from windlass.artifacts.patterns import compile_glob
from windlass.errors import ConfigError, UsageError

__all__ = ["CodeFile", "LeftOut", "Rules", "code_files", "parse_rules"]

IGNORE_FILES = (".gitignore", ".windlassignore")
"""Read in this order in every directory; later rules win, and deeper files win over higher ones."""
_ALWAYS = frozenset({".git", ".hg", ".svn", ".windlass", "__pycache__", ".DS_Store"})
_NAMED = 5  # how many paths a warning lists
_log = logging.getLogger("windlass")
_CACHE_MARK = "CACHEDIR.TAG"  # bford.info/cachedir: what can be made again


@frozen(kw_only=True)
class _Rule:
    pattern: re.Pattern[str]
    keep: bool
    directories: bool


Rules = tuple[_Rule, ...]


@frozen(kw_only=True)
class CodeFile:
    """A file that belongs to the code.

    Attributes:
        path: Relative to the directory, with forward slashes.
        source: Where its bytes are (a link's target).
        executable: The owner may execute it.
    """

    path: str
    source: Path
    executable: bool


def parse_rules(lines: Iterable[str]) -> Rules:
    """Rules of one ignore file. A pattern that cannot be read matches nothing, as in git."""
    rules = []
    for line in lines:
        text = line.rstrip("\r\n")
        text = re.sub(r"(?<!\\)[ \t]+$", "", text)
        if not text or text.startswith("#"):
            continue
        keep = text.startswith("!")
        text = text[1:] if keep else text
        directories = text.endswith("/")
        text = text.rstrip("/")
        if not text:
            continue
        try:
            pattern = compile_glob(text.removeprefix("/"), anchored="/" in text)
        except UsageError:
            continue
        rules.append(_Rule(pattern=pattern, keep=keep, directories=directories))
    return tuple(rules)


def code_files(
    root: Path, skip: Iterable[Path] = (), left_out: Callable[[str, str], None] = lambda _path, _why: None
) -> Iterator[CodeFile]:
    """The files of a directory that belong to its code, sorted by path.

    Left out as no part of the code: what ``.gitignore`` and ``.windlassignore`` say, version control, byte-code and
    other caches, and `skip`. Of links only those to files of the directory are taken, as copies.

    Args:
        root: The directory.
        skip: Paths that are left out.
        left_out: Told the path and the reason of what cannot be taken: other links (what is outside of the directory
            would be somebody else's), FIFOs, sockets and devices.

    Raises:
        ConfigError: `root` is no directory, or an ignore file cannot be read.
    """
    if not root.is_dir():
        raise ConfigError("this is not a directory", where=str(root), hint="Give the directory that holds the code.")
    top = root.resolve()
    return _walk(top, top, "", (), frozenset(path.resolve() for path in skip), left_out)


_Levels = tuple[tuple[str, Rules], ...]


def _walk(
    top: Path,
    folder: Path,
    prefix: str,
    levels: _Levels,
    skip: frozenset[Path],
    left_out: Callable[[str, str], None],
) -> Iterator[CodeFile]:
    for name in IGNORE_FILES:
        path = folder / name
        if path.is_file():
            try:
                rules = parse_rules(path.read_text(encoding="utf-8", errors="replace").splitlines())
            except OSError as error:
                raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
            levels = (*levels, (prefix, rules))
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        path, relative = folder / entry.name, prefix + entry.name
        if entry.name in _ALWAYS or entry.name.endswith(".pyc") or path in skip:
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if _ignored(relative, is_folder, levels):
            continue
        if is_folder:
            if not (path / _CACHE_MARK).exists():
                yield from _walk(top, path, f"{relative}/", levels, skip, left_out)
            continue
        source = Path(os.path.realpath(path)) if entry.is_symlink() else path
        if why := _unfit(source, top):
            left_out(relative, why)
        else:
            yield CodeFile(path=relative, source=source, executable=bool(source.stat().st_mode & 0o100))


def _unfit(source: Path, top: Path) -> str:
    """Why something that is no folder cannot be taken, or empty. `source` has no links in it."""
    try:
        mode = source.lstat().st_mode
    except OSError:  # gone, or a circle of links
        return "a link that leads nowhere"
    if top not in source.parents:
        return f"a link that leads out of the directory, to {source}"
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return "a link to a folder"
    return "a link that leads nowhere" if stat.S_ISLNK(mode) else special(mode)


class LeftOut:
    """Collects what `code_files` leaves out, and says it once."""

    def __init__(self) -> None:
        self.items: list[str] = []

    def __call__(self, path: str, why: str) -> None:
        """Take note."""
        self.items.append(f"{path} ({why})")

    def say(self, root: str | Path) -> None:
        """Log a warning that names what is not in the code."""
        if self.items:
            shown = "; ".join(self.items[:_NAMED])
            more = f" and {len(self.items) - _NAMED} more" if len(self.items) > _NAMED else ""
            _log.warning("not taken into the code of %s: %s%s", root, shown, more)


def _ignored(relative: str, is_folder: bool, levels: _Levels) -> bool:
    for prefix, rules in reversed(levels):
        below = relative[len(prefix) :]
        for rule in reversed(rules):
            if (is_folder or not rule.directories) and rule.pattern.fullmatch(below):
                return not rule.keep
    return False


class DockerIgnore:
    """The rules of a ``.dockerignore`` file: relative to the root, the last matching one decides.

    Args:
        lines: Lines of the file.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            keep = text.startswith("!")
            parts = [part for part in text.removeprefix("!").strip().split("/") if part not in ("", ".")]
            if not parts or ".." in parts:
                continue
            try:
                self._rules.append((compile_glob("/".join(parts), anchored=True), keep))
            except UsageError:
                continue

    @property
    def has_exceptions(self) -> bool:
        """Some rule takes files back in, so that an ignored folder must be looked into."""
        return any(keep for _, keep in self._rules)

    def ignored(self, relative: str) -> bool:
        """True if a path is left out of the build context: a rule matches it, or a folder that it lies in."""
        parts = relative.split("/")
        places = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for pattern, keep in reversed(self._rules):
            if any(map(pattern.fullmatch, places)):
                return not keep
        return False
