"""Names of artifacts for assets and partitions.

An asset ``["a"]`` is the artifact ``a``; ``["pre", "a"]`` is ``pre..a``; a partition follows behind a dot:
``a.2023-01-01``, and with several dimensions ``a.car.blue``. Every other character, and a dot inside a part, is written
``-_`` and the two hexadecimal digits of each of its UTF-8 bytes, so that different assets have different names and the
name can be read back (`decode`). What would be longer than 128 characters ends in ``-__`` and a checksum; the key and
the partition are in the artifact's metadata, too.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence

import dagster as dg

from windlass.artifacts.names import MAX_LENGTH, check_name
from windlass.errors import UsageError

__all__ = ["artifact_name", "asset_base", "decode", "dimensions", "partition_names", "readable_names"]

_OTHER = re.compile(r"[^A-Za-z0-9_\-]|-(?=_)")
_ESCAPE = re.compile(r"((?:-_[0-9A-F]{2})+)")
_MANY_DIMENSIONS = 4  # all orders of more dimensions are too many to try


def encode(part: str) -> str:
    """One part of an asset key or partition key."""
    return _OTHER.sub(lambda found: "".join(f"-_{byte:02X}" for byte in found[0].encode()), part)


def _decode_part(text: str) -> str:
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].replace("-_", "")).decode(), text)


def dimensions(partition: str, order: Sequence[str] = ()) -> tuple[str, ...]:
    """The parts of a partition key; of several dimensions in the given order, else in that of their names.

    Dagster keeps dimensions sorted by name, whatever order they were declared in.
    """
    if not isinstance(partition, dg.MultiPartitionKey):
        return (str(partition),)
    by_name: Mapping[str, str] = partition.keys_by_dimension
    chosen = [name for name in order if name in by_name]
    return tuple(by_name[name] for name in (*chosen, *sorted(set(by_name) - set(chosen))))


def artifact_name(key: Sequence[str], partition: str | None = None, order: Sequence[str] = ()) -> str:
    """The artifact of an asset, or of one of its partitions.

    Args:
        key: Path of the asset key.
        partition: Partition key.
        order: Names of dimensions in the order in which they are written.
    """
    name = asset_base(key)
    return _fit(name if partition is None else _with_partition(name, partition, order))


def asset_base(key: Sequence[str]) -> str:
    """An asset's part of a name, of any length."""
    return "..".join(encode(part) for part in key)


def partition_names(name: str, partition: str, order: Sequence[str] = ()) -> list[str]:
    """Names under which a partition of `name` (`asset_base`, or an op's artifact) may be found, best first.

    Beside the name that is written these are the hyphen form (``a.car-blue``) and other orders of the dimensions.
    """
    names = [_fit(_with_partition(name, partition, order))]
    if isinstance(partition, dg.MultiPartitionKey):
        parts = [encode(part) for part in dimensions(partition, order)]
        orders = itertools.permutations(parts) if len(parts) <= _MANY_DIMENSIONS else [tuple(parts)]
        names += [_fit(f"{name}.{mark.join(some)}") for some in orders for mark in (".", "-")]
    return list(dict.fromkeys(names))


def readable_names(key: Sequence[str]) -> list[str]:
    """Names under which an asset may be found: as it is written, and as it stands when that is a valid name.

    The second is for artifacts that were made elsewhere, such as ``data.v2``.
    """
    names = [artifact_name(key)]
    if len(key) == 1 and key[0] not in names and _is_name(key[0]):
        names.append(key[0])
    return names


def decode(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Asset key and parts of the partition from a name that was not shortened."""
    *front, last = name.split("..")
    tail, *partition = last.split(".")
    return tuple(_decode_part(part) for part in (*front, tail)), tuple(_decode_part(part) for part in partition)


def _with_partition(name: str, partition: str, order: Sequence[str]) -> str:
    return ".".join([name, *(encode(part) for part in dimensions(partition, order))])


def _fit(name: str) -> str:
    if len(name) > MAX_LENGTH:
        mark = f"-__{hashlib.blake2b(name.encode(), digest_size=10).hexdigest()}"
        name = name[: MAX_LENGTH - len(mark)] + mark
    return name


def _is_name(text: str) -> bool:
    try:
        return bool(check_name(text))
    except UsageError:
        return False
