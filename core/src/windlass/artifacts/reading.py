"""Getting artifacts out of the store: download, checkout, verify, read, cache. The reading half of the engine."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.artifacts.digest import ALGORITHMS, interchange_digest, interchange_file_digest
from windlass.artifacts.files import below, is_abandoned, is_temporary
from windlass.artifacts.manifest import Entry, Manifest
from windlass.artifacts.naming import naming
from windlass.artifacts.patterns import Patterns
from windlass.artifacts.statcache import StatCache
from windlass.errors import ArtifactNotFoundError, IntegrityError, ObjectChangedError, StorageError, UsageError
from windlass.models.artifact import ArtifactVersion

if TYPE_CHECKING:
    from windlass.artifacts.cache import Cache
    from windlass.artifacts.download import Downloader
    from windlass.blobs import BlobStore
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App
    from windlass.settings import Settings

__all__ = ["ArtifactReading"]

_NAMED = 5  # how many paths an error lists


class ArtifactReading:
    """Reads artifacts of one metadata store. Serves several threads.

    Args:
        app: Finds storages and serializers.
        store: Index and blobs.
        settings: Entity, project and folders.
    """

    def __init__(self, app: App, store: MetadataStore, settings: Settings) -> None:
        self.app = app
        self.store = store
        self.settings = settings
        self.algorithm = os.environ.get("WINDLASS_DIGEST") or "blake3"
        if self.algorithm not in ALGORITHMS:
            hint = f"Known: {', '.join(ALGORITHMS)}."
            raise UsageError(f"'{self.algorithm}' is not a digest algorithm", where="WINDLASS_DIGEST", hint=hint)
        self.link = os.environ.get("WINDLASS_ARTIFACT_LINK") or "auto"

    # Blobs and cache are opened when they are needed: putting unchanged files again needs neither.

    @cached_property
    def blobs(self) -> BlobStore:
        """Where the bytes are."""
        return self.store.blobs

    @cached_property
    def cache(self) -> Cache:
        """The local copies. Raises `UsageError` when ``WINDLASS_CACHE_SIZE`` is no size."""
        from windlass.artifacts.cache import local_cache

        return local_cache(self.settings.cache_dir)

    def manifest(self, version: ArtifactVersion) -> Manifest:
        """The manifest of a version."""
        return Manifest(self.blobs, version.manifest)

    def download(
        self,
        entries: Manifest,
        root: str,
        *,
        prefix: str = "",
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        allow_missing: bool = False,
        link: str = "",
        done: Callable[[int], None] = lambda _: None,
    ) -> list[Entry]:
        """Write entries to a folder, every byte verified; returns the references that were missing.

        Args:
            entries: The manifest.
            root: Absolute path of the folder.
            prefix: Only entries at or below this path.
            include: Globs, or one; only matching paths.
            exclude: Lines (or one) as in ``.gitignore``.
            allow_missing: Go on when the target of a reference is gone.
            link: ``auto``, ``hard`` or ``copy``. Default ``WINDLASS_ARTIFACT_LINK``, else ``auto``.
            done: Told how many more bytes are under way.

        Raises:
            ArtifactNotFoundError: Nothing is at or below `prefix`.
        """
        from windlass.artifacts.target import Target

        self.look_for(entries, prefix)
        chosen: Iterable[Entry] = entries.iterate(prefix)
        if include or exclude:
            patterns = Patterns(include, exclude)
            chosen = (entry for entry in chosen if patterns.takes(entry.path))
        return self._downloader(link).run(chosen, Target(root), allow_missing=allow_missing, done=done)

    def look_for(self, entries: Manifest, prefix: str) -> None:
        """Raise `ArtifactNotFoundError` when nothing is at or below a path."""
        if prefix and next(entries.iterate(prefix), None) is None:
            raise ArtifactNotFoundError(
                f"the artifact has nothing at or below '{prefix}'",
                hint=f"There is: {', '.join(entry.path for entry in islice(entries, _NAMED)) or 'nothing'} …",
            )

    def download_entry(self, entry: Entry, root: str) -> str:
        """Write one entry below a folder and return its path there."""
        from windlass.artifacts.target import Target

        target = Target(root)
        self._downloader().run([entry], target)
        return f"{root}/{entry.path}"

    def materialize(self, entry: Entry) -> str:
        """Path of a read-only file with the verified content, in the cache; it stays while this process lives."""
        with naming(str(self.cache.folder), "Set WINDLASS_CACHE_DIR to a folder that you may write to."):
            path = self._downloader().cached(entry)
            self.cache.settle()
        return path

    def _downloader(self, link: str = "") -> Downloader:
        from windlass.artifacts.download import Downloader

        present = StatCache(Path(self.settings.cache_dir) / "stat", "download", self.algorithm)
        return Downloader(self.blobs, self.app.storage_for, self.cache, present, link or self.link)

    def temporary(self) -> str:
        """A folder for temporary files, on the disk that the cache is on where that can be written."""
        import tempfile

        folder = os.path.join(self.settings.cache_dir, "tmp")
        with contextlib.suppress(OSError):
            os.makedirs(folder, exist_ok=True)
        return folder if os.access(folder, os.W_OK) else tempfile.gettempdir()

    def copy(self, entry: Entry, handle: int) -> None:
        """Write the verified content of an entry to a file descriptor."""
        from windlass.artifacts.proof import copy_verified
        from windlass.artifacts.reader import open_entry

        with open_entry(entry, self.blobs, self.app.storage_for) as stream:
            copy_verified(stream, handle, entry)

    def read(self, entry: Entry) -> bytes:
        """The verified content of an entry."""
        from windlass.artifacts.proof import prove
        from windlass.artifacts.reader import open_entry

        with open_entry(entry, self.blobs, self.app.storage_for) as stream:
            data = stream.read()
        prove(entry, len(data), data)
        return data

    def hold(self, entry: Entry) -> memoryview:
        """The verified content of an entry in memory of its own, writable. Its size must be known."""
        from windlass.artifacts.memory import read_into_memory
        from windlass.artifacts.proof import prove_digest
        from windlass.artifacts.reader import open_entry

        with open_entry(entry, self.blobs, self.app.storage_for) as stream:
            view, size, found = read_into_memory(stream, entry)
        prove_digest(entry, size, found)
        return view

    def checkout(
        self,
        manifest: Manifest,
        root: str,
        *,
        link: str = "",
        allow_missing: bool = False,
        done: Callable[[int], None] = lambda _: None,
    ) -> list[Entry]:
        """Make a folder equal to the artifact: as `download`, and then what is not of the artifact is deleted.

        What cannot be got is found out before: then nothing is deleted but what stood in the way.
        """
        keep = {entry.path for entry in manifest}
        extras = [
            path
            for path in below(root)
            if path not in keep and (not is_temporary(path) or is_abandoned(f"{root}/{path}"))
        ]
        folders = {folder for path in keep for folder in _above(path)} if extras else set()
        in_the_way = {path for path in extras if path in folders or not keep.isdisjoint(_above(path))}
        _delete(root, in_the_way)
        missing = self.download(manifest, root, link=link, allow_missing=allow_missing, done=done)
        _delete(root, [path for path in extras if path not in in_the_way])
        return missing

    def verify(self, manifest: Manifest, root: str) -> None:
        """Compare a folder with a manifest; all bytes are read. A link counts as what it leads to.

        Raises:
            UsageError: There is no such folder.
            IntegrityError: Files are missing, additional or different; names them.
        """
        if not os.path.isdir(root):
            raise UsageError("there is no such folder", where=root, hint="Download to it first, or check the path.")
        additional = set(below(root))
        missing, different = [], []
        for entry in manifest:
            if entry.path not in additional:
                missing.append(entry.path)
                continue
            additional.remove(entry.path)
            if not _holds(f"{root}/{entry.path}", entry):
                different.append(entry.path)
        others = sorted(path for path in additional if not is_temporary(path))
        problems = {"missing": missing, "different": different, "additional": others}
        if any(problems.values()):
            parts = [f"{word}: {_some(paths)}" for word, paths in problems.items() if paths]
            raise IntegrityError(
                f"the folder is not what was recorded; {'; '.join(parts)}",
                where=root,
                hint="A download to it repairs it; a checkout also deletes what is additional.",
                context=dict(problems),
            )

    def damages(self, manifest: Manifest, *, done: Callable[[int], None] = lambda _: None) -> Iterator[IntegrityError]:
        """Read all that a manifest names, where it is stored, and yield what is gone or not what was recorded.

        Nothing is written. A pack is read once, and kept in memory while its files are compared.

        Args:
            manifest: What to prove.
            done: Told the bytes of each entry that was read.
        """
        from windlass.artifacts.proof import prove, prove_stream
        from windlass.artifacts.reader import open_entry

        held, pack = "", b""
        for entry in manifest:
            try:
                if not entry.ref and len(entry.parts) == 1:
                    blob, offset, length = entry.parts[0]
                    if blob != held:
                        with self.blobs.open(blob) as stream:
                            held, pack = blob, stream.read()
                    data = pack[offset : offset + length]
                    prove(entry, len(data), data)
                else:
                    with open_entry(entry, self.blobs, self.app.storage_for) as stream:
                        prove_stream(stream, entry)
            except StorageError as error:
                yield (
                    error
                    if isinstance(error, IntegrityError)
                    else IntegrityError(
                        f"'{entry.path}' cannot be read: {error.message}", where=error.where, hint=error.hint
                    )
                )
            done(max(entry.size, 0))

    def interchange_digest(self, manifest: Manifest) -> str:
        """The MD5 manifest digest that other tools compute; reads all content that is stored."""
        from windlass.artifacts.reader import open_entry

        pairs = []
        for entry in manifest:
            if entry.ref:
                extra = entry.extra or {}
                pairs.append((entry.path, str(extra.get("etag") or entry.ref)))
            else:
                with open_entry(entry, self.blobs, self.app.storage_for) as stream:
                    pairs.append((entry.path, interchange_file_digest(stream)))
        return interchange_digest(pairs)


def _holds(file: str, entry: Entry) -> bool:
    """True when a file on disk has an entry's content, as far as that was recorded."""
    from windlass.artifacts.proof import prove_stream

    try:
        found = os.stat(file)
        if not stat.S_ISREG(found.st_mode) or (entry.size >= 0 and found.st_size != entry.size):
            return False
        with open(file, "rb", buffering=0) as stream:
            prove_stream(stream, entry)
        return True
    except (IntegrityError, ObjectChangedError):
        return False
    except FileNotFoundError:  # a link that leads nowhere
        return False
    except OSError as error:
        raise StorageError(f"it cannot be read: {error.strerror}", where=file) from error


def _some(paths: Sequence[str]) -> str:
    shown = ", ".join(f"'{path}'" for path in paths[:_NAMED])
    return f"{shown} and {len(paths) - _NAMED} more" if len(paths) > _NAMED else shown


def _above(path: str) -> Iterator[str]:
    """The folders that a path lies in."""
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)


def _delete(root: str, paths: Iterable[str]) -> None:
    """Delete files and links below a folder, and the folders that are empty."""
    for path in paths:
        with naming(f"{root}/{path}"), contextlib.suppress(FileNotFoundError):  # abandoned ones are swept meanwhile
            os.unlink(f"{root}/{path}")
    for folder, _, _ in os.walk(root, topdown=False):
        if folder != root:
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(folder)
