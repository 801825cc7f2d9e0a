"""Bytes straight from the storage behind a server, by URLs that the server signs. Needs no key of the cloud."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import httpx2

from windlass.storage import SignedPut

__all__ = ["Direct"]

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 5.0
_REFUSALS = 3


class Direct:
    """Requests that carry no credentials of ours. Serves several threads.

    Where the storage cannot be reached from (a container without a network), or refuses, bytes come through the
    server again, for as long as this object lives.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None
        self._refusals = 0
        self._no_puts: set[str] = set()

    @property
    def headers(self) -> dict[str, str]:
        """What tells the server that it may send us on; empty when it shall not."""
        return {"Windlass-Direct": "1"} if self._refusals < _REFUSALS else {}

    def get(self, url: str, headers: dict[str, str]) -> httpx2.Response | None:
        """An open answer with the bytes, or None: ask the server for them."""
        wanted = 206 if "Range" in headers else 200
        try:
            client = self._open()
            answer = client.send(client.build_request("GET", url, headers=headers), stream=True)
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            _log.info("the storage is not reachable from here (%s); reading through the server", type(error).__name__)
            self._refusals = _REFUSALS
            return None
        if answer.status_code == wanted:
            return answer
        answer.close()
        if answer.status_code != 404:  # not there: a retired blob, or none
            _log.info("the storage answered %d; reading through the server", answer.status_code)
            self._refusals += 1
        return None

    def may_put(self, digest: str) -> bool:
        """False when blobs of this algorithm have to go through the server."""
        return self._refusals < _REFUSALS and digest.partition(":")[0] not in self._no_puts

    def put(self, digest: str, signed: SignedPut | None, content: Callable[[], bytes | Iterator[bytes]]) -> bool:
        """Store a blob by a request that the server has signed; False: send it to the server.

        Args:
            digest: Of the blob.
            signed: The request; None when the server makes none for this algorithm.
            content: Gives the bytes.
        """
        if signed is None:
            self._no_puts.add(digest.partition(":")[0])
            return False
        try:
            answer = self._open().put(signed.url, content=content(), headers=signed.headers)
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            _log.info("the storage is not reachable from here (%s); storing through the server", type(error).__name__)
            self._no_puts.add(digest.partition(":")[0])
            return False
        if answer.status_code in (200, 201, 204, 412):  # 412: it is there already
            return True
        _log.info("the storage answered %d; storing through the server", answer.status_code)
        self._refusals += answer.status_code in (401, 403)
        return False

    def _open(self) -> httpx2.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx2.Client(
                    timeout=httpx2.Timeout(60.0, connect=_CONNECT_SECONDS),
                    limits=httpx2.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=60),
                )
            return self._client

    def close(self) -> None:
        """Close connections. May be repeated."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None
