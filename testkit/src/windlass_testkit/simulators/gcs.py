"""Google Cloud Storage's JSON API in this process: generations, preconditions, versions, pages, resumable uploads.

It answers as the service does where clients depend on it, also for refusals; `GcsSimulator.fail` and
`GcsSimulator.requests` let tests break it and look at what it was asked. It checks no access tokens unless told to.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import itertools
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from attrs import define, field

__all__ = ["GcsSimulator", "gcs_bucket", "gcs_server"]


@define
class _Object:
    name: str
    data: bytes
    generation: int
    live: bool = True
    updated: datetime = field(factory=lambda: datetime.now(UTC))

    def resource(self, bucket: str) -> dict[str, str]:
        """The object as JSON."""
        return {
            "kind": "storage#object",
            "name": self.name,
            "bucket": bucket,
            "generation": str(self.generation),
            "metageneration": "1",
            "size": str(len(self.data)),
            "etag": base64.b64encode(str(self.generation).encode()).decode(),
            "crc32c": crc32c(self.data),
            "md5Hash": base64.b64encode(hashlib.md5(self.data).digest()).decode(),
            "updated": self.updated.isoformat().replace("+00:00", "Z"),
        }


@define
class _Bucket:
    versioned: bool = False
    objects: dict[str, list[_Object]] = field(factory=dict)

    def live(self, name: str) -> _Object | None:
        """The present version."""
        return next((o for o in self.objects.get(name, ()) if o.live), None)


@define
class _Upload:
    bucket: str
    query: dict[str, str]
    resource: dict[str, Any]
    data: bytearray = field(factory=bytearray)


class _Refusal(Exception):
    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason


def crc32c(data: bytes) -> str:
    """The CRC-32C of some bytes, as the service writes it."""
    import google_crc32c

    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


class GcsSimulator:
    """A server on the loopback interface; a context manager.

    Args:
        page: Most names in one page of a listing.
        token: Access token that requests must carry; empty: any, or none.

    Attributes:
        url: Its address.
        buckets: State by bucket name; add buckets with `create`.
        requests: ``METHOD path?query`` of every request.
        fail: HTTP statuses with which the next requests are answered.
    """

    def __init__(self, page: int = 50, token: str = "") -> None:
        self.page, self.token = page, token
        self.buckets: dict[str, _Bucket] = {}
        self.uploads: dict[str, _Upload] = {}
        self.requests: list[str] = []
        self.fail: list[int] = []
        self.lock = threading.RLock()
        self._generations = itertools.count(1_700_000_000_000_000)
        simulator = self

        class Handler(_Handler):
            gcs = simulator

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> GcsSimulator:  # noqa: PYI034 - not meant to be subclassed
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def create(self, name: str, *, versioned: bool = False) -> None:
        """Make a bucket."""
        self.buckets[name] = _Bucket(versioned=versioned)

    def bucket(self, name: str) -> _Bucket:
        """A bucket, or the service's 404."""
        if name not in self.buckets:
            raise _Refusal(404, "The specified bucket does not exist.", "notFound")
        return self.buckets[name]

    def store(self, bucket: str, name: str, data: bytes, query: dict[str, str] | None = None) -> dict[str, str]:
        """Write an object under the preconditions of `query`."""
        with self.lock:
            found = self.bucket(bucket)
            present = found.live(name)
            _check_generation(query or {}, present)
            if present is not None:
                present.live = False
            kept = found.objects.get(name, []) if found.versioned else []
            new = _Object(name, data, next(self._generations))
            found.objects[name] = [*kept, new]
            return new.resource(bucket)

    def find(self, bucket: str, name: str, query: dict[str, str]) -> _Object:
        """One version, or the service's refusal."""
        with self.lock:
            versions = self.bucket(bucket).objects.get(name, [])
            wanted = query.get("generation")
            match = [o for o in versions if (str(o.generation) == wanted if wanted else o.live)]
            if not match:
                raise _Refusal(404, f"No such object: {bucket}/{name}", "notFound")
            _check_generation(query, match[0])
            return match[0]

    def remove(self, bucket: str, name: str, query: dict[str, str]) -> None:
        """Delete a version, or the present one."""
        with self.lock:
            found, one = self.bucket(bucket), self.find(bucket, name, query)
            if found.versioned and "generation" not in query:
                one.live = False
            else:
                found.objects[name].remove(one)

    def listing(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        """One page."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start = query.get("pageToken", query.get("startOffset", ""))
        most = min(int(query.get("maxResults", self.page)), self.page)
        items: list[dict[str, str]] = []
        prefixes: list[str] = []
        with self.lock:
            found = self.bucket(bucket)
            for name in sorted(found.objects, key=str.encode):
                versions = [o for o in found.objects[name] if o.live or query.get("versions") == "true"]
                if not versions or not name.startswith(prefix):
                    continue
                cut = name.find(delimiter, len(prefix)) if delimiter else -1
                shown = name[: cut + len(delimiter)] if cut >= 0 else name
                if shown < start or (query.get("endOffset") and name >= query["endOffset"]):
                    continue
                if prefixes and shown == prefixes[-1]:
                    continue
                if len(items) + len(prefixes) >= most:
                    return {"items": items, "prefixes": prefixes, "nextPageToken": shown}
                if cut >= 0:
                    prefixes.append(shown)
                else:
                    items += [o.resource(bucket) for o in versions]
        return {"items": items, "prefixes": prefixes}


def _check_generation(query: dict[str, str], present: _Object | None) -> None:
    generation = present.generation if present is not None else 0
    if "ifGenerationMatch" in query and int(query["ifGenerationMatch"]) != generation:
        raise _Refusal(412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gcs: GcsSimulator

    def _answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.gcs.requests.append(f"{self.command} {self.path}")
        try:
            if self.gcs.fail:
                raise _Refusal(self.gcs.fail.pop(0), "made to fail", "backendError")
            if self.gcs.token and self.headers.get("Authorization") != f"Bearer {self.gcs.token}":
                raise _Refusal(401, "Invalid Credentials", "authError")
            for pattern, method in _ROUTES:
                match = re.fullmatch(pattern, f"{self.command} {address.path}")
                if match:
                    method(self, query, body, *map(unquote, match.groups()))
                    return
            raise _Refusal(404, f"no route for {self.command} {address.path}")
        except _Refusal as refusal:
            error = {"code": refusal.status, "message": refusal.message, "errors": [{"reason": refusal.reason}]}
            self._answer(refusal.status, {"error": error})

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def list_objects(self, query: dict[str, str], body: bytes, bucket: str) -> None:
        self._answer(200, self.gcs.listing(bucket, query))

    def get_bucket(self, query: dict[str, str], body: bytes, bucket: str) -> None:
        found = self.gcs.bucket(bucket)
        self._answer(200, {"name": bucket, "versioning": {"enabled": found.versioned}})

    def get_object(self, query: dict[str, str], body: bytes, bucket: str, name: str) -> None:
        found = self.gcs.find(bucket, name, query)
        if query.get("alt") != "media":
            self._answer(200, found.resource(bucket))
            return
        headers = {
            "x-goog-generation": str(found.generation),
            "x-goog-stored-content-length": str(len(found.data)),
            "x-goog-hash": f"crc32c={crc32c(found.data)}",
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            self._answer(200, found.data, headers)
            return
        start, end = int(wanted[1]), min(int(wanted[2] or len(found.data)), len(found.data) - 1)
        if start >= len(found.data):
            raise _Refusal(416, "The requested range cannot be satisfied.", "requestedRangeNotSatisfiable")
        headers["Content-Range"] = f"bytes {start}-{end}/{len(found.data)}"
        self._answer(206, found.data[start : end + 1], headers)

    def get_signed(self, query: dict[str, str], body: bytes, bucket: str, name: str) -> None:
        if "X-Goog-Signature" not in query:
            raise _Refusal(403, "Anonymous caller does not have storage.objects.get access.", "forbidden")
        self._answer(200, self.gcs.find(bucket, name, query).data)

    def delete_object(self, query: dict[str, str], body: bytes, bucket: str, name: str) -> None:
        self.gcs.remove(bucket, name, query)
        self._answer(204)

    def upload(self, query: dict[str, str], body: bytes, bucket: str) -> None:
        kind = query.get("uploadType")
        if kind == "multipart":
            mark = re.search(r"boundary=\"?([^\";]+)", self.headers["Content-Type"])
            if mark is None:
                raise _Refusal(400, "no boundary", "badRequest")
            pieces = body.split(b"--" + mark[1].encode())
            first, second = (piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for piece in pieces[1:3])
            self._finish(bucket, json.loads(first), second, query)
        elif kind == "resumable":
            self.gcs.bucket(bucket)
            resource = json.loads(body)
            with self.gcs.lock:
                _check_generation(query, self.gcs.bucket(bucket).live(resource["name"]))
            number = uuid.uuid4().hex
            self.gcs.uploads[number] = _Upload(bucket, query, resource)
            self._answer(200, None, {"Location": f"{self.gcs.url}/upload/session/{number}"})
        else:
            self._finish(bucket, {"name": query["name"]}, body, query)

    def _finish(self, bucket: str, resource: dict[str, Any], data: bytes, query: dict[str, str]) -> None:
        if resource.get("crc32c", crc32c(data)) != crc32c(data):
            raise _Refusal(400, "Provided CRC32C doesn't match calculated CRC32C.", "invalid")
        self._answer(200, self.gcs.store(bucket, resource["name"], data, query))

    def session(self, query: dict[str, str], body: bytes, number: str) -> None:
        upload = self.gcs.uploads.get(number)
        if upload is None:
            raise _Refusal(404, "no such session", "notFound")
        where = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers.get("Content-Range", ""))
        if where is None:
            raise _Refusal(400, "no Content-Range", "badRequest")
        if where[1] is not None:
            if int(where[1]) != len(upload.data):
                raise _Refusal(503, "not where the session is", "backendError")
            last = where[3] != "*" and int(where[2]) + 1 == int(where[3])
            if not last and len(body) % (256 << 10):
                raise _Refusal(400, "chunks are multiples of 256 KiB", "badRequest")
            upload.data += body
        if where[3] != "*" and len(upload.data) == int(where[3]):
            del self.gcs.uploads[number]
            self._finish(upload.bucket, upload.resource, bytes(upload.data), upload.query)
            return
        self._answer(308, None, {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {})

    def cancel(self, query: dict[str, str], body: bytes, number: str) -> None:
        self.gcs.uploads.pop(number, None)
        self._answer(499)


_ROUTES: list[tuple[str, Callable[..., None]]] = [
    (r"GET /(?!storage/|upload/)([^/]+)/(.+)", _Handler.get_signed),
    (r"GET /storage/v1/b/([^/]+)/o", _Handler.list_objects),
    (r"GET /storage/v1/b/([^/]+)", _Handler.get_bucket),
    (r"GET /storage/v1/b/([^/]+)/o/([^/]+)", _Handler.get_object),
    (r"DELETE /storage/v1/b/([^/]+)/o/([^/]+)", _Handler.delete_object),
    (r"POST /upload/storage/v1/b/([^/]+)/o", _Handler.upload),
    (r"PUT /upload/session/(\w+)", _Handler.session),
    (r"DELETE /upload/session/(\w+)", _Handler.cancel),
]


@pytest.fixture
def gcs_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsSimulator]:
    """A simulator that Google's and our clients find by the environment."""
    with GcsSimulator() as simulator:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", simulator.url)
        yield simulator


@pytest.fixture
def gcs_bucket(gcs_server: GcsSimulator) -> str:
    """Name of an empty bucket without versions."""
    gcs_server.create("bucket")
    return "bucket"
