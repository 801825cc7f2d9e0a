"""The content of an artifact that is being put together: which paths it will have, and where their bytes come from."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import IO, Any

from windlass.artifacts.files import Source, signature, special, walk
from windlass.artifacts.manifest import Entry
from windlass.artifacts.names import MEDIA_FOLDER, check_entry_path
from windlass.artifacts.patterns import Patterns
from windlass.errors import ArtifactNotFoundError, UsageError

__all__ = ["Draft"]

POLICIES = ("immutable", "mutable")


class Draft:
    """Paths and sources. Files are not read before the artifact is logged.

    An entry is found by its path, and one that holds an object also by the name it was added under: no two entries
    share either. An object that goes takes along the media files that no other needs.

    Args:
        base: Entries of the version this one is made from.
    """

    def __init__(self, base: Iterable[Entry] = ()) -> None:
        self.items: dict[str, Source | Entry] = {}
        self._named: dict[str, list[str]] = {}  # paths of the objects of a name: older versions may have several
        self._used: dict[str, int] = {}  # media files, and how many objects need them
        self._unsure = False  # an object of an older version does not say which files it needs
        for entry in base:
            self._take(entry)
        self.removed: dict[str, bool] = {}
        """What the version that this one adds to loses, and whether it must have it."""
        self._staging = ""

    @property
    def sized(self) -> bool:
        """Whether the size of every item is known; that of a reference may not be."""
        return all(isinstance(item, Source) or item.size >= 0 for item in self.items.values())

    def ordered(self) -> list[Source | Entry]:
        """The items in the order of their paths."""
        return sorted(self.items.values(), key=attrgetter("path"))

    def stage(self) -> str:
        """A private folder for content that exists nowhere else; removed with the draft."""
        import shutil
        import tempfile

        if not self._staging:
            self._staging = tempfile.mkdtemp(prefix="windlass-artifact-")
            weakref.finalize(self, shutil.rmtree, self._staging, True)
        return self._staging

    def new_file(self, path: str) -> str:
        """A path on disk for the content of a new entry."""
        check_entry_path(path)
        import tempfile

        handle, name = tempfile.mkstemp(dir=self.stage())
        os.close(handle)
        return name

    def add_file(
        self, local: str, path: str, *, policy: str, overwrite: bool, extra: dict[str, Any] | None = None
    ) -> str:
        """Take a file; returns its path in the artifact."""
        if policy not in POLICIES:
            raise UsageError(f"'{policy}' is not a policy", hint=f"Known: {', '.join(POLICIES)}.")
        check_entry_path(path)
        file = os.path.abspath(local)
        if not os.path.isfile(file):
            raise _no_file(file, str(local))
        root, name = os.path.split(file)
        if policy == "mutable":
            copy = self.new_file(path)
            _copy(file, copy)
            file, root, name = copy, "", copy
        self._put(Source(path, root, signature(os.stat(file)), name, extra), overwrite)
        return path

    def add_buffers(
        self, buffers: Sequence[memoryview | bytes], path: str, *, overwrite: bool, extra: dict[str, Any] | None = None
    ) -> None:
        """Take content from memory; it must stay as it is until the artifact is logged."""
        from windlass.artifacts.memory import Pieces  # a folder needs none

        check_entry_path(path)
        self._put(Pieces.of(path, buffers, extra), overwrite)

    def add_staged(self, file: str, path: str, *, overwrite: bool, extra: dict[str, Any] | None = None) -> None:
        """Take a file of the staging folder."""
        self._put(Source(path, "", signature(os.stat(file)), file, extra), overwrite)

    def add_dir(
        self,
        local: str,
        name: str,
        *,
        include: str | Sequence[str],
        exclude: str | Sequence[str],
        symlinks: str,
        policy: str,
        overwrite: bool,
    ) -> int:
        """Take the files below a folder; returns how many."""
        root = os.path.abspath(local)
        if not os.path.isdir(root):
            raise UsageError(
                "there is no such folder", where=str(local), hint="Check the path; use add_file for a file."
            )
        if policy not in POLICIES:
            raise UsageError(f"'{policy}' is not a policy", hint=f"Known: {', '.join(POLICIES)}.")
        prefix = ""
        if name and name != ".":
            prefix = check_entry_path(name.rstrip("/")) + "/"
        patterns = Patterns.for_folder(root, include, exclude)
        found: dict[str, Source | Entry] = {}
        for source in walk(root, prefix, patterns.wanted if patterns else None, symlinks=symlinks):
            if policy == "mutable":
                copy = self.new_file(source.path)
                _copy(source.file, copy)
                source = Source(source.path, "", signature(os.stat(copy)), copy)
            if "\\" in source.path or ":" in source.path:
                check_entry_path(source.path)
            found[source.path] = source
        count = len(found)
        self._put_all(found, overwrite)
        return count

    def add_entry(self, entry: Entry, *, overwrite: bool) -> None:
        """Take an entry whose bytes are stored already, or a reference."""
        check_entry_path(entry.path)
        self._put(entry, overwrite)

    def add_checked(self, entries: Iterable[Entry], *, overwrite: bool) -> None:
        """Take references whose paths were checked already."""
        self._put_all({entry.path: entry for entry in entries}, overwrite)

    def copy(self) -> Draft:
        """A draft of the same content, which is staged as long as this one lives."""
        made = Draft()
        made.items = dict(self.items)
        made._used, made._unsure = dict(self._used), self._unsure
        made.removed = dict(self.removed)
        made._named = {name: list(paths) for name, paths in self._named.items()}
        return made

    def fill_up(self, entries: Iterable[Entry]) -> None:
        """Take those entries whose paths and names the draft has not given itself, and has not removed.

        Raises:
            ArtifactNotFoundError: Neither the draft nor the entries had what was removed.
        """
        if self.removed:
            base = Draft(entries)
            for path, needed in self.removed.items():
                if not base.remove(path, from_base=True) and needed:
                    raise ArtifactNotFoundError(
                        f"neither the artifact nor the version it adds to has an entry or a folder '{path}'",
                        where=f"remove('{path}')",
                        hint="Look at the names of the latest version: artifact.entries().",
                    )
            entries = base.items.values()  # type: ignore[assignment]  # a draft of entries holds nothing else
        given = {*self.items, *self._named}
        needless: list[str] = []
        for entry in entries:
            if entry.path in given or _name(entry) in given:
                needless += _files(entry)
            else:
                self._take(entry)
        for path in needless:
            if path not in given and path not in self._used and not self._unsure:
                self.items.pop(path, None)

    def has(self, name: str) -> bool:
        """Whether an entry has that path, or holds the object of that name."""
        return name in self.items or name in self._named

    def remove(self, path: str, *, from_base: bool = False) -> int:
        """Remove an entry, an object by its name, or all below a folder; returns how many.

        With `from_base` the version that this one will add to loses it, too, and only one of the two must have it.
        """
        below = path.rstrip("/") + "/"
        found = [path] if path in self.items else list(self._named.get(path, ()))
        found = found or [name for name in self.items if name.startswith(below)]
        if not found and not from_base:
            raise ArtifactNotFoundError(f"the artifact has no entry and no folder '{path}'")
        for name in found:
            self._drop(name)
        if from_base:
            self.removed[path] = not found
        return len(found)

    def sources(self) -> Iterator[Source]:
        """Items that must be hashed and stored, in the order of their paths."""
        return (item for item in self.ordered() if isinstance(item, Source))

    def check_paths(self) -> None:
        """Raise `UsageError` when a path is both a file and a folder."""
        names = self.items
        folders = {path.rpartition("/")[0] for path in names}
        seen: set[str] = set()
        for below in folders:
            folder = below
            while folder and folder not in seen:
                if folder in names:
                    path = min(name for name in names if name.startswith(f"{folder}/"))
                    raise UsageError(
                        f"'{folder}' is a file, and '{path}' is below it",
                        where=_origin(names[path]),
                        hint=f"The file came from {_origin(names[folder])}. Give one of the two another name.",
                    )
                seen.add(folder)
                folder = folder.rpartition("/")[0]

    def _put_all(self, found: dict[str, Source | Entry], overwrite: bool) -> None:
        """Put plain files or references, all or none."""
        known = (found.keys() & self.items.keys()) | (found.keys() & self._named.keys())
        if not overwrite:
            for path in known:
                self._free(found[path])
        for path in known:
            self._put(found.pop(path), overwrite)
        if self.items:
            self.items.update(found)
        else:  # a million are not taken twice
            self.items = found

    def _put(self, item: Source | Entry, overwrite: bool) -> None:
        item = item if overwrite else self._free(item)
        rivals = self._rivals(item)
        self._take(item)  # first, for it may need files that they need, too
        for path in rivals:
            self._drop(path)

    def _free(self, item: Source | Entry) -> Source | Entry:
        """What stands for an item when nothing may be replaced. Raises `UsageError` when its path or name is taken."""
        before = self.items.get(item.path)
        if before is not None:
            name, new = _name(before), _name(item)
            if not _same(before, item) or (name and new and name != new):
                raise UsageError(
                    f"the artifact has '{item.path}' already, with another content, address or name",
                    where=_origin(item),
                    hint=f"The first came from {_origin(before)}. Pass overwrite=True to replace it, or another name.",
                )
            if name and not new:
                item = before  # the same content: it stays the object that it was
        for path, name in self._rivals(item).items():
            raise UsageError(
                f"'{name}' would be the name of two entries: '{path}' and '{item.path}'",
                where=_origin(item),
                hint="Pass overwrite=True to replace the first, or give another name.",
            )
        return item

    def _rivals(self, item: Source | Entry) -> dict[str, str]:
        """Paths of other entries that are found by the path or the name of this one, and which of the two it is."""
        found: dict[str, str] = {}
        for name in (item.path, _name(item)):
            for path in (name, *self._named.get(name, ())):
                if path != item.path and path in self.items:
                    found[path] = name
        return found

    def _take(self, item: Source | Entry) -> None:
        if item.extra:
            record = _record(item)
            self._unsure |= record.get("kind") == "media" and "files" not in record
            for path in _files(item):
                self._used[path] = self._used.get(path, 0) + 1
        before = self.items.get(item.path)
        if before is not None:
            self._forget(before)
        self.items[item.path] = item
        if name := _name(item):
            self._named.setdefault(name, []).append(item.path)

    def _drop(self, path: str) -> None:
        if path in self.items:  # else it was a file of an object that was dropped
            self._forget(self.items.pop(path))

    def _forget(self, item: Source | Entry) -> None:
        name = _name(item)
        if name:
            self._named[name].remove(item.path)
            if not self._named[name]:
                del self._named[name]
        for path in _files(item):
            self._used[path] -= 1
            if not self._used[path]:
                del self._used[path]
                if not self._unsure:
                    self._drop(path)


def _name(item: Source | Entry) -> str:
    """The name of the object that an entry holds, else empty."""
    return str(_record(item).get("name") or "") if item.extra else ""


def _files(item: Source | Entry) -> Sequence[str]:
    """The media files of the object that an entry holds."""
    files = _record(item).get("files") if item.extra else None
    return [path for path in files if str(path).startswith(MEDIA_FOLDER)] if isinstance(files, list) else ()


def _record(item: Source | Entry) -> Mapping[str, Any]:
    record = item.extra.get("object") if item.extra else None
    return record if isinstance(record, Mapping) else {}


def _no_file(file: str, given: str) -> UsageError:
    if os.path.isdir(file):
        return UsageError("it is a folder", where=given, hint="Use add_dir.")
    if os.path.exists(file):
        return UsageError(f"it is {special(os.stat(file).st_mode)}", where=given, hint="Write its content to a file.")
    if os.path.islink(file):
        return UsageError("it is a symbolic link that leads nowhere", where=given, hint="Mend or remove the link.")
    return UsageError("there is no such file", where=given, hint="Check the path.")


def _copy(source: str, target: str) -> None:
    from shutil import copyfile  # the package loads four compressors

    copyfile(source, target)


def _origin(item: Source | Entry) -> str:
    if not isinstance(item, Source):
        return item.ref or item.digest
    if record := _record(item):  # its file is one of ours, of which nobody knows
        return f"an object ({record.get('type') or record.get('media')})"
    return item.file or "memory"


def _same(one: Source | Entry, other: Source | Entry) -> bool:
    if isinstance(one, Source) and isinstance(other, Source):
        if one.file and one.file == other.file and one.signature == other.signature:
            return True
        return one.size == other.size and one.digest() == other.digest()
    if isinstance(one, Source) or isinstance(other, Source):
        source, entry = (one, other) if isinstance(one, Source) else (other, one)
        assert isinstance(source, Source)
        assert isinstance(entry, Entry)
        algorithm = entry.digest.partition(":")[0]
        if algorithm not in ("blake3", "sha256") or source.size != entry.size:
            return False
        return source.digest(algorithm) == entry.digest
    return one.is_same(other)


@contextmanager
def writing(draft: Draft, path: str, mode: str, encoding: str | None) -> Iterator[IO[Any]]:
    """A file whose content becomes the entry when the block ends without an exception."""
    if mode not in ("x", "w", "xb", "wb"):
        raise UsageError(
            f"'{mode}' is not a mode for a new file", hint="Use 'x' (new only) or 'w', with 'b' for bytes."
        )
    check_entry_path(path)
    if "x" in mode and draft.has(path):
        raise UsageError(f"the artifact has '{path}' already", hint="Use mode 'w' to replace it.")
    name = draft.new_file(path)
    with open(name, mode.replace("x", "w"), encoding=None if "b" in mode else encoding or "utf-8") as file:
        yield file
    draft.add_staged(name, path, overwrite=True)
