"""What the answers of web servers say of a file: its size, what tells it from others, and why there is none."""

from __future__ import annotations

import contextlib
import posixpath
import re
import zlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from windlass.errors import AccessError, ObjectNotFoundError, StorageError, UnsupportedError, WindlassError
from windlass.storage import ObjectInfo, ObjectRef
from windlass.transfer import changed

if TYPE_CHECKING:
    import httpx2

__all__ = ["check_page", "compare", "decoded", "failure", "first_byte", "info_of", "is_encoded", "same_etag", "total"]

_PAGE = ("text/html", "application/xhtml+xml")
_PAGES = (".html", ".htm", ".xhtml", ".php", ".asp", ".aspx", ".jsp")
_MODIFIED = "W/modified-"
"""Begins what stands for the ETag of a server that tells only when a file was modified."""


def is_encoded(answer: httpx2.Response) -> bool:
    """Whether the body is compressed although that was not asked for. What is named so is meant to be."""
    encoding: str = answer.headers.get("content-encoding", "identity").strip().lower()
    return encoding != "identity" and not answer.url.path.endswith((".gz", ".tgz", ".Z", ".br", ".zst"))


def decoded(answer: httpx2.Response, uri: str) -> Iterator[bytes]:
    """The content of the file: the body, uncompressed where it is compressed on its way."""
    if not is_encoded(answer):
        yield from answer.iter_raw()
        return
    encoding = answer.headers["content-encoding"].strip().lower()
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnsupportedError(
            f"the server sends it with Content-Encoding: {encoding}, though it is asked for plain bytes",
            where=uri,
            hint="Have the server send 'identity' or 'gzip', or refer to a copy elsewhere.",
        )
    inflating = zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        for chunk in answer.iter_raw():
            yield inflating.decompress(chunk)
            while inflating.eof and inflating.unused_data:  # several members, one behind the other
                rest, inflating = inflating.unused_data, zlib.decompressobj(32 + zlib.MAX_WBITS)
                yield inflating.decompress(rest)
    except zlib.error as error:
        raise StorageError(
            f"it is not {encoding}, as its Content-Encoding says: {error}", where=uri, hint="Correct the server."
        ) from error
    if not inflating.eof:
        raise StorageError("the compressed bytes end too early", where=uri, hint="Try again later.", retryable=True)


def total(answer: httpx2.Response) -> int:
    """The size of the whole file; -1 where it is not told."""
    if is_encoded(answer):
        return -1
    found = re.fullmatch(r"bytes\s+(?:\d+-\d+|\*)/(\d+)", answer.headers.get("content-range", "").strip())
    if found:
        return int(found[1])
    if answer.status_code == 206:
        return -1
    length = answer.headers.get("content-length", "")
    return int(length) if length.isdigit() else -1


def first_byte(answer: httpx2.Response) -> int:
    """Where the range of an answer begins; -1 where it does not say."""
    found = re.match(r"bytes\s+(\d+)-", answer.headers.get("content-range", "").strip())
    return int(found[1]) if found else -1


def info_of(uri: str, answer: httpx2.Response) -> ObjectInfo:
    """What an answer tells of a file."""
    etag = answer.headers.get("etag", "").strip()
    weak = etag.startswith("W/")
    etag = etag.removeprefix("W/").strip('"')
    mtime = _time(answer, "last-modified")
    if weak:
        etag = f"W/{etag}"
    elif not etag and mtime and mtime != _time(answer, "date"):  # that of a page that is made now is always new
        etag = _modified(mtime)
    return ObjectInfo(uri=uri, size=total(answer), etag=etag, mtime=mtime)


def _time(answer: httpx2.Response, header: str) -> float:
    with contextlib.suppress(ValueError, TypeError):
        return parsedate_to_datetime(answer.headers.get(header, "")).timestamp()
    return 0.0


def _modified(mtime: float) -> str:
    return f"{_MODIFIED}{int(mtime)}"


def same_etag(etag: str, info: ObjectInfo) -> bool:
    """Whether a file is the one that was recorded with an ETag; some servers tell one to GET and none to HEAD."""
    return etag == (_modified(info.mtime) if etag.startswith(_MODIFIED) and info.mtime else info.etag)


def compare(ref: ObjectRef, info: ObjectInfo) -> None:
    """Raise `ObjectChangedError` when `info` is not what `ref` recorded, as far as the server tells."""
    if ref.size >= 0 and info.size >= 0 and info.size != ref.size:
        raise changed(ref, "size", str(ref.size), str(info.size))
    if ref.etag and info.etag and not same_etag(ref.etag, info):
        raise changed(ref, "ETag", ref.etag, info.etag)


def check_page(answer: httpx2.Response, uri: str) -> None:
    """Raise `AccessError` when a redirect has led from a file to a web page: that of a sign-in says 200, too."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted, found = (posixpath.splitext(path)[1].lower() for path in (urlsplit(uri).path, answer.url.path))
    if not answer.is_success or kind not in _PAGE or not wanted or wanted in (found, *_PAGES):
        return
    url = f"{answer.url.scheme}://{answer.url.netloc.decode()}{answer.url.path}"  # what follows may be a secret
    raise AccessError(
        f"it is no {wanted} file that it redirects to, but a web page: {url}",
        where=uri,
        hint=f"If it asks to sign in: {_sign_in(uri)} Else refer to the file's own address.",
        context={"status": answer.status_code},
    )


def _sign_in(uri: str) -> str:
    return (
        "Give headers that the host takes in WINDLASS_HOME/storage.yaml: "
        f"http: {{hosts: {{{urlsplit(uri).hostname}: {{headers: {{Authorization: {{secret: env/…}}}}}}}}}}."
    )


def failure(answer: httpx2.Response, uri: str) -> WindlassError:
    """The error for an answer that is no success."""
    status = answer.status_code
    facts: dict[str, Any] = {"status": status}
    folder = answer.url.path.endswith("/") and not (urlsplit(uri).path or "/").endswith("/")
    if status == 403 and folder:  # the server led us into a directory, which it does not show
        return ObjectNotFoundError(
            "a folder is not a file", where=uri, hint="Name every file by its own address.", context=facts
        )
    text = f"the server answered {status}"
    if status in (404, 410):
        hint = "It was removed for good; refer to a copy." if status == 410 else "Check the address."
        return ObjectNotFoundError("there is no such file", where=uri, hint=hint, context=facts)
    if status in (401, 403, 407):
        return AccessError(text, where=uri, hint=_sign_in(uri), context=facts)
    later = status >= 500 or status in (408, 425, 429)
    wait = answer.headers.get("retry-after", "").strip()
    if later and wait.isdigit():
        facts["retry_after"] = int(wait)
        return StorageError(
            f"{text}, to be asked again in {wait} s", where=uri, hint="Try again then.", context=facts, retryable=True
        )
    hint = "Try again later; if it stays so, ask who runs the server." if later else "Check the address."
    return StorageError(text, where=uri, hint=hint, context=facts, retryable=later)
