"""The storage scheme: files behind http and https, for reading."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urldefrag, urljoin, urlsplit

from windlass.config.secrets import is_reference
from windlass.errors import ConfigError, StorageError, UnsupportedError, UsageError, WindlassError
from windlass.plugins.types import Context
from windlass.storage import ObjectInfo, ObjectRef, Storage
from windlass.transfer import RangeStream, again, changed
from windlass_storage_http.answers import (
    check_page,
    compare,
    decoded,
    failure,
    first_byte,
    info_of,
    is_encoded,
    same_etag,
    total,
)
from windlass_storage_http.config import HttpConfig

if TYPE_CHECKING:
    import httpx2

__all__ = ["HttpStorage"]

_NO_HEAD = (400, 403, 404, 405, 501)  # what servers answer that serve GET only (presigned URLs: 403)


class HttpStorage(Storage):
    """Files of web servers. Nothing can be written or listed."""

    def __init__(self, config: HttpConfig, context: Context) -> None:
        self._config, self._context = config, context
        self._lock = threading.Lock()
        self._client_: httpx2.Client | None = None

    def _client(self) -> httpx2.Client:
        with self._lock:
            if self._client_ is None:
                import httpx2

                self._client_ = httpx2.Client(
                    timeout=self._config.timeout,
                    follow_redirects=False,
                    headers={"User-Agent": "windlass", "Accept": "*/*", "Accept-Encoding": "identity"},
                )
            return self._client_

    def _headers(self, url: str) -> dict[str, str]:
        parts = urlsplit(url)
        names = [f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}", parts.hostname or ""]
        found: dict[str, str] = {}
        for host in names:
            if host not in self._config.hosts:
                continue
            for name, value in self._config.hosts[host].headers.items():
                where = f"$.hosts.{host}.headers.{name}"
                if is_reference(value):
                    value = self._context.secrets.resolve(value["secret"], where=where).reveal()
                if not isinstance(value, str):
                    raise ConfigError("expected a text or {secret: env/NAME}", where=self._context.place(where))
                value = value.strip()  # files and variables with secrets often end with a newline
                if not (value.isascii() and value.isprintable()):  # without it: it may be a secret
                    place = self._context.place(where)
                    raise ConfigError("a header holds printable ASCII only", where=place, hint="Correct its value.")
                found.setdefault(name, value)
            break
        return found

    @contextlib.contextmanager
    def _request(self, method: str, uri: str, headers: dict[str, str] | None = None) -> Iterator[httpx2.Response]:
        """One request with its redirects; sign-in goes only to the host it is meant for."""
        import httpx2

        try:
            url = first = urldefrag(uri).url
            for _ in range(self._config.redirects + 1):
                sent = {**self._headers(url), **(headers or {})}
                with self._client().stream(method, url, headers=sent) as answer:
                    following = answer.headers.get("location")
                    if answer.status_code not in (301, 302, 303, 307, 308) or not following:
                        if url != first:
                            check_page(answer, uri)
                        yield answer
                        return
                url = urljoin(url, following)
                if urlsplit(url).scheme not in ("http", "https"):
                    raise StorageError(f"it redirects to {urlsplit(url).scheme}:", where=uri)
                if urlsplit(uri).scheme == "https" and urlsplit(url).scheme == "http":
                    raise StorageError("it redirects from https to http", where=uri, hint="Use the http address.")
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, ValueError) as error:  # of ports and host names, too
            raise UsageError(f"not a web address: {error}", where=uri, hint="Write https://host/path.") from error
        except httpx2.HTTPError as error:
            raise StorageError(
                f"{type(error).__name__}: {error}", where=uri, hint="Is the address right, and its host reachable?",
                retryable=True,
            ) from error  # fmt: skip
        raise StorageError(f"more than {self._config.redirects} redirects", where=uri, hint="Refer to their target.")

    def stat(self, uri: str) -> ObjectInfo:
        """See `Storage.stat`. Servers that do not know HEAD, or tell no size or 0 there, are asked by GET."""
        return again(partial(self._stat, uri))

    def _stat(self, uri: str) -> ObjectInfo:
        with self._request("HEAD", uri) as answer:
            # Programs that make their answers when they are asked often say 0 here.
            if answer.is_success and answer.headers.get("content-length", "0") != "0":
                return info_of(uri, answer)
            if not answer.is_success and answer.status_code not in _NO_HEAD:
                raise failure(answer, uri)
        # One byte is enough: the answer's range tells the size. Servers without ranges send all; it is not read.
        with self._request("GET", uri, {"Range": "bytes=0-0"}) as answer:
            if answer.status_code == 416 and total(answer) == 0:
                return info_of(uri, answer)
            if not answer.is_success:
                raise failure(answer, uri)
            return info_of(uri, answer)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Not possible: web servers have no listing."""
        raise UnsupportedError("http has no listing", where=prefix, hint="Name every file by its own address.")

    def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
        """See `Storage.open`."""
        if length == 0 or (0 <= ref.size <= start):
            compare(ref, self.stat(ref.uri))
            return cast(BinaryIO, RangeStream(lambda _: iter(()), size=0))
        reading = _Reading(self, ref, -1 if length < 0 else start + length)
        size = -1
        if ref.size >= 0:
            size = ref.size - start if length < 0 else min(length, ref.size - start)
        return cast(BinaryIO, RangeStream(reading.fetch, start=start, size=size, name=ref.uri))

    def close(self) -> None:
        """See `Storage.close`."""
        with self._lock:
            if self._client_ is not None:
                self._client_.close()
            self._client_ = None


class _Reading:
    """Opens one file at any position; what it reads later must come from the same file."""

    def __init__(self, storage: HttpStorage, ref: ObjectRef, end: int) -> None:
        self._storage, self._ref, self._end = storage, ref, end
        self._etag = ref.etag
        self._conditional = self._ranges = True

    def fetch(self, start: int) -> Iterator[bytes]:
        """Chunks from `start` on."""
        stack = contextlib.ExitStack()
        try:
            answer, skip = self._open(stack, start)
        except BaseException:
            stack.close()
            raise
        return self._chunks(stack, answer, skip, start)

    def _open(self, stack: contextlib.ExitStack, start: int) -> tuple[httpx2.Response, int]:
        headers: dict[str, str] = {}
        if self._ranges and (start or self._end >= 0):
            headers["Range"] = f"bytes={start}-{self._end - 1 if self._end >= 0 else ''}"
        if self._conditional and self._etag and not self._etag.startswith("W/"):  # weak ETags never match
            headers["If-Match"] = f'"{self._etag}"'
        answer = stack.enter_context(self._storage._request("GET", self._ref.uri, headers))
        if answer.status_code == 412:
            now = self._now()
            if now != self._etag or not self._conditional:
                raise changed(self._ref, "ETag", self._etag, now)
            self._conditional = False  # a server whose ETags have no quotes does not know its own ETag with them
            return self._anew(stack, start)
        if answer.status_code == 416:
            stack.close()
            return answer, -1
        if not answer.is_success:
            raise failure(answer, self._ref.uri)
        if answer.status_code == 206 and (is_encoded(answer) or first_byte(answer) != start):
            if not self._ranges:
                raise StorageError(
                    "the server answers with a range that was not asked for", where=self._ref.uri,
                    hint="Copy the file to a server or store that can be read from its beginning.",
                )  # fmt: skip
            self._ranges = False  # a piece of what is compressed, or another piece, is of no use
            return self._anew(stack, start)
        info = info_of(self._ref.uri, answer)
        compare(self._ref, info)
        if self._etag and info.etag and not same_etag(self._etag, info):
            raise changed(self._ref, "ETag", self._etag, info.etag)
        self._etag = self._etag or info.etag
        return answer, 0 if answer.status_code == 206 else start

    def _anew(self, stack: contextlib.ExitStack, start: int) -> tuple[httpx2.Response, int]:
        stack.close()
        return self._open(stack, start)

    def _now(self) -> str:
        try:
            return self._storage.stat(self._ref.uri).etag
        except WindlassError:
            return "another one"

    def _chunks(self, stack: contextlib.ExitStack, answer: httpx2.Response, skip: int, start: int) -> Iterator[bytes]:
        import httpx2

        left = self._end - start if self._end >= 0 else -1
        with stack:
            if skip < 0:
                return
            try:
                for chunk in decoded(answer, self._ref.uri):
                    piece = chunk[skip:]  # a server without ranges sends the file from its beginning
                    skip = max(0, skip - len(chunk))
                    if left >= 0:
                        piece = piece[:left]
                        left -= len(piece)
                    if piece:
                        yield piece
                    if left == 0:
                        return
            except httpx2.HTTPError as error:
                raise StorageError(
                    f"the connection broke: {error}", where=self._ref.uri, retryable=True,
                    hint="Try again later; where it always breaks at the same byte, the server does not have the rest.",
                ) from error  # fmt: skip
