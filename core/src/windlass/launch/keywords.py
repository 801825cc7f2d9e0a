"""Keywords of `windlass.sdk.launch` and of ``Api.create_trigger``: the fields of `LaunchRequest`, for type checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from windlass.errors import UsageError
from windlass.launch.git import GitAccess
from windlass.launch.request import LaunchRequest
from windlass.models import JSON
from windlass.models.launch import LaunchPolicy

__all__ = ["LaunchKeywords", "TriggerKeywords", "request_of"]


class _Keywords(TypedDict, total=False):
    uri: str
    image: str
    job: str
    build_context: str
    dockerfile: str
    base_image: str
    entry_point: str | Sequence[str]
    git_hash: str
    python: str
    job_name: str
    entity: str
    project: str
    queue: str
    overrides: str | Path
    template_values: Sequence[str] | Mapping[str, JSON]
    priority: str | int | None
    resource: str
    resource_args: str | Path | Mapping[str, JSON]
    set: Sequence[str]
    args: Sequence[str]
    run_config: Mapping[str, JSON]
    files: Mapping[str, JSON]
    env: Mapping[str, str]
    policy: LaunchPolicy
    depends_on: Sequence[str]
    run_id: str
    author: str
    git_access: Mapping[str, GitAccess]
    description: str
    aliases: Sequence[str]


class LaunchKeywords(_Keywords, total=False):
    """See `windlass.launch.request.LaunchRequest`."""

    name: str


class TriggerKeywords(_Keywords, total=False):
    """When a trigger fires, see `windlass.models.schedule.Trigger`, and what it launches."""

    artifact_name: str
    artifact_type: str
    artifact_project: str
    alias: str
    cron: str
    timezone: str


_LISTS = ("set", "args", "depends_on", "aliases")


def request_of(given: Any) -> LaunchRequest:
    """The request of these keywords, which may hold lists.

    Raises:
        UsageError: A text stands where a list belongs.
        TypeError: There is no such keyword.
    """
    lists = {name: given[name] for name in _LISTS if name in given}
    for name, value in lists.items():
        if isinstance(value, str):
            raise UsageError("a list of texts is needed, not one text", where=name, hint=f"{name}={value.split()!r}")
    return LaunchRequest(**{**given, **{name: tuple(value) for name, value in lists.items()}})
