"""The HTTP API: the metadata store's interface, method by method, and the blobs."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
from anyio import to_thread
from attrs import frozen
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from windlass import __version__, wire
from windlass.errors import AccessError, NotFoundError
from windlass.metastore import MetadataStore
from windlass.models.access import Principal
from windlass.remote import Call, calls
from windlass_server import permissions
from windlass_server.blobs import BlobRoutes
from windlass_server.problems import TooLarge, Unauthenticated, problem

__all__ = ["Limits", "create_app"]

LONGEST_WAIT = 30.0
"""Seconds after which a long poll is answered; clients ask again."""
_FROM_STRANGERS = 64 * 1024

_Endpoint = Callable[[Request], Awaitable[Response]]


@frozen(kw_only=True)
class Limits:
    """What the server takes.

    Attributes:
        body: Bytes of a JSON request.
        blob: Bytes of one blob.
        threads: Calls at work at the same time.
        waiting: Agents that wait for work at the same time.
    """

    body: int = 64 * 1024 * 1024
    blob: int = 1 << 40
    threads: int = 40
    waiting: int = 1000


class Server:
    """State behind the routes.

    Args:
        store: Where everything is; methods are called in threads.
        anonymous: Who a caller without a token is; None: nobody.
        limits: See `Limits`.
    """

    def __init__(self, store: MetadataStore, anonymous: Principal | None, limits: Limits) -> None:
        self.store = store
        self.limits = limits
        self._anonymous = anonymous
        self._threads: anyio.CapacityLimiter | None = None
        self._waiting: anyio.CapacityLimiter | None = None

    async def thread(self, function: Callable[[], Any], *, waits: bool = False) -> Any:
        """Call something that blocks."""
        if self._threads is None or self._waiting is None:  # limiters belong to the event loop that uses them
            self._threads = anyio.CapacityLimiter(self.limits.threads)
            self._waiting = anyio.CapacityLimiter(self.limits.waiting)
        limiter = self._waiting if waits else self._threads
        return await to_thread.run_sync(function, limiter=limiter, abandon_on_cancel=waits)

    def principal(self, request: Request) -> Principal:
        """Who calls. Raises `Unauthenticated`."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            if self._anonymous is not None:
                return self._anonymous
            raise Unauthenticated("this server needs an API key", hint="Set WINDLASS_API_KEY, or: windlass login")
        if kind.lower() != "bearer":
            raise Unauthenticated(f"'{kind}' is not supported", hint="Send 'Authorization: Bearer <API key>'.")
        try:
            return self.store.access.authenticate(token.strip())
        except AccessError as error:
            raise Unauthenticated(error.message, hint=error.hint) from None

    async def body(self, request: Request) -> bytes:
        """The body of a JSON request, which is held in memory: who is unknown may not send much.

        Raises:
            TooLarge: It is larger than `Limits.body`.
            Unauthenticated: It is larger than what strangers may send, and so is the caller.
        """
        most = self.limits.body
        announced = request.headers.get("content-length", "")
        size = int(announced) if announced.isdigit() else most
        if size > most:
            raise _too_large(most)
        if size > _FROM_STRANGERS:
            await self.thread(partial(self.principal, request))
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise _too_large(most)
            parts.append(part)
        return b"".join(parts)

    async def call(self, call: Call, request: Request) -> Response:
        """One method of the interface."""
        body = await self.body(request)
        result = await self.thread(partial(self._call, call, request, body), waits=call.key == "queues.wait")
        return Response(result, media_type="application/json")

    def _call(self, call: Call, request: Request, body: bytes) -> bytes:
        principal = self.principal(request)
        arguments = call.decode_arguments(body)
        permissions.check(self.store, principal, call.key, arguments)
        if call.key == "store.whoami":
            return call.encode_result(principal)
        if call.key == "queues.wait":
            arguments["timeout"] = max(0.0, min(arguments["timeout"], LONGEST_WAIT))
        target = self.store if call.part == "store" else getattr(self.store, call.part)
        return call.encode_result(getattr(target, call.name)(**arguments))

    async def health(self, request: Request) -> Response:
        """Whether the server and its database answer. Needs no token and tells nothing else."""
        await self.thread(self.store.check)
        return Response(wire.encode({"status": "ok", "version": __version__}), media_type="application/json")


def create_app(
    store: MetadataStore,
    *,
    anonymous: Principal | None = None,
    limits: Limits | None = None,
    on_close: Callable[[], None] | None = None,
) -> Starlette:
    """The ASGI application.

    Args:
        store: Serves the calls; the caller closes it.
        anonymous: Who a caller without a token is. Default: such calls are refused.
        limits: What the server takes.
        on_close: Called when the application shuts down.
    """
    server = Server(store, anonymous, limits or Limits())
    routes = [
        Route(f"/api/v1/{call.part}/{call.name}", _guarded(partial(server.call, call)), methods=["POST"])
        for call in calls().values()
    ]
    blobs = BlobRoutes(server)
    routes += [
        Route("/api/v1/blobs/missing", _guarded(blobs.missing), methods=["POST"]),
        Route("/api/v1/blobs/delete", _guarded(blobs.delete), methods=["POST"]),
        Route("/api/v1/blobs/list", _guarded(blobs.list), methods=["POST"]),
        Route("/api/v1/blobs/{digest}/upload", _guarded(blobs.upload), methods=["POST"]),
        Route("/api/v1/blobs/{digest}", _guarded(blobs.put), methods=["PUT"]),
        Route("/api/v1/blobs/{digest}", _guarded(blobs.get), methods=["GET"]),
        Route("/healthz", _guarded(server.health), methods=["GET"]),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        yield
        if on_close is not None:
            on_close()

    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: _nothing_there, 405: _nothing_there})
    app.state.server = server
    return app


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"a request may have {most} bytes", hint="Send fewer things at once.", context={"most": most})


def _guarded(endpoint: _Endpoint) -> _Endpoint:
    async def run(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception as error:
            return problem(error)

    return run


async def _nothing_there(request: Request, _: Exception) -> Response:
    return problem(
        NotFoundError(
            f"there is no {request.method} {request.url.path}",
            hint="Is WINDLASS_BASE_URL the address of a Windlass server of this version?",
        )
    )
