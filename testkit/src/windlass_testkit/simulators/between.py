"""A server between a client and an object store, that counts, holds back and damages what passes."""

from __future__ import annotations

import base64
import hashlib
import http.client
import threading
import zlib
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

from attrs import frozen

__all__ = ["Between", "Seen"]

_HOP = {"connection", "transfer-encoding", "keep-alive", "expect", "content-length"}


@frozen
class Seen:
    """A request that passed.

    Attributes:
        method: Its method.
        path: Its path, without the query.
        query: Last value of each parameter.
        headers: In small letters.
        size: Bytes of its body.
        status: What the store answered.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    size: int
    status: int

    @property
    def part(self) -> str:
        """What tells a part of an upload from others (S3, Azure, Google); empty for other requests."""
        if self.method != "PUT":
            return ""
        session = self.headers.get("content-range", "") if "/upload/session" in self.path else ""
        return self.query.get("partNumber") or self.query.get("blockid") or ("" if "*" in session[:7] else session)


class Between:
    """Forwards to `target`. Use it as a context manager.

    Attributes:
        url: Its address, with the path of the target's.
        seen: Requests that were answered, in order.
        hold: Called with a request before it is forwarded; blocks as long as it likes.
        damage: Called with a request's body; gives what is passed on.
        checks: Refuse a body that is not what its S3 checksum header says, as Amazon does.
    """

    def __init__(self, target: str, *, checks: bool = False) -> None:
        parts = urlsplit(target)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self.seen: list[Seen] = []
        self.hold: Callable[[Seen], object] = lambda _: None
        self.damage: Callable[[Seen, bytes], bytes] = lambda _, body: body
        self.checks = checks
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{parts.path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def parts(self) -> list[str]:
        """Parts of uploads that the store has confirmed, in order."""
        with self.lock:
            return [one.part for one in self.seen if one.part and one.status in (200, 201, 308)]

    def _forward(self, seen: Seen, target: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if self.checks and not _as_announced(seen.headers, body):
            return 400, [], b"<Error><Code>BadDigest</Code><Message>other bytes</Message></Error>"
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        try:
            headers = {name: value for name, value in seen.headers.items() if name not in _HOP}
            connection.request(seen.method, target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, parts.path, query, headers, len(body), 0)
                between.hold(seen)
                status, answered, data = between._forward(seen, self.path, between.damage(seen, body))
                self.send_response_only(status)
                length = str(len(data))
                for name, value in answered:
                    if name.lower() == "content-length" and self.command == "HEAD":
                        length = value
                    elif name.lower() == "location":
                        self.send_header(name, value.replace(f":{between._port}/", f":{urlsplit(between.url).port}/"))
                    elif name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)
                with between.lock:
                    between.seen.append(Seen(self.command, parts.path, query, headers, len(body), status))

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def _as_announced(headers: Mapping[str, str], body: bytes) -> bool:
    sums: dict[str, Callable[[bytes], bytes]] = {
        "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
        "x-amz-checksum-crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
        "content-md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    }
    return all(base64.b64encode(sums[name](body)).decode() == headers[name] for name in sums if name in headers)
