"""An S3 server for benchmarks: objects in memory, little CPU per request, and answers as late as it is told.

    with stub_s3.running(latency=0.015, listed=100_000) as url: ...

It knows what the clients that are raced ask for: objects, ranges, conditions, uploads in parts, listings, deletion,
copies. It checks the SHA-256 that a request names, but neither signatures nor other checksums, and keeps no versions.
Every bucket exists. Below ``list/`` each bucket holds `listed` objects of its own making.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import re
import subprocess
import sys
import threading
from bisect import bisect_right, insort
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, unquote

PAGE = 1000
_PIECE = 1 << 20
_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_RANGE = re.compile(rb"(?i)\r\nrange: *bytes=(\d+)-(\d*)")
_ABSENT = re.compile(rb"(?i)\r\nif-none-match: *\*")
_MATCH = re.compile(rb'(?i)\r\nif-match: *"?([^"\r]*)')
_SOURCE = re.compile(rb"(?i)\r\nx-amz-copy-source: */?([^\r]*)")
_SHA256 = re.compile(rb"(?i)\r\nx-amz-checksum-sha256: *([^\r]*)")
_KEY = re.compile(rb"<Key>([^<]*)</Key>")

Answer = tuple[str, str, "bytes | memoryview"]
"""Status, header lines, body."""


class Store:
    """Objects by ``bucket/key``."""

    def __init__(self, listed: int) -> None:
        self.listed = listed
        self.objects: dict[str, tuple[str, memoryview]] = {}
        self.keys: dict[str, list[str]] = {}
        self.uploads: dict[str, dict[int, tuple[str, memoryview]]] = {}
        self.count = 0

    def tag(self) -> str:
        """A new ETag."""
        self.count += 1
        return f"{self.count:032x}"

    def put(self, name: str, body: memoryview) -> str:
        """Keep an object."""
        bucket, _, key = name.partition("/")
        if name not in self.objects:
            insort(self.keys.setdefault(bucket, []), key)
        etag = self.tag()
        self.objects[name] = (etag, body)
        return etag

    def delete(self, name: str) -> None:
        """Forget an object."""
        bucket, _, key = name.partition("/")
        if self.objects.pop(name, None):
            self.keys[bucket].remove(key)

    def answer(self, method: str, name: str, query: str, head: bytes, body: memoryview) -> Answer:
        """What S3 would say."""
        bucket, _, key = name.partition("/")
        if not key:
            return self._bucket(method, bucket, query, body)
        if query and ("uploadId" in query or "uploads" in query):
            return self._upload(method, name, parse_qs(query, keep_blank_values=True), head, body)
        if method == "PUT":
            source = _SOURCE.search(head)
            if source:
                found = self.objects.get(unquote(source[1].decode()))
                if found is None:
                    return _error("404 Not Found", "NoSuchKey")
                body = found[1]
            if _ABSENT.search(head) and name in self.objects:
                return _error("412 Precondition Failed", "PreconditionFailed")
            wanted = _SHA256.search(head)
            if wanted and base64.b64decode(wanted[1]) != hashlib.sha256(body).digest():
                return _error("400 Bad Request", "BadDigest")
            etag = self.put(name, body)
            if source:
                return _xml(f'<CopyObjectResult><ETag>"{etag}"</ETag></CopyObjectResult>')
            return "200 OK", f'ETag: "{etag}"\r\n', b""
        if method == "DELETE":
            self.delete(name)
            return "204 No Content", "", b""
        found = self.objects.get(name)
        if found is None:
            return _error("404 Not Found", "NoSuchKey")
        etag, data = found
        wanted = _MATCH.search(head)
        if wanted and wanted[1].decode() != etag:
            return _error("412 Precondition Failed", "PreconditionFailed")
        facts = f'ETag: "{etag}"\r\nLast-Modified: {_DATE}\r\nAccept-Ranges: bytes\r\n'
        span = _RANGE.search(head)
        if span:
            size, start = len(data), int(span[1])
            end = min(int(span[2] or size - 1), size - 1)
            if start >= size:
                return _error("416 Range Not Satisfiable", "InvalidRange")
            facts += f"Content-Range: bytes {start}-{end}/{size}\r\n"
            return "206 Partial Content", facts, data[start : end + 1]
        return "200 OK", facts, data

    def _bucket(self, method: str, bucket: str, query: str, body: memoryview) -> Answer:
        if method in ("PUT", "HEAD"):
            return "200 OK", "", b""
        if method == "POST":
            for key in _KEY.findall(bytes(body)):
                self.delete(f"{bucket}/{key.decode()}")
            return _xml("<DeleteResult></DeleteResult>")
        if "versioning" in query:
            return _xml("<VersioningConfiguration/>")
        asked = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
        prefix, after = asked.get("prefix", ""), asked.get("continuation-token") or asked.get("start-after", "")
        if prefix.startswith("list"):
            return _xml(_made_page(_first_after(after, self.listed), self.listed))
        keys = self.keys.get(bucket, [])
        start = bisect_right(keys, max(after, prefix)) if after > prefix else bisect_right(keys, prefix)
        if not after and prefix in keys:
            start -= 1
        found = [key for key in keys[start : start + PAGE + 1] if key.startswith(prefix)]
        items = "".join(_item(key, *self._facts(bucket, key)) for key in found[:PAGE])
        return _xml(_listing(items, found[PAGE - 1] if len(found) > PAGE else ""))

    def _facts(self, bucket: str, key: str) -> tuple[str, int]:
        etag, data = self.objects[f"{bucket}/{key}"]
        return etag, len(data)

    def _upload(self, method: str, name: str, asked: dict[str, list[str]], head: bytes, body: memoryview) -> Answer:
        bucket, _, key = name.partition("/")
        known = f"<Bucket>{bucket}</Bucket><Key>{key}</Key>"
        if "uploads" in asked:
            upload = self.tag()
            self.uploads[upload] = {}
            inner = f"{known}<UploadId>{upload}</UploadId>"
            return _xml(f"<InitiateMultipartUploadResult>{inner}</InitiateMultipartUploadResult>")
        parts = self.uploads.get(asked["uploadId"][-1])
        if parts is None:
            return _error("404 Not Found", "NoSuchUpload")
        if method == "PUT":
            etag = self.tag()
            parts[int(asked["partNumber"][-1])] = (etag, body)
            return "200 OK", f'ETag: "{etag}"\r\n', b""
        if method == "POST":
            if _ABSENT.search(head) and name in self.objects:
                return _error("412 Precondition Failed", "PreconditionFailed")
            whole = bytearray()
            for number in sorted(parts):
                whole += parts.pop(number)[1]
            del self.uploads[asked["uploadId"][-1]]
            etag = self.put(name, memoryview(whole))
            return _xml(f'<CompleteMultipartUploadResult>{known}<ETag>"{etag}"</ETag></CompleteMultipartUploadResult>')
        if method == "DELETE":
            del self.uploads[asked["uploadId"][-1]]
            return "204 No Content", "", b""
        rows = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{etag}"</ETag><Size>{len(data)}</Size></Part>'
            for number, (etag, data) in sorted(parts.items())
        )
        return _xml(f"<ListPartsResult>{known}<IsTruncated>false</IsTruncated>{rows}</ListPartsResult>")


def _error(status: str, code: str) -> Answer:
    return status, "Content-Type: application/xml\r\n", f"{_XML}<Error><Code>{code}</Code></Error>".encode()


def _xml(body: str | bytes) -> Answer:
    return "200 OK", "Content-Type: application/xml\r\n", body if isinstance(body, bytes) else (_XML + body).encode()


def _item(key: str, etag: str, size: int) -> str:
    return (
        f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _listing(items: str, token: str) -> str:
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    return (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name><Prefix></Prefix>'
        f"<EncodingType>url</EncodingType><MaxKeys>{PAGE}</MaxKeys>"
        f"{more if token else '<IsTruncated>false</IsTruncated>'}{items}</ListBucketResult>"
    )


@functools.cache
def _made_page(start: int, total: int) -> bytes:
    end = min(start + PAGE, total)
    items = "".join(_item(f"list/{number:07d}", f"{number:032x}", number) for number in range(start, end))
    return (_XML + _listing(items, f"list/{end - 1:07d}" if end < total else "")).encode()


def _first_after(after: str, total: int) -> int:
    digits = after.rpartition("/")[2]
    if not digits.isdigit():
        return 0
    return min(int(digits.ljust(7, "0")) + (len(digits) == 7), total)


class Connection(asyncio.BufferedProtocol):
    """One connection. A request's body is received right into the memory in which it is kept."""

    def __init__(self, store: Store, latency: float) -> None:
        self.store, self.latency = store, latency
        self.head, self.filled = bytearray(1 << 16), 0
        self.request = b""
        self.body, self.got = memoryview(b""), 0
        self.left: memoryview | None = None
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=2 * _PIECE)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.body[self.got :] if self.request else memoryview(self.head)[self.filled :]

    def buffer_updated(self, count: int) -> None:
        if self.request:
            self.got += count
        else:
            self.filled += count
            end = self.head.find(b"\r\n\r\n", 0, self.filled)
            if end < 0:
                return
            self.request = bytes(self.head[:end])
            length = _LENGTH.search(self.request)
            self.body = memoryview(bytearray(int(length[1]) if length else 0))
            self.got = self.filled - end - 4
            self.body[: self.got] = self.head[end + 4 : self.filled]
            self.filled = 0
            if b"100-continue" in self.request:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.got == len(self.body):
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self.reply)
            else:
                self.reply()

    def reply(self) -> None:
        """Answer the request that has been received."""
        line, _, _ = self.request.partition(b"\r\n")
        method, target, _ = line.decode().split(" ")
        path, _, query = target.partition("?")
        head, body, self.body, self.request, self.got = self.request, self.body, memoryview(b""), b"", 0
        name = path[1:] if "%" not in path else unquote(path[1:])
        status, facts, data = self.store.answer(method, name, query, head, body)
        if self.transport.is_closing():
            return
        start = f"HTTP/1.1 {status}\r\n{facts}Content-Length: {len(data)}\r\n\r\n".encode()
        if method == "HEAD" or not data:
            self.transport.write(start)
        elif len(data) <= _PIECE:
            self.transport.write(start + data)
        else:
            self.transport.write(start)
            self.left = memoryview(data)
            self.send()

    def send(self) -> None:
        """Send as much of a large answer as is wanted now."""
        while self.left is not None and not self.paused:
            piece, self.left = self.left[:_PIECE], self.left[_PIECE:] if len(self.left) > _PIECE else None
            self.transport.write(piece)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.send()


async def serve(latency: float, listed: int) -> None:
    """Serve until the process is ended; the port is the first line of the output."""
    for start in range(0, listed, PAGE):
        _made_page(start, listed)
    store = Store(listed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(store, latency), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running(latency: float = 0.0, listed: int = 0) -> Iterator[str]:
    """A stub in a process of its own; its address.

    Args:
        latency: Seconds before each answer.
        listed: Objects below ``list/``.

    Raises:
        RuntimeError: It did not start; says what it wrote.
    """
    command = [sys.executable, __file__, str(latency), str(listed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    patience = threading.Timer(120.0, process.kill)
    patience.start()
    try:
        port = process.stdout.readline().strip()
        patience.cancel()
        if not port:
            raise RuntimeError(f"the stub server did not start: {process.communicate()[1][-2000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        patience.cancel()
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
