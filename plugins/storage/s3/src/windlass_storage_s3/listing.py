"""Listings: every fact the store tells, several ranges at once, no request for a single object.

The answers are read here. boto3's own reading of a listing takes over ten times as long, and obstore gives up at keys
such as ``a//b`` and takes folder markers for files.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache, partial
from html import unescape
from itertools import compress
from urllib.parse import unquote_plus

from windlass.storage import ObjectInfo
from windlass.transfer import Page, list_ranges
from windlass_storage_s3.addresses import Address
from windlass_storage_s3.client import Clients
from windlass_storage_s3.errors import refused, translated

__all__ = ["keeps_versions", "list_objects"]

_FIELD = re.compile(rb"<(Key|Size|ETag|LastModified|VersionId|IsLatest)>([^<]*)<")
# Nearly every store writes an entry's fields in this order; the others are read field by field.
_USUAL = re.compile(
    r"<Contents><Key>([^<]*)</Key><LastModified>([^<]*)</LastModified>"
    r"<ETag>&(?:quot|#34);([^&]*)&(?:quot|#34);</ETag>(?:<Size>|.*?<Size>)(\d+)</Size>",
    re.DOTALL,
)
_BARE_QUOTES = re.compile(r'(?<=<ETag>)"|"(?=</ETag>)')
_PREFIX = re.compile(rb"<CommonPrefixes>\s*<Prefix>([^<]*)<")
_KEY = re.compile(rb"<Key>([^<]*)<")
_ENTRY = re.compile(rb"<(Contents|Version|DeleteMarker)>(.*?)</\1>", re.DOTALL)
_TOKEN = re.compile(rb"<NextContinuationToken>([^<]+)<")
_MARKS = re.compile(rb"<NextKeyMarker>([^<]*)<")
_MARK_ID = re.compile(rb"<NextVersionIdMarker>([^<]*)<")
_STATUS = re.compile(rb"<Status>\s*\w+\s*</Status>")
_TRUNCATED = re.compile(rb"<IsTruncated>\s*true\s*<")


def list_objects(clients: Clients, where: Address, versions: bool) -> Iterator[ObjectInfo]:
    """All objects of a folder in key order; with version ids when the bucket keeps `versions`."""
    read = _version_page if versions else _page
    return list_ranges(partial(read, clients, where), partial(_names, clients, where, versions), folder=where.folder)


def _get(clients: Clients, where: Address, **parameters: str) -> bytes:
    uri = where.uri(where.folder)
    with translated(uri):
        answer = clients.request("GET", where.bucket, "", parameters)
        body: bytes = answer.data
    if answer.status != 200:
        raise refused(answer.status, body, uri)
    return body


def _objects(clients: Clients, where: Address, prefix: str, **more: str) -> bytes:
    return _get(clients, where, **{"list-type": "2", "prefix": prefix, "encoding-type": "url", **more})


def _versions(clients: Clients, where: Address, prefix: str, **more: str) -> bytes:
    return _get(clients, where, **{"versions": "", "prefix": prefix, "encoding-type": "url", **more})


def keeps_versions(clients: Clients, where: Address) -> bool:
    """True when the bucket has kept versions and they may be listed; one or two requests."""
    if _STATUS.search(_get(clients, where, versioning="")) is None:
        return False
    _versions(clients, where, where.folder, **{"max-keys": "1"})
    return True


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
        mtime=_time(_text(facts.get(b"LastModified", b""))),
    )


@lru_cache(4096)
def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _page(clients: Clients, where: Address, after: str, token: str, upto: str) -> Page[ObjectInfo]:
    more = {"continuation-token": token} if token else {"start-after": after} if after else {}
    body, last = _cut(_objects(clients, where, where.folder, **more), upto)
    keys, items = _usual(where, body) or _unusual(where, body)
    if "/\n" in "\n".join([*keys, ""]):  # few pages have folder markers
        wanted = [not key.endswith("/") for key in keys]
        keys, items = list(compress(keys, wanted)), list(compress(items, wanted))
    found = _TOKEN.search(body)
    return Page(keys=keys, items=items, last=last, token=_text(found[1]) if found else "")


def _cut(body: bytes, upto: str) -> tuple[bytes, str]:
    """A page without the entries behind a key (if there is one), which cost time to read; the last key it had."""
    decode = _decoder(body)

    def key_in(entry: bytes) -> str:
        found = _KEY.search(entry)
        return decode(found[1]) if found else ""

    last = key_in(body[max(body.rfind(b"<Contents>"), 0) :])
    if upto and last > upto:
        head, *entries = body.split(b"<Contents>")
        behind = entries[-1].partition(b"</Contents>")[2]
        body = b"<Contents>".join([head, *entries[: bisect_right(entries, upto, key=key_in)]]) + behind
    return body, last


def _usual(where: Address, body: bytes) -> tuple[list[str], list[ObjectInfo]] | None:
    """The keys and entries of a page when all of them are written as nearly every store does; else None."""
    text = body.decode("utf-8", "surrogateescape")
    found = _USUAL.findall(text) or _USUAL.findall(_BARE_QUOTES.sub("&quot;", text))
    if len(found) != text.count("<Contents>"):
        return None
    keys = [key for key, _, _, _ in found]
    if "&" in "".join(keys):  # most pages need neither
        keys = list(map(unescape, keys))
    if ("%" in (together := "".join(keys)) or "+" in together) and "<EncodingType>url</EncodingType>" in text:
        keys = list(map(unquote_plus, keys))
    start = where.uri("")
    return keys, [
        ObjectInfo(uri=start + key, size=int(size), etag=etag, mtime=_time(moment))
        for key, (_, moment, etag, size) in zip(keys, found, strict=True)
    ]


def _unusual(where: Address, body: bytes) -> tuple[list[str], list[ObjectInfo]]:
    decode = _decoder(body)
    found = [dict(_FIELD.findall(part)) for part in body.split(b"<Contents>")[1:]]
    keys = [decode(facts[b"Key"]) for facts in found]
    return keys, [_info(where, key, facts) for key, facts in zip(keys, found, strict=True)]


def _version_page(clients: Clients, where: Address, after: str, token: str, _upto: str) -> Page[ObjectInfo]:
    marks = {"key-marker": after} if after else {}
    if token:
        key, _, version = token.rpartition("\n")
        marks = {"key-marker": key, **({"version-id-marker": version} if version else {})}
    body = _versions(clients, where, where.folder, **marks)
    decode, infos, last = _decoder(body), {}, ""
    for entry in _ENTRY.finditer(body):
        facts = dict(_FIELD.findall(entry[2]))
        last = decode(facts[b"Key"])
        if entry[1] == b"Version" and facts.get(b"IsLatest") == b"true" and not last.endswith("/"):
            infos[last] = _info(where, last, facts)
    following = ""
    if _TRUNCATED.search(body):
        mark, mark_id = _MARKS.search(body), _MARK_ID.search(body)
        following = f"{decode(mark[1]) if mark else last}\n{_text(mark_id[1]) if mark_id else ''}"
    keys = sorted(infos)
    return Page(keys=keys, items=[infos[key] for key in keys], last=last, token=following)


def _names(clients: Clients, where: Address, versions: bool, folder: str, after: str) -> list[str]:
    mark = {"key-marker" if versions else "start-after": after} if after else {}
    body = (_versions if versions else _objects)(clients, where, folder, delimiter="/", **mark)
    decode = _decoder(body)
    return sorted({decode(raw) for raw in (*_PREFIX.findall(body), *_KEY.findall(body))})
