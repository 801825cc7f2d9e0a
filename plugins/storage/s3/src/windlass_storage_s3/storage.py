"""The storage scheme: S3 behind the interface of `windlass.storage`."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, BinaryIO, cast

from windlass.errors import (
    AccessError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from windlass.plugins.types import Context
from windlass.storage import ObjectInfo, ObjectRef, SignedPut, Storage
from windlass.transfer import RangeStream, Source, again, put_once
from windlass_storage_s3.addresses import Address, is_plain, parse
from windlass_storage_s3.client import Clients
from windlass_storage_s3.config import S3Config
from windlass_storage_s3.errors import CREDENTIALS_HINT, code_of, from_answer, translated
from windlass_storage_s3.listing import keeps_versions, list_objects
from windlass_storage_s3.presigning import signed_put, verifies_checksums
from windlass_storage_s3.reading import Reading, compare, head
from windlass_storage_s3.upload import abort_stale, upload

__all__ = ["S3Storage"]

_DELETE_BATCH = 1000
_ONE_READ = 8 << 20  # this much is read into memory at once, which is faster than a stream


class S3Storage(Storage):
    """Objects of S3 and of stores that speak its protocol."""

    def __init__(self, config: S3Config, context: Context) -> None:
        self._config, self._context = config, context
        self._clients = Clients(config, context)
        self._journals = context.settings.home / "uploads" / "s3"
        self._versioned: dict[str, bool] = {}
        self._verifies: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._swept = False

    # -- reading ----------------------------------------------------------------------------------------------

    def stat(self, uri: str) -> ObjectInfo:
        """See `Storage.stat`."""
        where = parse(uri)
        if not where.key or where.key.endswith("/"):
            raise ObjectNotFoundError("a folder is not an object", where=uri)
        return head(self._clients, where)

    def exists(self, uri: str) -> bool:
        """See `Storage.exists`."""
        where = parse(uri)
        if not where.key or where.version or not is_plain(where.key):
            return super().exists(uri)
        import obstore

        try:
            with translated(uri):
                obstore.head(self._clients.store(where.bucket), where.key)
        except ObjectNotFoundError as error:
            if error.context.get("code") == "NoSuchBucket":
                raise
            return False
        except (AccessError, StorageError) as error:
            if error.context.get("status") in (400, 403) and not error.context.get("code"):
                head(self._clients, where)  # finds out why
            raise
        return True

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        where = parse(prefix)
        return list_objects(self._clients, where, self._keeps_versions(where))

    def _keeps_versions(self, where: Address) -> bool:
        with self._lock:
            known = self._versioned.get(where.bucket)
        if known is None:
            known = self._ask_versions(where)
            with self._lock:
                self._versioned[where.bucket] = known
        return known

    def _ask_versions(self, where: Address) -> bool:
        try:
            return keeps_versions(self._clients, where)
        except ObjectNotFoundError:
            raise
        except (AccessError, StorageError) as error:
            if error.retryable:
                raise
            # Not allowed to ask, or a store without versions: ETags are recorded, which is enough to see changes.
            self._context.logger.debug("no version ids from s3://%s: %s", where.bucket, error.message)
            return False

    def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
        """See `Storage.open`."""
        where = parse(ref.uri)
        version = ref.version or where.version
        if length == 0 or (0 <= ref.size <= start):
            info = head(self._clients, Address(where.scheme, where.bucket, where.key, version))
            compare(ref, info)
            return cast(BinaryIO, RangeStream(lambda _: iter(()), size=0))
        reading = Reading(self._clients, where, ref, version)
        size = length
        if ref.size >= 0:
            size = ref.size - start if length < 0 else min(length, ref.size - start)
        part = self._config.part_size
        if 0 <= size <= _ONE_READ:
            held = again(partial(reading.piece, start, start + size))
            return cast(BinaryIO, RangeStream(lambda _: iter((held,)), size=len(held)))
        if size > 2 * part:
            fetch = partial(reading.side_by_side, end=start + size, part=part, width=min(4, self._config.workers))
        else:
            fetch = partial(reading.fetch, end=start + size if size >= 0 else -1)
        return cast(BinaryIO, RangeStream(fetch, start=start, size=size if ref.size >= 0 else -1, name=ref.uri))

    # -- writing ----------------------------------------------------------------------------------------------

    def put(self, uri: str, source: str | bytes | memoryview, *, if_absent: bool = True) -> ObjectInfo:
        """See `Storage.put`."""
        where = parse(uri)
        if not where.key or where.key.endswith("/") or where.version:
            raise UsageError("this names no object", where=uri, hint="Write s3://bucket/key.")
        with Source(source) as opened:
            small = opened.size <= 2 * self._config.part_size
            send = self._put_whole if small else self._put_parts
            return put_once(
                partial(send, where, opened, if_absent),
                partial(head, self._clients, where),
                if_absent=if_absent,
                look_first=not small or not self._config.conditional_put,
            )

    def _put_whole(self, where: Address, source: Source, if_absent: bool) -> ObjectInfo:
        conditional = if_absent and self._config.conditional_put
        if is_plain(where.key):
            import obstore
            from obstore.exceptions import AlreadyExistsError

            with translated(where.uri(where.key)):
                try:
                    answer: Any = obstore.put(
                        self._clients.store(where.bucket),
                        where.key,
                        source.whole(),
                        mode="create" if conditional else "overwrite",
                        use_multipart=False,
                    )
                except AlreadyExistsError:
                    raise ObjectChangedError("it exists already", where=where.uri(where.key)) from None
            return _stored(where, source.size, answer.get("e_tag"), answer.get("version"))
        extra: dict[str, Any] = {"IfNoneMatch": "*"} if conditional else {}
        if self._config.checksum != "none":
            extra["ChecksumAlgorithm"] = "SHA256"
        if self._config.server_side_encryption:
            extra["ServerSideEncryption"] = self._config.server_side_encryption
        if self._config.kms_key_id:
            extra["SSEKMSKeyId"] = self._config.kms_key_id
        with translated(where.uri(where.key)):
            answer = self._clients.boto(where.bucket).put_object(
                Bucket=where.bucket, Key=where.key, Body=source.read(), **extra
            )
        return _stored(where, source.size, answer.get("ETag"), answer.get("VersionId"))

    def _put_parts(self, where: Address, source: Source, if_absent: bool) -> ObjectInfo:
        with self._lock:
            sweep, self._swept = not self._swept, True
        if sweep:
            abort_stale(self._clients, self._journals)
        answer = upload(self._clients, self._config, self._journals, where, source, if_absent=if_absent)
        return _stored(where, source.size, answer.get("ETag"), answer.get("VersionId"))

    def delete(self, uris: Sequence[str]) -> None:
        """See `Storage.delete`."""
        buckets: dict[str, builtins.list[str]] = {}
        for uri in uris:
            where = parse(uri)
            buckets.setdefault(where.bucket, []).append(where.key)
        batches = [
            (bucket, keys[start : start + _DELETE_BATCH])
            for bucket, keys in buckets.items()
            for start in range(0, len(keys), _DELETE_BATCH)
        ]
        with ThreadPoolExecutor(self._config.workers, thread_name_prefix="delete") as pool:
            for _ in pool.map(self._delete_batch, batches):
                pass

    def _delete_batch(self, batch: tuple[str, builtins.list[str]]) -> None:
        bucket, keys = batch
        with translated(f"s3://{bucket}"):
            answer = self._clients.boto(bucket).delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        failed = [e for e in answer.get("Errors", ()) if e.get("Code") != "NoSuchKey"]
        if failed:
            first = failed[0]
            raise from_answer(0, first.get("Code", ""), first.get("Message", ""), f"s3://{bucket}/{first.get('Key')}")

    # -- the rest ---------------------------------------------------------------------------------------------

    def presign(self, uri: str, method: str, expires: float) -> str:
        """See `Storage.presign`."""
        operation = {"GET": "get_object", "PUT": "put_object"}.get(method.upper())
        if operation is None:
            raise UnsupportedError(f"URLs can be made for GET and PUT, not for {method}", where=uri)
        if self._clients.anonymous:
            raise AccessError("without credentials no URL can be signed", where=uri, hint=CREDENTIALS_HINT)
        where = parse(uri)
        parameters = {"Bucket": where.bucket, "Key": where.key}
        if where.version and operation == "get_object":
            parameters["VersionId"] = where.version
        with translated(uri):
            url = self._clients.boto(where.bucket).generate_presigned_url(
                operation, Params=parameters, ExpiresIn=max(1, int(expires))
            )
        return str(url)

    def presign_put(self, uri: str, digest: str, size: int, expires: float) -> SignedPut:
        """See `Storage.presign_put`. For SHA-256, by stores that verify ``x-amz-checksum-sha256`` (they are tried)."""
        algorithm, _, value = digest.partition(":")
        config = self._config
        if algorithm != "sha256" or config.checksum == "none" or not config.conditional_put or self._clients.anonymous:
            raise UnsupportedError(f"the store does not verify {algorithm} by itself", where=uri)
        where = parse(uri)
        with self._lock:
            verifies = self._verifies.get(where.bucket)
        if verifies is None:
            verifies = verifies_checksums(self._clients, where)
            with self._lock:
                self._verifies[where.bucket] = verifies
        if not verifies:
            raise UnsupportedError("the store takes bytes that are not what their checksum says", where=uri)
        return signed_put(self._clients, config, where, bytes.fromhex(value), size, expires)

    def check(self) -> None:
        """See `Storage.check`."""
        if self._clients.anonymous:
            return
        try:
            with translated(self._clients.endpoint or "s3://"):
                self._clients.boto().list_buckets()
        except AccessError as error:
            if code_of(error) != "AccessDenied":  # known to the store, but may not list all buckets: fine
                raise

    def close(self) -> None:
        """See `Storage.close`."""
        self._clients.close()


def _stored(where: Address, size: int, etag: str | None, version: str | None) -> ObjectInfo:
    return ObjectInfo(
        uri=where.uri(where.key),
        size=size,
        etag=(etag or "").strip('"'),
        version="" if version in (None, "null") else str(version),
    )
