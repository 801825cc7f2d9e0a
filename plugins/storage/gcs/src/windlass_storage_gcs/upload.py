"""Uploads: small objects in one request, large ones in a session that goes on after a kill."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

from windlass.errors import ObjectNotFoundError, StorageError, WindlassError
from windlass.transfer import Journal, Source, again
from windlass_storage_gcs.client import Client
from windlass_storage_gcs.resources import FIELDS, Resource, resource_of

__all__ = ["put_resumable", "put_whole"]

_MAX_AGE = 6 * 86400.0  # sessions last a week
_READ = 8 << 20


class _Dropped(StorageError):
    """The session is no more: refused at its end, or too old."""


def _checksum(source: Source) -> str:
    import google_crc32c

    value = 0
    for start in range(0, source.size, _READ):
        value = google_crc32c.extend(value, source.read(start, min(_READ, source.size - start)))
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def _target(bucket: str) -> str:
    return f"/upload/storage/v1/b/{quote(bucket, safe='')}/o"


def _query(kind: str, if_absent: bool) -> dict[str, str]:
    return {"uploadType": kind, "fields": FIELDS, "ifGenerationMatch": "0" if if_absent else ""}


def put_whole(client: Client, bucket: str, name: str, source: Source, *, if_absent: bool) -> Resource:
    """Store an object in one request; the store compares its CRC-32C.

    Raises:
        ObjectChangedError: With `if_absent`: it exists already.
    """
    resource = json.dumps({"name": name, "crc32c": _checksum(source)}).encode()
    mark = secrets.token_hex(16).encode()
    body = b"".join(
        (
            b"--", mark, b"\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n", resource,
            b"\r\n--", mark, b"\r\nContent-Type: application/octet-stream\r\n\r\n", source.read(),
            b"\r\n--", mark, b"--\r\n",
        )
    )  # fmt: skip
    answer = client.request(
        "POST",
        _target(bucket),
        _query("multipart", if_absent),
        where=f"gs://{bucket}/{name}",
        body=body,
        headers={"Content-Type": f"multipart/related; boundary={mark.decode()}"},
    )
    return resource_of(answer.data)


def put_resumable(
    client: Client, folder: Path, bucket: str, name: str, source: Source, chunk: int, *, if_absent: bool
) -> Resource:
    """Store an object in a session; what the store has already is not sent again.

    Raises:
        ObjectChangedError: With `if_absent`: it exists already.
    """
    uri, checksum = f"gs://{bucket}/{name}", _checksum(source)
    chunk -= chunk % (256 << 10)
    # Content and precondition belong to a session, so other bytes for the same name have a session of their own.
    with Journal(folder, uri, f"{client.url} {checksum} {'absent' if if_absent else 'any'}") as journal:
        position: int | Resource | None = None
        if journal.fits(source.size, chunk, _MAX_AGE):
            position = _position(client, journal.upload, source.size, uri)
        if position is None:
            position = 0
            resource = json.dumps({"name": name, "crc32c": checksum}).encode()
            answer = client.request(
                "POST", _target(bucket), _query("resumable", if_absent), where=uri, body=resource,
                headers={"Content-Type": "application/json", "X-Upload-Content-Length": str(source.size)},
            )  # fmt: skip
            journal.begin(answer.headers["Location"], source.size, chunk)
        try:
            while not isinstance(position, Resource):
                at = position
                position = again(lambda at=at: _send(client, journal.upload, source, at, chunk, uri))  # type: ignore[misc]
        except WindlassError as error:
            if not error.retryable:
                with contextlib.suppress(WindlassError):  # what cannot be ended, without a session, can be continued
                    client.request("DELETE", journal.upload, where=uri, good=(200, 204, 404, 410, 499), retry=False)
                    journal.forget()
            if isinstance(error, _Dropped):  # a new call begins a new session
                raise StorageError(error.message, where=uri, retryable=True) from error
            raise
        journal.forget()
        return position


def _send(client: Client, session: str, source: Source, start: int, chunk: int, uri: str) -> int | Resource:
    """Send one chunk, or after a fault ask where the session is; the next position, or the stored object."""
    length = min(chunk, source.size - start)
    headers = {"Content-Range": f"bytes {start}-{start + length - 1}/{source.size}"}
    try:
        answer = client.request(
            "PUT", session, where=uri, body=source.read(start, length), headers=headers, good=(200, 201, 308),
            retry=False,
        )  # fmt: skip
    except ObjectNotFoundError:
        raise _Dropped("the store dropped the upload", where=uri) from None
    except StorageError as error:
        if not error.retryable:
            raise
        position = _position(client, session, source.size, uri)
        if position is None:
            raise _Dropped(error.message, where=uri) from error
        if position == start:
            raise
        return position
    return _reached(answer)


def _position(client: Client, session: str, size: int, uri: str) -> int | Resource | None:
    """How far a session is, the object if it is done, or None when there is no such session."""
    headers = {"Content-Range": f"bytes */{size}"}
    try:
        answer = client.request("PUT", session, where=uri, body=b"", headers=headers, good=(200, 201, 308, 410))
    except ObjectNotFoundError:
        return None
    return None if answer.status == 410 else _reached(answer)


def _reached(answer: Any) -> int | Resource:
    if answer.status != 308:
        return resource_of(answer.data)
    found = re.search(r"-(\d+)$", answer.headers.get("Range", ""))
    return int(found[1]) + 1 if found else 0
