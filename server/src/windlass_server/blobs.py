"""Blobs over HTTP: verified on their way in, streamed both ways."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from windlass import wire
from windlass.errors import NoSpaceError, UsageError
from windlass_server import permissions
from windlass_server.problems import TooLarge

if TYPE_CHECKING:
    from windlass_server.app import Server

_PIECE = 1 << 20
_DIRECT_SECONDS = 900.0  # for which a URL of the storage's holds; clients use it at once


@frozen(kw_only=True)
class _Announced:
    size: int


class BlobRoutes:
    """The endpoints below ``/api/v1/blobs``.

    Args:
        server: The application's state.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def missing(self, request: Request) -> Response:
        """``{"digests": […]}`` → the digests that are not stored."""
        digests = await self._digests(request)

        def work() -> list[str]:
            self._check(request, "blobs.read")
            return sorted(self._server.store.blobs.missing(digests))

        return _json(await self._server.thread(work))

    async def delete(self, request: Request) -> Response:
        """``{"digests": […]}``: remove them (garbage collection)."""
        digests = await self._digests(request)

        def work() -> None:
            self._check(request, "blobs.collect")
            self._server.store.blobs.delete(digests)

        return _json(await self._server.thread(work))

    async def list(self, request: Request) -> Response:
        """All blobs, one JSON object a line (garbage collection)."""
        await self._server.thread(partial(self._check, request, "blobs.collect"))
        source = await self._server.thread(lambda: iter(self._server.store.blobs.list()))

        def some() -> bytes:
            found = [wire.encode(info) for info, _ in zip(source, range(1000), strict=False)]
            return b"".join(line + b"\n" for line in found)

        return StreamingResponse(self._pieces(some, None), media_type="application/x-ndjson")

    async def upload(self, request: Request) -> Response:
        """``{"size": N}`` → ``{"put": …}``: a `SignedPut` to store the blob past this server, or ``null``.

        ``null`` where the storage does not prove by itself that the bytes have the digest: then ``PUT`` the blob here.
        """
        digest = request.path_params["digest"]
        await self._server.thread(partial(self._check, request, "blobs.write"))
        size = wire.decode(await self._server.body(request), _Announced).size
        if size > self._server.limits.blob:
            raise _too_large(self._server.limits.blob)
        sign = partial(self._server.store.blobs.presign_put, digest, size, _DIRECT_SECONDS)
        return _json({"put": await self._server.thread(sign)})

    async def put(self, request: Request) -> Response:
        """Store a blob. The bytes are written to a file beside, verified and moved to their place.

        With ``?replace=1`` they also take the place of a blob that is stored and damaged, which is found out here.
        """
        digest = request.path_params["digest"]
        most = self._server.limits.blob
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > most:
            raise _too_large(most)
        await self._server.thread(partial(self._check, request, "blobs.write"))
        descriptor, path = await self._server.thread(partial(tempfile.mkstemp, prefix="windlass-blob-"))
        try:
            with open(descriptor, "wb") as spool:
                await self._spool(request, spool, most)
            blobs = self._server.store.blobs
            store = blobs.replace if request.query_params.get("replace") == "1" else blobs.put
            await self._server.thread(partial(store, digest, path))
        except OSError as error:
            if error.errno == 28:
                raise NoSpaceError(
                    "the server's disk is full; nothing was stored", hint="Make room for TMPDIR."
                ) from None
            raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return Response(status_code=201)

    async def _spool(self, request: Request, spool: BinaryIO, most: int) -> None:
        size = 0
        waiting: list[bytes] = []
        held = 0
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise _too_large(most)
            waiting.append(piece)
            held += len(piece)
            if held >= _PIECE:
                await self._server.thread(partial(spool.writelines, waiting))
                waiting, held = [], 0
        spool.writelines(waiting)

    async def get(self, request: Request) -> Response:
        """A blob, or the part that a ``Range: bytes=<first>-[<last>]`` names.

        A client that sends ``Windlass-Direct: 1`` may be sent on (307) to a URL of the storage's, which needs no key
        and holds for a quarter of an hour. It gives the same bytes or, rarely, nothing: then ask without that header.
        """
        digest = request.path_params["digest"]
        start, length = _range(request.headers.get("range", ""))
        direct = request.headers.get("windlass-direct", "") == "1"

        def begin() -> BinaryIO | str:
            self._check(request, "blobs.read")
            blobs = self._server.store.blobs
            return (direct and blobs.presign(digest, _DIRECT_SECONDS)) or blobs.open(digest, start, length)

        stream: BinaryIO | str = await self._server.thread(begin)
        if isinstance(stream, str):
            return Response(status_code=307, headers={"Location": stream, "Cache-Control": "no-store"})
        headers = {"Cache-Control": "private, immutable, max-age=31536000"}
        status = 200
        if "range" in request.headers:
            status = 206
            last = "" if length < 0 else str(start + length - 1)
            headers["Content-Range"] = f"bytes {start}-{last}/*"
        body = self._pieces(partial(stream.read, _PIECE), stream.close)
        return StreamingResponse(body, status, headers, media_type="application/octet-stream")

    async def _pieces(self, read: Callable[[], bytes], close: Callable[[], Any] | None) -> AsyncIterator[bytes]:
        try:
            while piece := await self._server.thread(read):
                yield piece
        finally:
            if close is not None:
                close()

    def _check(self, request: Request, key: str) -> None:
        permissions.check(self._server.store, self._server.principal(request), key, {})

    async def _digests(self, request: Request) -> tuple[str, ...]:
        body = wire.decode(await self._server.body(request), dict[str, tuple[str, ...]])
        return body.get("digests", ())


def _json(value: object) -> Response:
    return Response(wire.encode(value), media_type="application/json")


def _range(header: str) -> tuple[int, int]:
    if not header:
        return 0, -1
    unit, _, span = header.partition("=")
    first, dash, last = span.partition("-")
    if unit.strip() != "bytes" or not dash or not first.isdigit() or (last and not last.isdigit()):
        raise UsageError(f"the range {header!r} is not supported", hint="Send 'Range: bytes=<first>-[<last>]'.")
    if last and int(last) < int(first):
        raise UsageError(f"the range {header!r} is empty")
    return int(first), int(last) - int(first) + 1 if last else -1


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"a blob may have {most} bytes on this server", context={"most": most})
