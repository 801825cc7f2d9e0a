"""A server in a thread of this process, and in the foreground."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette

from windlass.errors import StoreUnavailableError


def configuration(app: Starlette, *, grace: int) -> uvicorn.Config:
    """How uvicorn is run everywhere here: quiet, without WebSockets, and patient with calls at work."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws="none",
        loop="asyncio",
        http="h11",
        server_header=False,
        timeout_graceful_shutdown=grace,
        timeout_keep_alive=75,
    )


def answer_at_once(listener: socket.socket) -> None:
    """Send what is written without waiting for more; the sockets of its connections do as it does.

    asyncio sees to it for sockets that name their protocol only. Without, a body waits some 40 ms behind its headers,
    until the other side has confirmed these.
    """
    if listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class ForegroundServer(uvicorn.Server):
    """Ends on SIGINT and SIGTERM, and returns to its caller, who has things to close."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while the server runs; unlike uvicorn's own, do not raise them again afterwards."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class BackgroundServer:
    """Serves an application on a bound socket, in a thread.

    Args:
        app: The application.
        listener: A bound socket; it is closed with the server.
    """

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self._server = uvicorn.Server(configuration(app, grace=1))
        self._listener = listener
        answer_at_once(listener)
        self._thread = threading.Thread(target=self._run, name="windlass-api", daemon=True)

    def _run(self, **_: Any) -> None:
        self._server.run(sockets=[self._listener])

    def start(self, timeout: float = 10.0) -> None:
        """Start, and wait until calls are answered."""
        self._thread.start()
        deadline = time.monotonic() + timeout
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise StoreUnavailableError("the local API did not start", hint="The agent's log says why.")
            time.sleep(0.005)

    def stop(self) -> None:
        """End calls at work, then the thread. May be repeated."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._listener.close()
