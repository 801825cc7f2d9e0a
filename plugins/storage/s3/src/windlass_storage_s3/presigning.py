"""Requests by which others may store one object: only the bytes they were signed for, and never over another one."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any

from windlass.errors import StorageError
from windlass.storage import SignedPut
from windlass_storage_s3.addresses import Address
from windlass_storage_s3.client import Clients
from windlass_storage_s3.config import S3Config
from windlass_storage_s3.errors import translated

__all__ = ["signed_put", "verifies_checksums"]


def signed_put(
    clients: Clients, config: S3Config, where: Address, sha256: bytes, size: int, expires: float
) -> SignedPut:
    """A ``PUT`` whose signature covers checksum, length and the condition; the store refuses it when one is missing."""
    checksum = base64.b64encode(sha256).decode()
    headers = {"x-amz-checksum-sha256": checksum, "if-none-match": "*", "content-length": str(size)}
    extra: dict[str, Any] = {}
    if config.server_side_encryption:
        extra["ServerSideEncryption"] = headers["x-amz-server-side-encryption"] = config.server_side_encryption
    if config.kms_key_id:
        extra["SSEKMSKeyId"] = headers["x-amz-server-side-encryption-aws-kms-key-id"] = config.kms_key_id
    parameters = {
        "Bucket": where.bucket, "Key": where.key, "ChecksumSHA256": checksum, "IfNoneMatch": "*",
        "ContentLength": size, **extra,
    }  # fmt: skip
    with translated(where.uri(where.key)):
        url = clients.boto(where.bucket).generate_presigned_url(
            "put_object", Params=parameters, ExpiresIn=max(1, int(expires))
        )
    return SignedPut(url=str(url), headers=headers)


def verifies_checksums(clients: Clients, where: Address) -> bool:
    """True when the store refuses bytes that are not what their checksum says. Tries it with an object beside."""
    key = f"{where.key}.probe-{secrets.token_hex(8)}"
    wrong = base64.b64encode(hashlib.sha256(b"other bytes").digest()).decode()
    client = clients.boto(where.bucket)
    try:
        with translated(where.uri(key)):
            client.put_object(Bucket=where.bucket, Key=key, Body=b"probe", ChecksumSHA256=wrong)
    except StorageError as error:
        return error.context.get("status") == 400
    with translated(where.uri(key)):
        client.delete_object(Bucket=where.bucket, Key=key)
    return False
