"""Listings: every fact the store tells, several ranges at once, no request for a single object.

The requests are signed by boto3 and read here. boto3's own reading of a listing takes over ten times as long, and
obstore gives up at keys such as ``a//b`` and takes folder markers for files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache, partial
from html import unescape
from typing import Any
from urllib.parse import unquote_plus

from windlass.storage import ObjectInfo
from windlass.transfer import Page, list_ranges
from windlass_storage_s3.addresses import Address
from windlass_storage_s3.client import Clients
from windlass_storage_s3.errors import from_answer, translated

__all__ = ["list_objects"]

_FIELD = re.compile(rb"<(Key|Size|ETag|LastModified|VersionId|IsLatest)>([^<]*)<")
# Nearly every store writes an entry's fields in this order; the others are read field by field.
_USUAL = re.compile(
    rb"<Key>([^<]*)</Key><LastModified>([^<]*)</LastModified><ETag>([^<]*)</ETag>.*?<Size>(\d+)</Size>", re.DOTALL
)
_PREFIX = re.compile(rb"<CommonPrefixes>\s*<Prefix>([^<]*)<")
_KEY = re.compile(rb"<Key>([^<]*)<")
_ENTRY = re.compile(rb"<(Contents|Version|DeleteMarker)>(.*?)</\1>", re.DOTALL)
_TOKEN = re.compile(rb"<NextContinuationToken>([^<]+)<")
_MARKS = re.compile(rb"<NextKeyMarker>([^<]*)<")
_MARK_ID = re.compile(rb"<NextVersionIdMarker>([^<]*)<")
_TRUNCATED = re.compile(rb"<IsTruncated>\s*true\s*<")


def list_objects(clients: Clients, where: Address, versions: bool) -> Iterator[ObjectInfo]:
    """All objects of a folder in key order; with version ids when the bucket keeps `versions`."""
    read = _version_page if versions else _page
    yield from list_ranges(
        partial(read, clients, where), partial(_names, clients, where, versions), folder=where.folder
    )


def _get(clients: Clients, where: Address, operation: str, **parameters: Any) -> bytes:
    with translated(where.uri(where.folder)):
        url = clients.boto(where.bucket).generate_presigned_url(
            operation, Params={"Bucket": where.bucket, "EncodingType": "url", **parameters}, ExpiresIn=900
        )
        answer = clients.http().request("GET", url)
        body: bytes = answer.data
    if answer.status != 200:
        code = re.search(rb"<Code>(\w+)</Code>", body)
        message = re.search(rb"<Message>([^<]*)</Message>", body)
        raise from_answer(
            answer.status, code[1].decode() if code else "", _text(message[1]) if message else "",
            where.uri(where.folder),
        )  # fmt: skip
    return body


def _text(raw: bytes) -> str:
    text = raw.decode("utf-8", "surrogateescape")
    return unescape(text) if "&" in text else text


def _decoder(body: bytes) -> Callable[[bytes], str]:
    """How keys are written in this answer; stores that ignore ``encoding-type`` say nothing of it."""
    if b"<EncodingType>url</EncodingType>" not in body:
        return _text

    def decode(raw: bytes) -> str:
        text = _text(raw)
        return unquote_plus(text) if "%" in text or "+" in text else text

    return decode


def _info(where: Address, key: str, facts: dict[bytes, bytes]) -> ObjectInfo:
    version = _text(facts.get(b"VersionId", b""))
    return ObjectInfo(
        uri=where.uri(key),
        size=int(facts.get(b"Size", b"0")),
        etag=_text(facts.get(b"ETag", b"")).strip('"'),
        version="" if version == "null" else version,
        mtime=_time(facts.get(b"LastModified", b"")),
    )


@lru_cache(4096)
def _time(raw: bytes) -> float:
    return datetime.fromisoformat(raw.decode()).timestamp() if raw else 0.0


def _page(clients: Clients, where: Address, after: str, token: str) -> Page[ObjectInfo]:
    parameters = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}
    body = _get(clients, where, "list_objects_v2", Prefix=where.folder, **parameters)
    decode, items, last = _decoder(body), [], ""
    for part in body.split(b"<Contents>")[1:]:
        usual = _USUAL.match(part)
        if usual:
            last = decode(usual[1])
            size, etag, moment = int(usual[4]), usual[3].decode().replace("&quot;", '"').strip('"'), _time(usual[2])
            info = ObjectInfo(uri=where.uri(last), size=size, etag=etag, mtime=moment)
        else:
            facts = dict(_FIELD.findall(part))
            last = decode(facts[b"Key"])
            info = _info(where, last, facts)
        if not last.endswith("/"):
            items.append((last, info))
    found = _TOKEN.search(body)
    return Page(items=items, last=last, token=_text(found[1]) if found else "")


def _version_page(clients: Clients, where: Address, after: str, token: str) -> Page[ObjectInfo]:
    marks = {"KeyMarker": after} if after else {}
    if token:
        key, _, version = token.rpartition("\n")
        marks = {"KeyMarker": key, **({"VersionIdMarker": version} if version else {})}
    body = _get(clients, where, "list_object_versions", Prefix=where.folder, **marks)
    decode, items, last = _decoder(body), [], ""
    for entry in _ENTRY.finditer(body):
        facts = dict(_FIELD.findall(entry[2]))
        last = decode(facts[b"Key"])
        if entry[1] == b"Version" and facts.get(b"IsLatest") == b"true" and not last.endswith("/"):
            items.append((last, _info(where, last, facts)))
    following = ""
    if _TRUNCATED.search(body):
        mark, mark_id = _MARKS.search(body), _MARK_ID.search(body)
        following = f"{decode(mark[1]) if mark else last}\n{_text(mark_id[1]) if mark_id else ''}"
    return Page(items=sorted(items, key=lambda item: item[0]), last=last, token=following)


def _names(clients: Clients, where: Address, versions: bool, folder: str, after: str) -> list[str]:
    operation = "list_object_versions" if versions else "list_objects_v2"
    mark = {"KeyMarker" if versions else "StartAfter": after} if after else {}
    body = _get(clients, where, operation, Prefix=folder, Delimiter="/", **mark)
    decode = _decoder(body)
    return sorted({decode(raw) for raw in (*_PREFIX.findall(body), *_KEY.findall(body))})
