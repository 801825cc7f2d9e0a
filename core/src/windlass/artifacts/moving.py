"""Where the blobs of a metadata store are, and their way to another place."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

from attrs import frozen

from windlass.artifacts.blobstore import StorageBlobStore
from windlass.blobs import BlobInfo
from windlass.errors import ConflictError, IntegrityError, UnsupportedError, UsageError
from windlass.metastore import BlobPlace
from windlass.plugins.app import App
from windlass.storage import ObjectRef, Storage

__all__ = ["MoveReport", "move_blobs"]

_BATCH = 1000
_IN_MEMORY = 16 << 20
_THREADS = 8


@frozen(kw_only=True)
class MoveReport:
    """What became of a move.

    Attributes:
        before: URI the blobs were at.
        root: URI they are at now.
        copied_blobs: How many were copied; what was there already is not.
        copied_bytes: Their size.
    """

    before: str
    root: str
    copied_blobs: int = 0
    copied_bytes: int = 0


def move_blobs(
    app: App, place: BlobPlace, uri: str, *, copy: bool = False, progress: Callable[[str], None] = lambda _: None
) -> MoveReport:
    """Let a metadata store keep its blobs at another URI; agents and servers of the store must not be running.

    The new place is tried out first. Blobs that are at the old one are copied, verified, and left where they are.
    May be repeated after a kill: what has arrived is not copied again, and the record changes last.

    Args:
        app: Finds the storages.
        place: The metadata store.
        uri: The new folder, or a path of this host. Nothing else may write there.
        copy: Copy the blobs that there are.
        progress: Told what is being done.

    Raises:
        ConflictError: There are blobs, and they shall not be copied.
        UsageError: The URI's storage cannot keep blobs.
        StorageError, AccessError: The new place does not work.
    """
    root = (uri if "://" in uri else Path(uri).expanduser().absolute().as_uri()).rstrip("/")
    before = place.blob_root()
    if root == before:
        return MoveReport(before=before, root=root)
    if f"{root}/".startswith(f"{before}/") or f"{before}/".startswith(f"{root}/"):
        raise UsageError("one of the two folders is inside of the other", where=root, hint=f"The old one is {before}.")
    storage = app.storage_for(root)
    _try_out(storage, root)
    old, new = StorageBlobStore(app.storage_for(before), before), StorageBlobStore(storage, root)
    if not copy and next(_all(old), None) is not None:
        raise ConflictError(
            f"there are blobs at {before}",
            where=root,
            hint="Stop agents and servers, then add --copy. The old ones stay and can be deleted afterwards.",
        )
    blobs, size = _copy(old, new, progress) if copy else (0, 0)
    place.move_blob_root(before, root)
    if copy:  # what came in meanwhile
        more, more_size = _copy(old, new, progress)
        blobs, size = blobs + more, size + more_size
    return MoveReport(before=before, root=root, copied_blobs=blobs, copied_bytes=size)


def _try_out(storage: Storage, root: str) -> None:
    """Write, read and remove an object, so that missing permissions show now and not in somebody's run."""
    probe, data = f"{root}/probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
    try:
        storage.put(probe, data)
    except UnsupportedError:
        raise UsageError("this storage can only be read", where=root, hint="s3://, gs://, az:// or a path.") from None
    try:
        with storage.open(ObjectRef(uri=probe)) as stream:
            found = stream.read()
        if found != data:
            raise IntegrityError("the storage gave other bytes than were stored", where=probe)
        if next(storage.list(root), None) is None:
            raise UsageError("this storage cannot list, so garbage could never be collected there", where=root)
    finally:
        storage.delete([probe])


def _all(store: StorageBlobStore) -> Iterator[BlobInfo]:
    return chain(store.list(), store.retired())


def _copy(old: StorageBlobStore, new: StorageBlobStore, progress: Callable[[str], None]) -> tuple[int, int]:
    blobs = size = 0
    source = _all(old)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="copy") as pool:
        while batch := {info.digest: info for info in islice(source, _BATCH)}:
            wanted = [batch[digest] for digest in new.missing(batch)]
            for info in pool.map(lambda info: _copy_one(old, new, info), wanted):
                blobs, size = blobs + 1, size + info.size
            progress(f"copied {blobs} blobs")
    return blobs, size


def _copy_one(old: StorageBlobStore, new: StorageBlobStore, info: BlobInfo) -> BlobInfo:
    path = old.local_path(info.digest)
    if path is not None and os.path.exists(path):
        new.put(info.digest, path)
        return info
    with old.open(info.digest) as stream:
        if info.size <= _IN_MEMORY:
            new.put(info.digest, stream.read())
            return info
        with tempfile.NamedTemporaryFile(prefix="windlass-") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
            file.flush()
            new.put(info.digest, file.name)
    return info
