"""Errors of the integration. Every situation has a stable code; `CODES` is the list.

They are `WindlassError`: `message` says what happened, `hint` what to do. The text of a cause is part of the message,
because Dagster shows the outer error first.
"""

from __future__ import annotations

from typing import Any

from windlass.errors import WindlassError

__all__ = ["CODES", "WindlassArtifactsIOManagerError", "WindlassLaunchError"]

CODES: dict[str, str] = {
    # definition and writing
    "several-partitions": "a run of several partitions returned something that does not say what belongs to which",
    "partition-not-in-run": "a `PartitionedOutput` holds a partition that the run does not make",
    "partition-missing": "a run of several partitions did not return all of them",
    "unknown-write-key": "an output's configuration holds a key that is unknown, or only for reading",
    "unknown-metadata-key": "a metadata key beginning with `windlass_artifact` that does not exist",
    "bad-configuration": "a value in a configuration does not fit",
    "unknown-serializer": "`serialization_module.name` is no serializer",
    "serializer-not-installed": "the library behind a serializer is missing",
    "serialization-failed": "the serializer cannot write the value",
    "artifact-name-given": "an `Artifact` was returned, and the configuration names it again",
    "artifact-type-given": "an `Artifact` was returned, and the configuration gives its type again",
    "description-twice": "the `Artifact` and the configuration both have a description",
    "name-of-asset": "an asset's configuration holds `name`, which comes from the asset key",
    "output-without-name": "an op's output has no artifact name",
    "write-failed": "the artifact could not be stored; nothing is visible",
    # reading
    "unknown-read-key": "an input's configuration holds a key that is unknown, or only for writing",
    "partitions-not-expected": "`partitions` for an input that has no partitions",
    "partitions-expected": "`get`, `get_path`, `version` or `alias` outside `partitions` for a partitioned input",
    "partition-empty": "the configuration of a partition is empty",
    "partition-unknown-key": "the configuration of a partition holds an unknown key",
    "partition-unknown": "`partitions` names a partition that the input does not load",
    "partition-version-and-alias": "a partition has both a version and an alias",
    "partition-get-and-path": "a partition has both `get` and `get_path`",
    "partition-not-found": "there is no artifact for a partition",
    "name-of-asset-input": "an asset's input is named twice: by its asset key and by `name`",
    "input-without-name": "an op's input has no artifact name",
    "version-and-alias": "both a version and an alias",
    "get-and-path": "both `get` and `get_path`",
    "artifact-not-found": "there is no such artifact, version or alias",
    "entry-not-found": "the artifact holds nothing under the name in `get` or `get_path`",
    "read-failed": "the artifact is there, but could not be read",
    # launches and configuration
    "entity-missing": "no entity or project",
    "agent-not-installed": "an agent is needed in this process, and windlass-agent is not installed",
    "agent-ended": "the agent in this process ended before its run",
    "bad-launch": "a launch's configuration does not fit",
    "unknown-option": "an option of a resource or IO manager that does not exist",
}
"""Code and when it is raised."""


class _CodedError(WindlassError):
    def __init__(self, message: str, *, code: str, cause: BaseException | None = None, **kwargs: Any) -> None:
        if cause is not None:
            text = getattr(cause, "message", "") or str(cause) or type(cause).__name__
            message = f"{message}: {text}"
            where = getattr(cause, "where", "")
            if where and where not in message:
                message = f"{message} ({where})"
            kwargs.setdefault("hint", getattr(cause, "hint", ""))
        super().__init__(message, **kwargs)
        self.code = code  # type: ignore[misc]  # one class for all rows of the table; a code is what tells them apart

    def __str__(self) -> str:
        return f"[{self.code}] {super().__str__()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.code, self.__dict__.copy()))


def _rebuild(kind: type[_CodedError], message: str, code: str, state: dict[str, Any]) -> _CodedError:
    error = kind(message, code=code)
    error.__dict__.update(state)
    return error


class WindlassArtifactsIOManagerError(_CodedError):
    """An artifact could not be written or read, or its configuration does not fit.

    Args:
        message: What happened.
        code: One of `CODES`.
        cause: What was raised below; its text becomes part of the message, its hint the hint.

    Attributes:
        asset_key: Asset in question as ``a/b``, or empty.
        partition: Partition in question, or empty.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        cause: BaseException | None = None,
        asset_key: str = "",
        partition: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(message, code=code, cause=cause, **kwargs)
        self.asset_key = asset_key
        self.partition = partition


class WindlassLaunchError(_CodedError):
    """A launch could not be made, or the run did not finish."""
