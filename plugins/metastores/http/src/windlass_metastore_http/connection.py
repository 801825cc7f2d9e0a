"""One server: requests, retries, errors."""

from __future__ import annotations

import logging
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpcore2
import httpx2

from windlass import errors, wire
from windlass.errors import StoreError, StoreUnavailableError, UsageError, WindlassError
from windlass_metastore_http.config import HttpConfig

T = TypeVar("T")

_log = logging.getLogger(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
_SAY_AFTER = 1.0
_GATEWAY = (502, 503, 504)


class AnswerLost(StoreUnavailableError):
    """The request was sent, and no answer came: it may or may not have been done."""


class Connection:
    """Requests to one server, from any number of threads.

    Args:
        config: Where, and how patient.
        api_key: Sent with every request when not empty.
        patience: Seconds during which it is asked again as long as it has never answered. None: as long as otherwise.
    """

    def __init__(self, config: HttpConfig, api_key: str, *, patience: float | None = None) -> None:
        self.url = config.url
        self._retry_seconds = config.retry_seconds
        self._patience = config.retry_seconds if patience is None else min(patience, config.retry_seconds)
        self._answered = False
        self._complained = False
        self._folder = -1
        transport, base = self._transport(config.url)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx2.Client(
            base_url=base,
            headers=headers,
            timeout=httpx2.Timeout(config.timeout, connect=min(config.timeout, 10.0)),
            transport=transport,
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=60),
        )

    def _transport(self, url: str) -> tuple[httpx2.HTTPTransport | None, str]:
        parts = urlsplit(url)
        if parts.scheme != "unix":
            if not parts.hostname:
                raise UsageError(f"{url!r} names no server", where="WINDLASS_BASE_URL", hint="https://HOST[:PORT]")
            return None, url.rstrip("/")
        if parts.netloc or not parts.path.startswith("/"):
            raise UsageError(f"{url!r} names no socket", where="WINDLASS_BASE_URL", hint="unix:///PATH/OF/SOCKET")
        path = parts.path
        if len(path) > 100 and sys.platform == "linux":  # an address is short; go through the open directory
            folder, name = os.path.split(path)
            try:
                self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise StoreUnavailableError(
                    f"cannot reach {url}: {error.strerror}", hint="Is its agent running?"
                ) from None
            path = f"/proc/self/fd/{self._folder}/{name}"
        transport = httpx2.HTTPTransport(uds=path)
        transport._pool._network_backend = _UnixBackend()
        return transport, "http://windlass"

    def call(self, path: str, body: bytes, *, repeatable: bool, extra: float = 0.0) -> bytes:
        """POST, again while the server cannot be reached.

        Args:
            path: Below ``/api/v1``.
            body: JSON.
            repeatable: May be sent again after it was sent and no answer came.
            extra: Seconds the answer may take beside the usual timeout.

        Raises:
            AnswerLost: See there; only when not `repeatable`.
            StoreUnavailableError: The server was out of reach for the configured time.
            WindlassError: What the server answered.
        """

        def send() -> bytes:
            usual = self._client.timeout
            timeout = httpx2.Timeout(usual.read + extra if usual.read else None, connect=usual.connect)
            answer = self._client.post(
                f"/api/v1/{path}", content=body, headers={"Content-Type": "application/json"}, timeout=timeout
            )
            raise_for(answer.status_code, answer.content, answer.headers.get("content-type", ""), self.url)
            return answer.content

        return self.again(send, repeatable=repeatable)

    def again(self, send: Callable[[], T], *, repeatable: bool = True) -> T:
        """Call `send` until it gets through, with growing pauses. See `call`."""
        seconds = self._retry_seconds if self._answered else self._patience
        deadline = time.monotonic() + seconds
        pause = FIRST_PAUSE
        while True:
            try:
                with self._transport_errors(), self._first_words():
                    found = send()
            except AnswerLost as error:
                if not repeatable:
                    raise
                lost: StoreUnavailableError = error
            except StoreUnavailableError as error:
                lost = error
            except WindlassError:
                self._answered, self._complained = True, False
                raise
            else:
                self._answered, self._complained = True, False
                return found
            if time.monotonic() + pause > deadline:
                if seconds:
                    lost.message += f" (tried for {seconds:g} s)"
                raise lost
            if not self._complained:  # once until it answers again, whichever thread is first
                self._complained = True
                _log.warning("%s; trying again for up to %g s", lost.message, seconds)
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads clients, guards nothing
            pause = min(pause * 2, LONGEST_PAUSE)

    @contextmanager
    def _first_words(self) -> Iterator[None]:
        """Say that a server lets us wait, if it has never answered: who has just started something wants to know."""
        if self._answered:
            yield
            return
        timer = threading.Timer(_SAY_AFTER, _log.warning, ("no answer from %s yet, still waiting", self.url))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise StoreUnavailableError(
                f"cannot reach {self.url}: {error}", hint="Is the server running? Is WINDLASS_BASE_URL right?"
            ) from None
        except (httpx2.TransportError, httpx2.StreamError) as error:
            raise AnswerLost(
                f"the connection to {self.url} broke: {error or type(error).__name__}", hint="Try again."
            ) from None

    @property
    def client(self) -> httpx2.Client:
        """The HTTP client, for streams."""
        return self._client

    def close(self) -> None:
        """Close connections. May be repeated."""
        self._client.close()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


class _UnixBackend(httpcore2.SyncBackend):
    """The library's own leaves a socket that was refused to the garbage collector; here a refusal is seen before."""

    def connect_unix_socket(self, path: str, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except OSError as error:
                raise httpcore2.ConnectError(str(error)) from error
        return super().connect_unix_socket(path, *args, **kwargs)


def raise_for(status: int, body: bytes, media_type: str, url: str) -> None:
    """Raise the error that an answer tells of."""
    if status < 300:
        return
    if media_type.startswith("application/problem+json"):
        try:
            raise errors.from_dict(wire.decode(body, dict[str, object]))
        except errors.ConfigError as error:
            if error.where != "$" and not error.message.startswith("not well-formed"):
                raise
    hint = "Is WINDLASS_BASE_URL the address of a Windlass server?"
    kind: type[WindlassError] = StoreUnavailableError if status in _GATEWAY else StoreError
    raise kind(f"{url} answered {status}", hint=hint, context={"status": status})
