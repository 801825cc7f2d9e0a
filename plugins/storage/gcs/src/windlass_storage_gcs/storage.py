"""The storage scheme: Google Cloud Storage behind the interface of `windlass.storage`."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import BinaryIO, cast

from attrs import frozen

from windlass.errors import (
    AccessError,
    ObjectNotFoundError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from windlass.plugins.types import Context
from windlass.storage import ObjectInfo, ObjectRef, Storage
from windlass.transfer import Chunk, Page, RangeStream, Source, ahead, changed, list_ranges, put_once
from windlass_storage_gcs.client import CREDENTIALS_HINT, Client, object_path
from windlass_storage_gcs.config import GcsConfig
from windlass_storage_gcs.resources import FIELDS, Listing, Resource, listing_of, resource_of
from windlass_storage_gcs.upload import put_resumable, put_whole

__all__ = ["GcsStorage"]

_URI = re.compile(r"(gs|gcs)://([^/?#]+)(?:/(.*?))?(?:#(\d+))?", re.DOTALL)
_CHUNK = 1 << 20


@frozen
class Address:
    """Where an object is; the name is taken literally."""

    scheme: str
    bucket: str
    name: str
    generation: str = ""

    @property
    def folder(self) -> str:
        """The name as a prefix that ends in ``/``, or empty for the whole bucket."""
        return self.name if not self.name or self.name.endswith("/") else f"{self.name}/"

    def uri(self, name: str) -> str:
        """Address of another object of the bucket."""
        return f"{self.scheme}://{self.bucket}/{name}"


def parse(uri: str) -> Address:
    """Take an address apart; ``#<generation>`` at its end names a version. Raises `UsageError`."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise UsageError("not an address of Google Cloud Storage", where=uri, hint="Write gs://bucket/name.")
    return Address(match[1], match[2], match[3] or "", match[4] or "")


def _info(where: Address, found: Resource) -> ObjectInfo:
    return ObjectInfo(
        uri=where.uri(found.name),
        size=int(found.size),
        etag=found.etag.strip('"'),
        version=found.generation,
        checksum=found.checksum,
        mtime=datetime.fromisoformat(found.updated).timestamp() if found.updated else 0.0,
    )


class GcsStorage(Storage):
    """Objects of Google Cloud Storage. A version is a generation; every object has one."""

    def __init__(self, config: GcsConfig, context: Context) -> None:
        self._config = config
        self._client = Client(config, context)
        self._journals = context.settings.home / "uploads" / "gcs"

    # -- reading ----------------------------------------------------------------------------------------------

    def stat(self, uri: str) -> ObjectInfo:
        """See `Storage.stat`."""
        where = parse(uri)
        if not where.name or where.name.endswith("/"):
            raise ObjectNotFoundError("a folder is not an object", where=uri)
        return self._stat(where)

    def _stat(self, where: Address) -> ObjectInfo:
        query = {"fields": FIELDS, "generation": where.generation}
        path = object_path(where.bucket, where.name)
        answer = self._client.request("GET", path, query, where=where.uri(where.name))
        return _info(where, resource_of(answer.data))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        where = parse(prefix)
        return list_ranges(partial(self._page, where), partial(self._names, where), folder=where.folder)

    def _listing(self, where: Address, query: dict[str, str]) -> Listing:
        path = object_path(where.bucket, "").removesuffix("/")
        answer = self._client.request("GET", path, query, where=where.uri(where.folder))
        return listing_of(answer.data)

    def _page(self, where: Address, after: str, token: str, upto: str) -> Page[ObjectInfo]:
        query = {
            "prefix": where.folder,
            "startOffset": after,  # that key, too, and with the last one
            "endOffset": upto,  # the keys before it, so nothing comes twice
            "pageToken": token,
            "fields": f"items({FIELDS}),nextPageToken",
        }
        found = self._listing(where, query)
        kept = [item for item in found.items if not item.name.endswith("/")]
        return Page(
            keys=[item.name for item in kept],
            items=[_info(where, item) for item in kept],
            last=found.items[-1].name if found.items else "",
            token=found.token,
        )

    def _names(self, where: Address, folder: str, after: str) -> builtins.list[str]:
        fields = "items(name),prefixes,nextPageToken"
        query = {"prefix": folder, "delimiter": "/", "startOffset": after, "fields": fields}
        found = self._listing(where, query)
        return sorted({*found.prefixes, *(item.name for item in found.items)})

    def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
        """See `Storage.open`."""
        where = parse(ref.uri)
        version = ref.version or where.generation
        if not version or length == 0 or (0 <= ref.size <= start):
            now = self._stat(Address(where.scheme, where.bucket, where.name, version))
            if ref.etag and not version and now.etag != ref.etag:
                raise changed(ref, "ETag", ref.etag, now.etag)
            if ref.size not in (-1, now.size):
                raise changed(ref, "size", str(ref.size), str(now.size))
            version, ref = now.version, now.ref
        elif ref.size < 0:
            ref = self._stat(Address(where.scheme, where.bucket, where.name, version)).ref
        size = max(0, ref.size - start if length < 0 else min(length, ref.size - start))
        part = self._config.chunk_size
        if size > 2 * part:
            get = partial(self._range, where, ref, version)
            fetch = partial(_side_by_side, get, start + size, part, min(4, self._config.workers))
        else:
            fetch = partial(self._fetch, where, ref, version, start + size)
        return cast(BinaryIO, RangeStream(fetch, start=start, size=size, name=ref.uri))

    def _fetch(self, where: Address, ref: ObjectRef, version: str, end: int, start: int) -> Iterator[Chunk]:
        import urllib3

        headers = {"Accept-Encoding": "identity"}
        if start or end < ref.size:
            headers["Range"] = f"bytes={start}-{end - 1}"
        path, query = object_path(where.bucket, where.name), {"alt": "media", "generation": version}
        try:
            answer = self._client.request("GET", path, query, where=ref.uri, headers=headers, stream=True)
        except ObjectNotFoundError:
            try:
                now = self._stat(Address(where.scheme, where.bucket, where.name))
            except ObjectNotFoundError:
                raise ObjectNotFoundError("there is no such object", where=ref.uri) from None
            raise changed(ref, "generation", version, now.version) from None
        total = int(answer.headers.get("x-goog-stored-content-length") or ref.size)
        if total != ref.size:
            answer.release_conn()
            raise changed(ref, "size", str(ref.size), str(total))

        def chunks() -> Iterator[bytes]:
            try:
                yield from answer.stream(_CHUNK, decode_content=False)
                answer.release_conn()
            except urllib3.exceptions.HTTPError as error:
                raise StorageError(f"the connection broke: {error}", where=ref.uri, retryable=True) from error
            finally:
                answer.close()

        return chunks()

    def _range(self, where: Address, ref: ObjectRef, version: str, start: int, end: int) -> bytes:
        fetch = partial(self._fetch, where, ref, version, end)
        return RangeStream(fetch, start=start, size=end - start, name=ref.uri).read()

    # -- writing ----------------------------------------------------------------------------------------------

    def put(self, uri: str, source: str | bytes | memoryview, *, if_absent: bool = True) -> ObjectInfo:
        """See `Storage.put`."""
        where = parse(uri)
        if not where.name or where.name.endswith("/") or where.generation:
            raise UsageError("this names no object", where=uri, hint="Write gs://bucket/name.")
        with Source(source) as opened:
            small = opened.size <= 2 * self._config.chunk_size
            return put_once(
                partial(self._send, where, opened, small, if_absent),
                partial(self._stat, where),
                if_absent=if_absent,
                look_first=not small,
            )

    def _send(self, where: Address, source: Source, small: bool, if_absent: bool) -> ObjectInfo:
        client, chunk = self._client, self._config.chunk_size
        if small:
            return _info(where, put_whole(client, where.bucket, where.name, source, if_absent=if_absent))
        found = put_resumable(client, self._journals, where.bucket, where.name, source, chunk, if_absent=if_absent)
        return _info(where, found)

    def delete(self, uris: Sequence[str]) -> None:
        """See `Storage.delete`."""
        with ThreadPoolExecutor(self._config.workers, thread_name_prefix="delete") as pool:
            for _ in pool.map(self._delete, uris):
                pass

    def _delete(self, uri: str) -> None:
        where = parse(uri)
        query = {"generation": where.generation}
        path = object_path(where.bucket, where.name)
        self._client.request("DELETE", path, query, where=uri, good=(200, 204, 404))

    # -- the rest ---------------------------------------------------------------------------------------------

    def presign(self, uri: str, method: str, expires: float) -> str:
        """See `Storage.presign`. Needs credentials that can sign: a service account key or impersonation."""
        from windlass_storage_gcs.signing import signed_url

        if method.upper() not in ("GET", "PUT"):
            raise UnsupportedError(f"URLs can be made for GET and PUT, not for {method}", where=uri)
        where = parse(uri)
        return signed_url(
            self._client, where.bucket, where.name, method.upper(), int(expires), generation=where.generation
        )

    def check(self) -> None:
        """See `Storage.check`."""
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.urllib3 import Request

        credentials = self._client.credentials()
        if isinstance(credentials, AnonymousCredentials):
            return
        try:
            credentials.refresh(Request(self._client.pool()))
        except GoogleAuthError as error:
            raise AccessError(str(error).partition("\n")[0], where="gs://", hint=CREDENTIALS_HINT) from error

    def close(self) -> None:
        """See `Storage.close`."""
        self._client.close()


def _side_by_side(get: Callable[[int, int], bytes], end: int, part: int, width: int, start: int) -> Iterator[Chunk]:
    return ahead(get, start, end, part=part, width=width)
