"""Blobs of a server."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

import httpx2
from attrs import frozen

from windlass import wire
from windlass.blobs import BlobInfo, BlobStore
from windlass.errors import IntegrityError, StoreUnavailableError
from windlass.storage import SignedPut
from windlass_metastore_http.connection import Connection, raise_for
from windlass_metastore_http.direct import Direct

_PIECE = 1 << 20
_BATCH = 20000


@frozen(kw_only=True)
class _Signed:
    put: SignedPut | None


class HttpBlobStore(BlobStore):
    """Blobs over HTTP, streamed; every blob that is read to its end is verified.

    Args:
        connection: The server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._direct = Direct()

    def missing(self, digests: Iterable[str]) -> set[str]:
        """See `BlobStore.missing`."""
        wanted = sorted(set(digests))
        found: set[str] = set()
        for start in range(0, len(wanted), _BATCH):
            body = wire.encode({"digests": wanted[start : start + _BATCH]})
            found.update(wire.decode(self._connection.call("blobs/missing", body, repeatable=True), tuple[str, ...]))
        return found

    def put(self, digest: str, source: str | bytes) -> None:
        """See `BlobStore.put`. Straight to the storage if that verifies the bytes, else to the server, which does.

        Sent again from the start when the connection breaks.
        """
        size = len(source) if isinstance(source, bytes) else os.stat(source).st_size
        if not self._put_past(digest, source, size):
            self._send(digest, source, size)

    def replace(self, digest: str, source: str | bytes) -> None:
        """See `BlobStore.replace`. The server looks at what it has."""
        self._send(digest, source, len(source) if isinstance(source, bytes) else os.stat(source).st_size, "?replace=1")

    def _send(self, digest: str, source: str | bytes, size: int, query: str = "") -> None:
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}

        def send() -> None:
            content = source if isinstance(source, bytes) else _file(source)
            answer = self._connection.client.put(f"/api/v1/blobs/{digest}{query}", content=content, headers=headers)
            raise_for(answer.status_code, answer.content, answer.headers.get("content-type", ""), self._connection.url)

        self._connection.again(send)

    def _put_past(self, digest: str, source: str | bytes, size: int) -> bool:
        """True when the storage behind the server took the blob from us."""
        if not self._direct.may_put(digest):
            return False
        body = wire.encode({"size": size})
        signed = wire.decode(self._connection.call(f"blobs/{digest}/upload", body, repeatable=True), _Signed)

        def content() -> bytes | Iterator[bytes]:
            return source if isinstance(source, bytes) else _file(source)

        return self._direct.put(digest, signed.put, content)

    def open(self, digest: str, start: int = 0, length: int = -1) -> BinaryIO:
        """See `BlobStore.open`. A broken connection is taken up again where it broke."""
        if length == 0:
            return io.BytesIO()
        stream = _Stream(self._connection, self._direct, digest, start, length)
        stream.connect()
        return cast("BinaryIO", io.BufferedReader(stream, _PIECE))

    def delete(self, digests: Iterable[str]) -> None:
        """See `BlobStore.delete`. For administrators."""
        wanted = list(digests)
        for start in range(0, len(wanted), _BATCH):
            body = wire.encode({"digests": wanted[start : start + _BATCH]})
            self._connection.call("blobs/delete", body, repeatable=True)

    def list(self) -> Iterator[BlobInfo]:
        """See `BlobStore.list`. For administrators."""
        with self._connection.client.stream("POST", "/api/v1/blobs/list", content=b"{}") as answer:
            if answer.status_code >= 300:
                answer.read()
                raise_for(
                    answer.status_code, answer.content, answer.headers.get("content-type", ""), self._connection.url
                )
            for line in answer.iter_lines():
                yield wire.decode(line, BlobInfo)

    def close(self) -> None:
        """See `BlobStore.close`."""
        self._direct.close()


def _file(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece


class _Stream(io.RawIOBase):
    """A blob being read. When all of it is read, its digest is checked at the end."""

    def __init__(self, connection: Connection, direct: Direct, digest: str, start: int, length: int) -> None:
        from windlass.artifacts.digest import algorithm_of, hasher

        super().__init__()
        self._connection = connection
        self._direct = direct
        self._digest = digest
        self._next = start
        self._left = length
        self._hasher = hasher(algorithm_of(digest)) if start == 0 and length < 0 else None
        self._answer: httpx2.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._piece = memoryview(b"")

    def connect(self) -> None:
        """Ask for what is still to be read. Raises `ObjectNotFoundError`."""
        self._connection.again(self._connect)

    def _connect(self) -> None:
        headers = {"Accept-Encoding": "identity"}
        if self._next or self._left >= 0:
            headers["Range"] = f"bytes={self._next}-{self._next + self._left - 1 if self._left >= 0 else ''}"
        answer = self._ask({**headers, **self._direct.headers})
        if answer.status_code == 307:
            answer.close()
            answer = self._direct.get(answer.headers.get("location", ""), headers) or self._ask(headers)
        if answer.status_code >= 300:
            body = answer.read()
            raise_for(answer.status_code, body, answer.headers.get("content-type", ""), self._connection.url)
        self._answer = answer
        self._pieces = answer.iter_raw(_PIECE)

    def _ask(self, headers: dict[str, str]) -> httpx2.Response:
        client = self._connection.client
        return client.send(client.build_request("GET", f"/api/v1/blobs/{self._digest}", headers=headers), stream=True)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; 0 at the end."""
        while not self._piece:
            piece = self._fetch()
            if not piece:
                self._verify()
                return 0
            self._piece = memoryview(piece)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def _fetch(self) -> bytes:
        if self._left == 0:
            return b""
        for retry in range(5):
            try:
                piece = next(self._pieces, b"")
            except (httpx2.TransportError, httpx2.StreamError) as error:
                self._drop()
                if retry == 4:
                    raise StoreUnavailableError(f"the connection broke while reading a blob: {error}") from None
                self.connect()
                continue
            break
        self._next += len(piece)
        if self._left > 0:
            self._left = max(self._left - len(piece), 0)
        if self._hasher is not None:
            self._hasher.update(piece)
        return piece

    def _verify(self) -> None:
        if self._hasher is None:
            return
        algorithm = self._digest.partition(":")[0]
        found = f"{algorithm}:{self._hasher.hexdigest()}"
        self._hasher = None
        if found != self._digest:
            raise IntegrityError(
                "the server sent other bytes than were asked for",
                where=self._digest,
                hint="Verify the server's blob store.",
                context={"expected": self._digest, "found": found},
            )

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self._drop()
        super().close()
