"""The storage scheme: Azure Blob Storage behind the interface of `windlass.storage`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, BinaryIO, cast

from windlass.errors import (
    AccessError,
    ObjectChangedError,
    ObjectNotFoundError,
    UnsupportedError,
    UsageError,
    WindlassError,
)
from windlass.plugins.types import Context
from windlass.storage import ObjectInfo, ObjectRef, Storage
from windlass.transfer import RangeStream, Source, ahead, changed, put_once
from windlass_storage_azure.addresses import Address, parse
from windlass_storage_azure.client import Clients
from windlass_storage_azure.config import AzureConfig
from windlass_storage_azure.errors import CREDENTIALS_HINT, translated
from windlass_storage_azure.upload import put_blocks, put_whole

__all__ = ["AzureStorage"]

_PAGE = 5000
_FOLDER = "hdi_isfolder"


class AzureStorage(Storage):
    """Blobs of Azure storage accounts."""

    def __init__(self, config: AzureConfig, context: Context) -> None:
        self._config = config
        self._clients = Clients(config, context)
        self._versioned: dict[str, bool] = {}
        self._lock = threading.Lock()

    # -- reading ----------------------------------------------------------------------------------------------

    def stat(self, uri: str) -> ObjectInfo:
        """See `Storage.stat`."""
        where = parse(uri)
        if not where.name or where.name.endswith("/"):
            raise ObjectNotFoundError("a folder is not a blob", where=uri)
        return self._stat(where)

    def _stat(self, where: Address) -> ObjectInfo:
        with translated(where.uri(where.name)):
            found = self._clients.blob(where, where.version).get_blob_properties()
        if (found.metadata or {}).get(_FOLDER) == "true":
            raise ObjectNotFoundError("a folder is not a blob", where=where.uri(where.name))
        with self._lock:
            self._versioned[where.root] = bool(found.version_id)
        return _info(where, found)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        where = parse(prefix)
        include = ["metadata"]
        with translated(where.uri(where.folder)):
            if self._keeps_versions(where):
                include.append("versions")
            for found in self._clients.container(where).list_blobs(
                name_starts_with=where.folder or None, include=include, results_per_page=_PAGE
            ):
                old = "versions" in include and not found.is_current_version
                marker = found.name.endswith("/") or (found.metadata or {}).get(_FOLDER) == "true"
                if not old and not marker:
                    yield _info(where, found)

    def _keeps_versions(self, where: Address) -> bool:
        with self._lock:
            known = self._versioned.get(where.root)
        if known is None:
            first = next(iter(self._clients.container(where).list_blobs(results_per_page=1)), None)
            if first is None:
                return False
            known = bool(self._clients.blob(Address(where.root, where.account, where.container, first.name))
                         .get_blob_properties().version_id)  # fmt: skip
            with self._lock:
                self._versioned[where.root] = known
        return known

    def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
        """See `Storage.open`."""
        where = parse(ref.uri)
        version = ref.version or where.version
        known = ref
        if ref.size < 0 or length == 0 or start >= ref.size:
            known = self._stat(
                Address(where.root, where.account, where.container, where.name, version, where.quoted)
            ).ref
            if ref.size not in (-1, known.size):
                raise changed(ref, "size", str(ref.size), str(known.size))
            if ref.etag and known.etag != ref.etag and not version:
                raise changed(ref, "ETag", ref.etag, known.etag)
        size = max(0, known.size - start if length < 0 else min(length, known.size - start))
        part = self._config.block_size
        fetch = partial(self._fetch, where, known, version, start + size)
        if size > 2 * part:
            get = partial(self._range, where, known, version)
            width = min(4, self._config.workers)
            return cast(
                BinaryIO,
                RangeStream(
                    lambda at: ahead(get, at, start + size, part=part, width=width),
                    start=start, size=size, name=ref.uri,
                ),
            )  # fmt: skip
        return cast(BinaryIO, RangeStream(fetch, start=start, size=size, name=ref.uri))

    def _fetch(self, where: Address, ref: ObjectRef, version: str, end: int, start: int) -> Iterator[bytes]:
        from azure.core import MatchConditions

        extra: dict[str, Any] = {}
        if ref.etag and not version:
            extra = {"etag": f'"{ref.etag}"', "match_condition": MatchConditions.IfNotModified}
        try:
            with translated(ref.uri):
                answer = self._clients.blob(where, version).download_blob(
                    offset=start, length=end - start, max_concurrency=1, **extra
                )
        except ObjectChangedError:
            try:
                now = self._stat(where).etag
            except ObjectNotFoundError:  # a condition on a blob that is gone is answered like one that changed
                raise
            except WindlassError:
                now = "another one"
            raise changed(ref, "ETag", ref.etag, now) from None
        counted = str(answer.properties.content_range or "").rpartition("/")[2]  # bytes 0-9/100
        total = int(counted) if counted.isdigit() else ref.size
        if total != ref.size:
            raise changed(ref, "size", str(ref.size), str(total))
        return _chunks(answer, ref.uri)

    def _range(self, where: Address, ref: ObjectRef, version: str, start: int, end: int) -> bytes:
        return b"".join(self._fetch(where, ref, version, end, start))

    # -- writing ----------------------------------------------------------------------------------------------

    def put(self, uri: str, source: str | bytes | memoryview, *, if_absent: bool = True) -> ObjectInfo:
        """See `Storage.put`."""
        where = parse(uri)
        if not where.name or where.name.endswith("/") or where.version:
            raise UsageError("this names no blob", where=uri, hint="Write az://container/blob.")
        with Source(source) as opened:
            small = opened.size <= 2 * self._config.block_size
            return put_once(
                partial(self._send, where, opened, put_whole if small else put_blocks, if_absent),
                partial(self._stat, where),
                if_absent=if_absent,
                look_first=not small,
            )

    def _send(self, where: Address, source: Source, send: Callable[..., dict[str, Any]], if_absent: bool) -> ObjectInfo:
        uri = where.uri(where.name)
        found = send(self._clients.blob(where), self._config, source, uri, if_absent=if_absent)
        return ObjectInfo(
            uri=uri,
            size=source.size,
            etag=str(found.get("etag") or "").strip('"'),
            version=str(found.get("version_id") or ""),
            checksum=found["checksum"],
            mtime=found["last_modified"].timestamp() if found.get("last_modified") else 0.0,
        )

    def delete(self, uris: Sequence[str]) -> None:
        """See `Storage.delete`."""
        with ThreadPoolExecutor(self._config.workers, thread_name_prefix="delete") as pool:
            for _ in pool.map(self._delete, uris):
                pass

    def _delete(self, uri: str) -> None:
        where = parse(uri)
        try:
            with translated(uri):
                self._clients.blob(where, where.version).delete_blob(
                    delete_snapshots=None if where.version else "include"
                )
        except ObjectNotFoundError:
            pass

    # -- the rest ---------------------------------------------------------------------------------------------

    def presign(self, uri: str, method: str, expires: float) -> str:
        """See `Storage.presign`."""
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        if method.upper() not in ("GET", "PUT"):
            raise UnsupportedError(f"URLs can be made for GET and PUT, not for {method}", where=uri)
        where = parse(uri)
        with translated(uri):
            service, blob = self._clients.service(where.account), self._clients.blob(where, where.version)
            now = datetime.now(UTC)
            end = now + timedelta(seconds=max(1.0, expires))
            key = getattr(service.credential, "account_key", None)
            signer: dict[str, Any] = {"account_key": key}
            if key is None:
                if service.credential is None or not hasattr(service.credential, "get_token"):
                    raise AccessError("these credentials cannot sign URLs", where=uri, hint=CREDENTIALS_HINT)
                start = now - timedelta(minutes=5)
                signer = {"user_delegation_key": service.get_user_delegation_key(start, end)}
            sas = generate_blob_sas(
                service.account_name,
                where.container,
                where.name,
                version_id=where.version or None,
                permission=BlobSasPermissions(read=method.upper() == "GET", create=method.upper() == "PUT"),
                expiry=end,
                **signer,
            )
        return f"{blob.url}{'&' if '?' in blob.url else '?'}{sas}"

    def check(self) -> None:
        """See `Storage.check`."""
        if self._config.anonymous:
            return
        with translated("az://"):
            service = self._clients.service("")
            if hasattr(service.credential, "get_token"):
                service.credential.get_token("https://storage.azure.com/.default")
            else:
                next(iter(service.list_containers(results_per_page=1)), None)

    def close(self) -> None:
        """See `Storage.close`."""
        self._clients.close()


def _info(where: Address, found: Any) -> ObjectInfo:
    md5 = found.content_settings.content_md5
    return ObjectInfo(
        uri=where.uri(found.name),
        size=int(found.size),
        etag=str(found.etag or "").strip('"'),
        version=str(found.version_id or ""),
        checksum=f"md5:{bytes(md5).hex()}" if md5 else "",
        mtime=found.last_modified.timestamp() if found.last_modified else 0.0,
    )


def _chunks(answer: Any, uri: str) -> Iterator[bytes]:
    with translated(uri):
        yield from answer.chunks()
