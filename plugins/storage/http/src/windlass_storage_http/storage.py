"""The storage scheme: files behind http and https, for reading."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urldefrag, urljoin, urlsplit

from windlass.config.secrets import is_reference
from windlass.errors import (
    AccessError,
    ConfigError,
    ObjectNotFoundError,
    StorageError,
    UnsupportedError,
    UsageError,
    WindlassError,
)
from windlass.plugins.types import Context
from windlass.storage import ObjectInfo, ObjectRef, Storage
from windlass.transfer import RangeStream, again, changed
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
                    raise ConfigError("expected a text or {secret: env/NAME}", where=where)
                found.setdefault(name, value)
            break
        return found

    @contextlib.contextmanager
    def _request(self, method: str, uri: str, headers: dict[str, str] | None = None) -> Iterator[httpx2.Response]:
        """One request with its redirects; sign-in goes only to the host it is meant for."""
        import httpx2

        url = urldefrag(uri).url
        try:
            for _ in range(self._config.redirects + 1):
                sent = {**self._headers(url), **(headers or {})}
                with self._client().stream(method, url, headers=sent) as answer:
                    following = answer.headers.get("location")
                    if answer.status_code not in (301, 302, 303, 307, 308) or not following:
                        yield answer
                        return
                url = urljoin(url, following)
                if urlsplit(url).scheme not in ("http", "https"):
                    raise StorageError(f"it redirects to {urlsplit(url).scheme}:", where=uri)
                if urlsplit(uri).scheme == "https" and urlsplit(url).scheme == "http":
                    raise StorageError("it redirects from https to http", where=uri, hint="Use the http address.")
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise UsageError(f"not a web address: {error}", where=uri) from error
        except httpx2.HTTPError as error:
            raise StorageError(f"{type(error).__name__}: {error}", where=uri, retryable=True) from error
        raise StorageError(f"more than {self._config.redirects} redirects", where=uri)

    def stat(self, uri: str) -> ObjectInfo:
        """See `Storage.stat`. Servers that do not know HEAD, or tell no size there, are asked by GET."""
        return again(partial(self._stat, uri))

    def _stat(self, uri: str) -> ObjectInfo:
        with self._request("HEAD", uri) as answer:
            if answer.is_success and "content-length" in answer.headers:
                return _info(uri, answer)
            if not answer.is_success and answer.status_code not in _NO_HEAD:
                raise _failure(answer, uri)
        # One byte is enough: the answer's range tells the size. Servers without ranges send all; it is not read.
        with self._request("GET", uri, {"Range": "bytes=0-0"}) as answer:
            if answer.status_code == 416 and _total(answer) == 0:
                return _info(uri, answer)
            if not answer.is_success:
                raise _failure(answer, uri)
            return _info(uri, answer)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Not possible: web servers have no listing."""
        raise UnsupportedError("http has no listing", where=prefix, hint="Name every file by its own address.")

    def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
        """See `Storage.open`."""
        if length == 0 or (0 <= ref.size <= start):
            _compare(ref, self.stat(ref.uri))
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
        if start or self._end >= 0:
            headers["Range"] = f"bytes={start}-{self._end - 1 if self._end >= 0 else ''}"
        if self._etag and not self._etag.startswith("W/"):  # weak ETags never match
            headers["If-Match"] = f'"{self._etag}"'
        answer = stack.enter_context(self._storage._request("GET", self._ref.uri, headers))
        if answer.status_code == 412:
            raise changed(self._ref, "ETag", self._etag, self._now())
        if answer.status_code == 416:
            stack.close()
            return answer, -1
        if not answer.is_success:
            raise _failure(answer, self._ref.uri)
        info = _info(self._ref.uri, answer)
        _compare(self._ref, info)
        if self._etag and info.etag and info.etag != self._etag:
            raise changed(self._ref, "ETag", self._etag, info.etag)
        self._etag = self._etag or info.etag
        return answer, 0 if answer.status_code == 206 else start

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
                for chunk in answer.iter_raw():
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
                raise StorageError(f"the connection broke: {error}", where=self._ref.uri, retryable=True) from error


def _total(answer: httpx2.Response) -> int:
    found = re.fullmatch(r"bytes\s+(?:\d+-\d+|\*)/(\d+)", answer.headers.get("content-range", "").strip())
    if found:
        return int(found[1])
    if answer.status_code == 206 or answer.headers.get("content-encoding", "identity") != "identity":
        return -1
    length = answer.headers.get("content-length", "")
    return int(length) if length.isdigit() else -1


def _info(uri: str, answer: httpx2.Response) -> ObjectInfo:
    etag = answer.headers.get("etag", "").strip()
    weak = etag.startswith("W/")
    etag = etag.removeprefix("W/").strip('"')
    mtime = 0.0
    with contextlib.suppress(ValueError, TypeError):
        mtime = parsedate_to_datetime(answer.headers.get("last-modified", "")).timestamp()
    return ObjectInfo(uri=uri, size=_total(answer), etag=f"W/{etag}" if weak else etag, mtime=mtime)


def _compare(ref: ObjectRef, info: ObjectInfo) -> None:
    if ref.size >= 0 and info.size >= 0 and info.size != ref.size:
        raise changed(ref, "size", str(ref.size), str(info.size))
    if ref.etag and info.etag and ref.etag != info.etag:
        raise changed(ref, "ETag", ref.etag, info.etag)


def _failure(answer: httpx2.Response, uri: str) -> WindlassError:
    status = answer.status_code
    facts: dict[str, Any] = {"status": status}
    folder = answer.url.path.endswith("/") and not (urlsplit(uri).path or "/").endswith("/")
    if status == 403 and folder:  # the server led us into a directory, which it does not show
        return ObjectNotFoundError("a folder is not a file", where=uri, context=facts)
    text = f"the server answered {status}"
    if status in (404, 410):
        return ObjectNotFoundError("there is no such file", where=uri, context=facts)
    if status in (401, 403, 407):
        host = urlsplit(uri).hostname
        hint = (
            f"Give headers for the host under `hosts`: {{{host}: {{headers: {{Authorization: {{secret: env/…}}}}}}}}."
        )
        return AccessError(text, where=uri, hint=hint, context=facts)
    return StorageError(text, where=uri, context=facts, retryable=status >= 500 or status in (408, 425, 429))
