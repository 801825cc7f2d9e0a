"""References: entries whose bytes stay where they are. What identifies them is recorded, nothing is copied."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from operator import attrgetter, methodcaller
from typing import Any
from urllib.parse import unquote

from windlass.artifacts.digest import hash_stream
from windlass.artifacts.files import walk
from windlass.artifacts.fsspec_storage import folder_of, split_chain
from windlass.artifacts.manifest import Entry
from windlass.artifacts.names import MAX_OBJECTS, check_entry_path, check_entry_paths
from windlass.errors import ConflictError, ObjectNotFoundError, UnsupportedError, UsageError
from windlass.storage import ObjectInfo, ObjectRef, Storage, file_uri

__all__ = ["reference_entries"]

_THREADS = 8
_BATCH = 1000
_PASSWORD = re.compile(r"(?<=://)[^/?#@]*:[^/?#]*@|(?<=http://)[^/?#]*@|(?<=https://)[^/?#]*@")
"""User and password before a host, in every part of a chained address; for http a user alone may be a token."""
_SIGNATURE = re.compile(r"(?<=[?&])((?:X-Amz-|X-Goog-)?Signature|sig)=[^&#]*", re.IGNORECASE)
"""What makes an address of S3, CloudFront, Google Cloud Storage or Azure a key to its object."""

_BEHIND = {
    **dict.fromkeys(("http", "https"), r"[?#].*$"),
    **dict.fromkeys(("gs", "gcs"), r"#\d+$"),
    **dict.fromkeys(("s3", "s3a", "az", "abfs", "abfss"), r"\?versionId=[^?&]+$"),
}
"""What may stand behind a name and is no part of it, by scheme; keys of stores may hold any character."""


def reference_entries(
    uri: str,
    name: str | None,
    storage_for: Callable[[str], Storage],
    *,
    checksum: bool = True,
    max_objects: int = MAX_OBJECTS,
    symlinks: str = "error",
    algorithm: str = "blake3",
) -> list[Entry]:
    """Entries for the object at a URI, or for all objects below it.

    Args:
        uri: Address of an object or of a folder (prefix).
        name: Path in the artifact: of the object, or the folder for many. Default: the object's own name, or the top.
        storage_for: Finds the storage of a URI.
        checksum: Record what identifies the bytes: the store's checksum, version and ETag; for plain files a digest,
            for which they are read. False: record the address only; content may change unnoticed.
        max_objects: More objects than this are an error.
        symlinks: What becomes of symbolic links below a ``file://`` folder; one of `SYMLINKS`.
        algorithm: Digest algorithm for files.

    Raises:
        ObjectNotFoundError: Nothing is there.
        UsageError: No scheme, a password or signature in the address, too many objects, a name that cannot be a path,
            a link that `symlinks` does not permit.
    """
    _check_secrets(uri)
    if "://" not in uri:
        raise UsageError(f"'{uri}' has no scheme", hint="Write s3://…, gs://…, https://…, file:///… .")
    if max_objects < 1:
        raise UsageError(f"max_objects must be at least 1, not {max_objects}")
    storage = storage_for(uri)
    one = None if uri.endswith("/") else _stat(storage, uri)
    if one is not None:
        return [_entry(one, check_entry_path(name or _base_name(uri)), storage, checksum, algorithm)]
    prefix = check_entry_path(name.rstrip("/")) + "/" if name else ""
    made: list[Entry] = []
    try:
        for infos, paths in _found_below(uri, prefix, storage, symlinks, max_objects + 1):
            if len(made) + len(infos) > max_objects:
                raise UsageError(
                    f"there are more than {max_objects} objects",
                    where=uri,
                    hint=f"Pass max_objects={10 * max_objects} (--max-objects; or what you expect), or a narrower "
                    "prefix.",
                )
            _check_paths(infos, paths)
            made += _entries(infos, paths, storage, checksum, algorithm)
    except UnsupportedError:
        if not uri.endswith("/"):
            storage.stat(uri)  # where nothing is listed an address is that of an object; it says why there is none
        raise
    if not made:
        raise ObjectNotFoundError(
            "there is neither an object nor a folder of that name", where=uri, hint="Check the address."
        )
    made.sort(key=attrgetter("path"))
    return made


def _entries(
    infos: list[ObjectInfo], paths: list[str], storage: Storage, checksum: bool, algorithm: str
) -> list[Entry]:
    if not checksum:
        return list(map(_unchecked, infos, paths))
    if storage.local_path(infos[0].uri) is not None:
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(lambda info, path: _entry(info, path, storage, checksum, algorithm), infos, paths))
    return [  # what most listings tell needs no call, of which a million take their time
        Entry(path, f"etag:{info.etag}", info.size, (), info.uri, {"etag": info.etag, "mtime": info.mtime})
        if info.etag and info.mtime and not info.checksum and not info.version
        else _recorded(info, path)
        for info, path in zip(infos, paths, strict=True)
    ]


def _check_paths(infos: list[ObjectInfo], paths: list[str]) -> None:
    """Raise `UsageError` for a name that can be no path; names the object."""
    try:
        check_entry_paths(sorted(paths))
    except UsageError:
        for info, path in zip(infos, paths, strict=True):
            try:
                check_entry_path(path)
            except UsageError as error:
                hint = "Refer to it by its own address and with a name, and to the others by narrower prefixes."
                raise UsageError(error.message, where=info.uri, hint=hint) from error
        raise


def _check_secrets(uri: str) -> None:
    """Raise `UsageError` for what would stand in the manifest for everybody to read."""
    if _PASSWORD.search(uri):
        raise UsageError(
            "the address holds a password or a token",
            where=_PASSWORD.sub("***@", uri),
            hint="Leave it out. For http, name a header of the host by reference in WINDLASS_HOME/storage.yaml; "
            "an fsspec filesystem takes it from its own configuration, FSSPEC_<PROTOCOL>_PASSWORD.",
        )
    if uri.startswith("http") and _SIGNATURE.search(uri):
        raise UsageError(
            "the address is signed: whoever reads the artifact could use it, and it will end",
            where=_SIGNATURE.sub(r"\1=***", uri),
            hint="Refer to the object itself (s3://bucket/key, gs://bucket/key, az://container/name), with credentials "
            "of the environment; AZURE_STORAGE_SAS_TOKEN may hold the signature for Azure.",
        )


def _found_below(
    uri: str, prefix: str, storage: Storage, symlinks: str, most: int
) -> Iterator[tuple[list[ObjectInfo], list[str]]]:
    """Objects below a folder, at most so many, and the path of each in the artifact; some at a time."""
    folder = storage.local_path(uri) if uri.startswith("file://") else None
    if folder is not None and os.path.isdir(folder):
        # a storage follows links; whether a folder's owner meant what they lead to is not for it to know
        sources = list(islice(walk(os.path.abspath(folder), prefix, symlinks=symlinks), most))
        if sources:
            yield [storage.stat(file_uri(source.file)) for source in sources], [source.path for source in sources]
        return
    head, chained = split_chain(uri)
    base = folder_of(head)
    start = len(base)
    listed = islice(storage.list(uri if chained else uri.rstrip("/")), most)
    while infos := list(islice(listed, _BATCH)):  # taken while the storage lists on
        found = [info.uri.removesuffix(chained) for info in infos]
        if "%" not in "".join(found) and all(map(methodcaller("startswith", base), found)):
            yield infos, [prefix + uri[start:] for uri in found]
        else:
            yield infos, [prefix + _below(uri, base) for uri in found]


def _stat(storage: Storage, uri: str) -> ObjectInfo | None:
    try:
        return storage.stat(uri)
    except ObjectNotFoundError:
        return None


def _entry(info: ObjectInfo, path: str, storage: Storage, checksum: bool, algorithm: str) -> Entry:
    if not checksum:
        return _unchecked(info, path)
    if not info.checksum and storage.local_path(info.uri) is not None:
        return _hashed(info, path, storage, algorithm)
    return _recorded(info, path)


def _unchecked(info: ObjectInfo, path: str) -> Entry:
    return Entry(path, f"uri:{info.uri}", -1, (), info.uri, None)


def _recorded(info: ObjectInfo, path: str) -> Entry:
    """A reference to an object of which the store has told enough."""
    uri, version, etag, checksum = info.uri, info.version, info.etag, info.checksum
    extra: dict[str, Any] = {}
    if version:
        extra["version"] = version
    if etag:
        extra["etag"] = etag
    if checksum:
        extra["checksum"] = checksum
    if info.mtime:
        extra["mtime"] = info.mtime
    digest = checksum or (f"etag:{etag}" if etag else f"version:{version}" if version else f"uri:{uri}")
    return Entry(path, digest, info.size, (), uri, extra or None)


def _hashed(info: ObjectInfo, path: str, storage: Storage, algorithm: str) -> Entry:
    """A reference to a plain file: the digest is of its content, so touching it changes nothing."""
    with storage.open(ObjectRef(uri=info.uri, etag=info.etag, size=info.size)) as stream:
        digest, size = hash_stream(stream, algorithm)
    after = storage.stat(info.uri)
    if size != info.size or after.etag != info.etag:
        raise ConflictError("the file changed while it was read", where=info.uri, hint="Try again.")
    return Entry(path, digest, size, (), info.uri, {"mtime": info.mtime} if info.mtime else None)


def _base_name(uri: str) -> str:
    scheme, _, rest = split_chain(uri)[0].partition("://")
    rest = re.sub(_BEHIND.get(scheme, r"$"), "", rest)
    name = rest.rstrip("/").rpartition("/")[2]
    if not name or (scheme == "file" and not rest.strip("/")):
        raise UsageError(f"'{uri}' has no name of its own", hint="Pass name=.")
    return _plain(scheme, name)


def _below(uri: str, base: str) -> str:
    scheme = uri.partition("://")[0]
    if uri.startswith(base):
        return _plain(scheme, uri[len(base) :])
    plain, start = _plain(scheme, uri), _plain(scheme, base)
    if not plain.startswith(start):
        raise UsageError(f"the storage listed '{uri}', which is not below '{base}'")
    return plain[len(start) :]


def _plain(scheme: str, text: str) -> str:
    """Percent signs escape in file and http addresses; in an object store they belong to the key."""
    return unquote(text) if scheme in ("file", "http", "https") else text
