"""Jobs: blueprints that can be run again."""

from __future__ import annotations

from attrs import field, frozen

from windlass.models import JSON
from windlass.models.source import JobSource, SourceKind

__all__ = ["JobSource", "JobSpec", "SourceKind"]


@frozen(kw_only=True)
class JobSpec:
    """The content of a job artifact (``windlass-job.json``).

    Attributes:
        version: Format number of this document.
        source: Code and entry point.
        input_schemas: JSON Schema of the run config under ``@windlass.config`` and of config files under
            ``files.<path>``.
        input_types: Inferred types in the same layout; shown by ``job describe``.
        output_types: Inferred types of the summary.
        requirements: Frozen dependency list of the environment that made the job, one requirement a line.
    """

    version: int = 1
    source: JobSource
    input_schemas: dict[str, JSON] = field(factory=dict)
    input_types: dict[str, JSON] = field(factory=dict)
    output_types: dict[str, JSON] = field(factory=dict)
    requirements: tuple[str, ...] = ()
