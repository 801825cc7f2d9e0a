"""Uploads in parts: side by side, each verified by the store, continued after a kill."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windlass.errors import ObjectNotFoundError, WindlassError
from windlass.transfer import Journal, Source, send_parts, stale_uploads
from windlass_storage_s3.addresses import Address, parse
from windlass_storage_s3.client import Clients
from windlass_storage_s3.config import S3Config
from windlass_storage_s3.errors import translated

__all__ = ["abort_stale", "part_size_for", "upload"]

_MOST_PARTS = 9_000  # S3 takes 10,000
_STEP = 1 << 20
MAX_AGE = 6 * 86400.0
"""Seconds after which an upload is not continued; buckets often abort theirs after 7 days."""


def part_size_for(size: int, least: int) -> int:
    """Bytes in one part of a file: at least `least`, more when there would be too many parts."""
    needed = -(-size // _MOST_PARTS)
    return max(least, -(-needed // _STEP) * _STEP)


def upload(
    clients: Clients, config: S3Config, folder: Path, where: Address, source: Source, *, if_absent: bool
) -> dict[str, Any]:
    """Send a file in parts; the answer of the store to its completion.

    Raises:
        ObjectChangedError: With `if_absent`: somebody else stored it meanwhile.
        StorageError, AccessError: It failed; a retryable failure can be continued.
    """
    client = clients.boto(where.bucket)
    target = {"Bucket": where.bucket, "Key": where.key}
    uri = where.uri(where.key)
    size = part_size_for(source.size, config.part_size)
    sums = config.checksum != "none"

    def send(number: int, data: bytes, crc: int) -> Mapping[str, Any]:
        value = base64.b64encode(crc.to_bytes(4, "big")).decode()
        extra = {"ChecksumCRC32": value} if sums else {}
        with translated(uri):
            answer = client.upload_part(**target, UploadId=journal.upload, PartNumber=number, Body=data, **extra)
        return {"PartNumber": number, "ETag": answer["ETag"], **extra}

    with Journal(folder, uri, clients.place) as journal:
        if not (journal.fits(source.size, size, MAX_AGE) and _confirmed(client, target, journal)):
            _abort(client, target, journal.upload)
            _begin(client, target, config, journal, source.size, size)
        try:
            parts = send_parts(source, size, send, journal, workers=config.workers)
            answer = _complete(client, target, journal.upload, parts, config, if_absent=if_absent)
        except WindlassError as error:
            # What cannot be aborted, because the session has expired, can be continued with the next one.
            if not error.retryable and _abort(client, target, journal.upload):
                journal.forget()
            raise
        journal.forget()
        return answer


def _confirmed(client: Any, target: dict[str, str], journal: Journal) -> bool:
    """Compare the journal with what the store has; False when it dropped the upload."""
    stored: dict[int, str] = {}
    try:
        with translated(f"s3://{target['Bucket']}/{target['Key']}"):
            for page in client.get_paginator("list_parts").paginate(**target, UploadId=journal.upload):
                stored |= {part["PartNumber"]: part["ETag"] for part in page.get("Parts", ())}
    except ObjectNotFoundError:
        return False
    journal.keep(lambda number, facts: stored.get(number) == facts["ETag"])
    return True


def _begin(client: Any, target: dict[str, str], config: S3Config, journal: Journal, size: int, part_size: int) -> None:
    extra: dict[str, Any] = {}
    if config.checksum != "none":
        extra = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}
    if config.server_side_encryption:
        extra["ServerSideEncryption"] = config.server_side_encryption
    if config.kms_key_id:
        extra["SSEKMSKeyId"] = config.kms_key_id
    with translated(f"s3://{target['Bucket']}/{target['Key']}"):
        answer = client.create_multipart_upload(**target, **extra)
    journal.begin(answer["UploadId"], size, part_size)


def _complete(
    client: Any,
    target: dict[str, str],
    upload_id: str,
    parts: list[Mapping[str, Any]],
    config: S3Config,
    *,
    if_absent: bool,
) -> dict[str, Any]:
    extra: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent and config.conditional_put else {}
    if config.checksum != "none":
        extra["ChecksumType"] = "FULL_OBJECT"
    with translated(f"s3://{target['Bucket']}/{target['Key']}"):
        answer: dict[str, Any] = client.complete_multipart_upload(
            **target, UploadId=upload_id, MultipartUpload={"Parts": parts}, **extra
        )
    return answer


def _abort(client: Any, target: dict[str, str], upload_id: str) -> bool:
    """False when the store did not do it; what remains is swept later, or by the bucket's own rule."""
    if not upload_id:
        return True
    try:
        with translated(f"s3://{target['Bucket']}/{target['Key']}"):
            client.abort_multipart_upload(**target, UploadId=upload_id)
    except ObjectNotFoundError:
        return True
    except WindlassError:
        return False
    return True


def abort_stale(clients: Clients, folder: Path) -> None:
    """Abort uploads that this machine began to this store and never came back to."""
    for uri, place, upload_id, path in stale_uploads(folder, MAX_AGE):
        if place == clients.place:
            where = parse(uri)
            if _abort(clients.boto(where.bucket), {"Bucket": where.bucket, "Key": where.key}, upload_id):
                path.unlink(missing_ok=True)
