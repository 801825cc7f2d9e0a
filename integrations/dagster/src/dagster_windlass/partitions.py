"""Values of several partitions, and which container an input gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

__all__ = ["PartitionedOutput", "wants_dict"]


class PartitionedOutput:
    """The values of an asset by partition, for runs that make several partitions (`BackfillPolicy.single_run`).

    Each value becomes an artifact of its own with metadata of its own. From a generator, one value is in memory at a
    time::

        return PartitionedOutput((day, build(day)) for day in context.partition_keys)

    Args:
        values: A mapping by partition key, or pairs of key and value, which may be lazy.
    """

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        self._values = values

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._values.items() if isinstance(self._values, Mapping) else self._values)


def wants_dict(context: dg.InputContext) -> bool:
    """Whether an input that loads exactly one partition still gets a dict.

    The bare value is given only where there can be no more than one partition: the asset has the same partitions as its
    upstream, the mapping is the identity, and neither this run nor the asset's backfill policy takes several at once.
    """
    try:
        step: Any = context.step_context
    except Exception:  # built by hand, in a test: what is asked for is one partition
        return False
    assets = getattr(step, "assets_def", None)
    if assets is None:
        return bool(step.has_partition_key_range) or not step.has_partition_key
    mapping = assets.get_partition_mapping(context.asset_key)
    if assets.partitions_def is None or assets.partitions_def != context.asset_partitions_def:
        return True
    if mapping is not None and not _is_identity(mapping):
        return True
    policy = assets.backfill_policy
    several = policy is not None and policy.max_partitions_per_run != 1
    return several or bool(step.has_partition_key_range)


def _is_identity(mapping: dg.PartitionMapping) -> bool:
    if isinstance(mapping, dg.TimeWindowPartitionMapping):
        return mapping.start_offset == 0 and mapping.end_offset == 0
    return isinstance(mapping, dg.IdentityPartitionMapping)
