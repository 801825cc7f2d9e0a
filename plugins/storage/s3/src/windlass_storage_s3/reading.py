"""Reading one recorded version of an object."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

from windlass.errors import ObjectChangedError, WindlassError
from windlass.storage import ObjectInfo, ObjectRef
from windlass.transfer import Chunk, ahead, changed
from windlass_storage_s3.addresses import Address, is_plain
from windlass_storage_s3.client import Clients
from windlass_storage_s3.errors import refused, translated

__all__ = ["Reading", "compare", "head"]

_CHUNK = 4 << 20
_CHECKSUMS = ("sha256", "crc64nvme", "crc32c", "sha1", "crc32")


def head(clients: Clients, where: Address) -> ObjectInfo:
    """Facts about one object, or about one of its versions."""
    uri = where.uri(where.key)
    parameters = {"versionId": where.version} if where.version else {}
    with translated(uri):
        answer = clients.request("HEAD", where.bucket, where.key, parameters, {"x-amz-checksum-mode": "ENABLED"})
    if answer.status != 200:
        raise refused(answer.status, _why(clients, where, parameters, answer.status), uri)
    from email.utils import parsedate_to_datetime  # loads half of the package, which storing does not need

    found = answer.headers
    version = found.get("x-amz-version-id", "")
    return ObjectInfo(
        uri=uri,
        size=int(found["content-length"]),
        etag=found.get("etag", "").strip('"'),
        version="" if version == "null" else version,
        checksum=_checksum(found),
        mtime=parsedate_to_datetime(found["last-modified"]).timestamp() if "last-modified" in found else 0.0,
    )


def _why(clients: Clients, where: Address, parameters: Mapping[str, str], status: int) -> bytes:
    """What S3 says about a refusal. An answer to HEAD has no body, so it is asked once more by GET."""
    if status not in (400, 403):
        return b""
    with contextlib.suppress(WindlassError), translated(where.uri(where.key)):
        answer = clients.request("GET", where.bucket, where.key, parameters, {"range": "bytes=0-0"})
        if answer.status == status:
            return bytes(answer.data)
    return b""


def _checksum(found: Mapping[str, str]) -> str:
    """The checksum over the whole content, ``sha256:…``; one over the parts' checksums says nothing of the content."""
    if found.get("x-amz-checksum-type") == "COMPOSITE":
        return ""
    for name in _CHECKSUMS:
        value = found.get(f"x-amz-checksum-{name}") or ""
        if value and "-" not in value:
            return f"{name}:{base64.b64decode(value).hex()}"
    return ""


class Reading:
    """Opens one recorded version again and again, at any position."""

    def __init__(self, clients: Clients, where: Address, ref: ObjectRef, version: str) -> None:
        self._clients, self._where, self._ref, self._version = clients, where, ref, version
        self._etag = "" if version else ref.etag

    def fetch(self, start: int, end: int, chunk: int = _CHUNK) -> Iterator[Chunk]:
        """Chunks of at least `chunk` bytes from `start` to `end` (-1: the end of the object)."""
        with self._watched():
            if is_plain(self._where.key):
                return _chunks(self._with_obstore(start, end).stream(min_chunk_size=chunk), self._ref.uri)
            return self._with_boto(start, end)
        return iter(())

    def piece(self, start: int, end: int) -> Chunk:
        """The bytes from `start` to `end` in one request; fewer when the object ends before."""
        with self._watched():
            if is_plain(self._where.key):
                return memoryview(self._with_obstore(start, end).bytes())
            return b"".join(self._with_boto(start, end))
        return b""

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Tell what has changed; a position behind the end is no error: nothing is there."""
        try:
            with translated(self._ref.uri):
                yield
        except WindlassError as error:
            if error.context.get("status") == 412:
                raise self._changed() from None
            if error.context.get("status") != 416:
                raise

    def side_by_side(self, start: int, end: int, part: int, width: int) -> Iterator[Chunk]:
        """The same from several ranges at once."""
        return ahead(self.piece, start, end, part=part, width=width)

    def _with_obstore(self, start: int, end: int) -> Any:
        import obstore

        options: dict[str, Any] = {}
        if start or end >= 0:
            options["range"] = (start, end) if end >= 0 else {"offset": start}
        if self._version:
            options["version"] = self._version
        if self._etag:
            options["if_match"] = f'"{self._etag}"'
        result = obstore.get(self._clients.store(self._where.bucket), self._where.key, options=cast(Any, options))
        self._seen(str(result.meta["e_tag"] or "").strip('"'), int(result.meta["size"]))
        return result

    def _with_boto(self, start: int, end: int) -> Iterator[bytes]:
        extra: dict[str, Any] = {}
        if start or end >= 0:
            extra["Range"] = f"bytes={start}-{end - 1 if end >= 0 else ''}"
        if self._version:
            extra["VersionId"] = self._version
        if self._etag:
            extra["IfMatch"] = f'"{self._etag}"'
        client = self._clients.boto(self._where.bucket)
        answer = client.get_object(Bucket=self._where.bucket, Key=self._where.key, **extra)
        total = str(answer.get("ContentRange", "")).rpartition("/")[2] or answer["ContentLength"]
        self._seen(str(answer["ETag"]).strip('"'), int(total))
        return _chunks(answer["Body"].iter_chunks(_CHUNK), self._ref.uri)

    def _seen(self, etag: str, size: int) -> None:
        compare(self._ref, ObjectInfo(uri=self._ref.uri, size=size, etag=etag), versioned=bool(self._version))
        self._etag = self._etag or ("" if self._version else etag)  # what follows must come from the same object

    def _changed(self) -> ObjectChangedError:
        try:
            now = head(self._clients, self._where).etag
        except WindlassError:
            now = "another one"
        return changed(self._ref, "ETag", self._etag, now)


def _chunks(stream: Iterator[Any], uri: str) -> Iterator[bytes]:
    with translated(uri):
        yield from stream


def compare(ref: ObjectRef, info: ObjectInfo, *, versioned: bool = False) -> None:
    """Raise `ObjectChangedError` when `info` is not what `ref` recorded; of a version only the size can differ."""
    if ref.size >= 0 and info.size != ref.size:
        raise changed(ref, "size", str(ref.size), str(info.size))
    if ref.etag and info.etag and info.etag != ref.etag and not versioned:
        raise changed(ref, "ETag", ref.etag, info.etag)
