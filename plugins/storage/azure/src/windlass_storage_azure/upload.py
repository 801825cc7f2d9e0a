"""Uploads: small blobs in one request, large ones in blocks. Azure itself remembers blocks that were not committed."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from windlass.errors import ObjectNotFoundError, StorageError
from windlass.transfer import Source
from windlass_storage_azure.config import AzureConfig
from windlass_storage_azure.errors import translated

__all__ = ["put_blocks", "put_whole"]

_MOST_BLOCKS = 50_000


def _conditions(if_absent: bool) -> dict[str, Any]:
    from azure.core import MatchConditions

    return {"match_condition": MatchConditions.IfMissing} if if_absent else {}


def _settings(md5: bytes) -> Any:
    from azure.storage.blob import ContentSettings

    return ContentSettings(content_type="application/octet-stream", content_md5=bytearray(md5))


def put_whole(blob: Any, _: AzureConfig, source: Source, uri: str, *, if_absent: bool) -> dict[str, Any]:
    """Store a blob in one request; the store compares its MD5.

    Raises:
        ObjectChangedError: With `if_absent`: it exists already.
    """
    data = source.read()
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    with translated(uri):
        found = blob.upload_blob(
            data,
            length=len(data),
            overwrite=not if_absent,
            validate_content=True,
            content_settings=_settings(md5),
            max_concurrency=1,
            **_conditions(if_absent),
        )
    return {**found, "checksum": f"md5:{md5.hex()}"}


def put_blocks(blob: Any, config: AzureConfig, source: Source, uri: str, *, if_absent: bool) -> dict[str, Any]:
    """Store a blob in blocks, side by side; blocks that an interrupted upload has sent already are used.

    A block's id holds the digest of its bytes, so that a block of other bytes is never taken for it. Azure drops
    blocks that nobody commits after a week.

    Raises:
        ObjectChangedError: With `if_absent`: somebody else stored it meanwhile.
        StorageError: It failed; calling it again goes on.
    """
    size = max(config.block_size, -(-source.size // _MOST_BLOCKS))
    count = -(-source.size // size)
    known = _uncommitted(blob, uri)
    whole = hashlib.md5(usedforsecurity=False)

    def send(number: int, data: bytes) -> str:
        digest = hashlib.blake2b(data, digest_size=20).digest()
        name = base64.b64encode(number.to_bytes(4, "big") + digest).decode()
        if known.get(name) != len(data):
            with translated(uri):
                blob.stage_block(name, data, length=len(data), validate_content=True)
        return name

    width = max(1, min(config.workers, count, (256 << 20) // size))
    names: list[str] = []
    with ThreadPoolExecutor(width, thread_name_prefix="upload") as pool:
        for first in range(0, count, width):  # in rows, so that only `width` blocks are held in memory
            futures = []
            for number in range(first, min(first + width, count)):
                data = source.read(number * size, min(size, source.size - number * size))
                whole.update(data)
                futures.append(pool.submit(send, number, data))
            names += [future.result() for future in futures]
    md5 = whole.digest()
    from azure.storage.blob import BlobBlock

    with translated(uri):
        found = blob.commit_block_list(
            [BlobBlock(name) for name in names], content_settings=_settings(md5), **_conditions(if_absent)
        )
    return {**found, "checksum": f"md5:{md5.hex()}"}


def _uncommitted(blob: Any, uri: str) -> dict[str, int]:
    """Sizes of the blocks that wait for their commit, by id."""
    try:
        with translated(uri):
            _, waiting = blob.get_block_list("uncommitted")
    except (ObjectNotFoundError, StorageError):
        return {}
    return {block.id: block.size for block in waiting}
