"""Jobs: artifacts of type ``job`` whose ``windlass-job.json`` says what to run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from windlass import wire
from windlass.errors import ArtifactNotFoundError, ConfigError, NotFoundError
from windlass.launch.inputs import InputRow, input_rows
from windlass.launch.paths import leaves, select
from windlass.models import JSON
from windlass.models.artifact import ArtifactFilter, ArtifactVersion
from windlass.models.job import JobSpec

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.metastore import MetadataStore

__all__ = ["JOB_FILE", "JobDescription", "LoadedJob", "describe_job", "list_jobs", "load_job", "save_job"]

JOB_FILE = "windlass-job.json"
REQUIREMENTS_FILE = "requirements.frozen.txt"


@frozen(kw_only=True)
class LoadedJob:
    """A job as it is stored.

    Attributes:
        path: ``entity/project/name:v<N>``.
        spec: Its content.
        aliases: Aliases of this version.
        description: As it was given.
        run: Id of the run that has made it, or found out its inputs; empty when none did.
    """

    path: str
    spec: JobSpec
    aliases: tuple[str, ...] = ()
    description: str = ""
    run: str = ""


@frozen(kw_only=True)
class JobDescription(LoadedJob):
    """A job for people.

    Attributes:
        inputs: Table of what can be set.
    """

    inputs: tuple[InputRow, ...] = field(default=())


def save_job(
    name: str,
    spec: JobSpec,
    *,
    engine: ArtifactEngine,
    entity: str,
    project: str,
    aliases: Iterable[str] = (),
    description: str = "",
    run: str = "",
    attempt: int | None = None,
) -> Artifact:
    """Store a job; a new version only when its content changed.

    Schemas and types that a first run found out are kept when `spec` has none, so that packaging the same code again
    makes no new version.

    Args:
        name: Artifact name.
        spec: Content.
        engine: Stores it.
        entity: Owner.
        project: Name space.
        aliases: Beside ``latest``.
        description: For people.
        run: Id of the run that makes it, if one does.
        attempt: Attempt of that run.

    Returns:
        The logged artifact.
    """
    from windlass.artifacts.artifact import Artifact

    if not spec.input_schemas and not spec.input_types:
        try:
            old = load_job(f"{entity}/{project}/{name}", engine=engine, entity=entity, project=project).spec
        except (ArtifactNotFoundError, ConfigError):
            old = None
        if old is not None and evolve(old, input_schemas={}, input_types={}, output_types={}) == evolve(
            spec, output_types={}
        ):
            spec = old
    artifact = Artifact.internal(name, "job", description or None)
    with artifact.new_file(JOB_FILE, mode="xb") as out:
        out.write(wire.encode(spec))
    if spec.requirements:
        with artifact.new_file(REQUIREMENTS_FILE) as out:
            out.write("".join(f"{line}\n" for line in spec.requirements))
    return engine.log(artifact, entity=entity, project=project, run=run, attempt=attempt, aliases=tuple(aliases))


def load_job(path: str, *, engine: ArtifactEngine, entity: str, project: str) -> LoadedJob:
    """Read a job.

    Args:
        path: ``[[entity/]project/]name[:alias|:v3]``.
        engine: Reads it.
        entity: For a path without one.
        project: For a path without one.

    Raises:
        ArtifactNotFoundError: There is none.
        ConfigError: It is no job, or was made by a later format.
    """
    artifact = engine.get(path, type="job", entity=entity, project=project)
    with tempfile.TemporaryDirectory(prefix="windlass-job-") as folder:
        file = Path(str(artifact.download(root=folder)), JOB_FILE)
        if not file.is_file():
            raise ConfigError(f"it holds no {JOB_FILE}", where=path, hint="Make jobs with 'windlass job create'.")
        spec = wire.decode(file.read_bytes(), JobSpec)
    if spec.version != 1:
        raise ConfigError(
            f"it has format {spec.version}, this program reads 1", where=path, hint="Install a newer windlass."
        )
    info = artifact.info
    return LoadedJob(path=info.path, spec=spec, aliases=info.aliases, description=info.description, run=info.run)


def describe_job(path: str, *, engine: ArtifactEngine, entity: str, project: str) -> JobDescription:
    """A job with its inputs as a table. Raises as `load_job` does."""
    job = load_job(path, engine=engine, entity=entity, project=project)
    return JobDescription(
        path=job.path,
        spec=job.spec,
        aliases=job.aliases,
        description=job.description,
        run=job.run,
        inputs=input_rows(job.spec.input_schemas, job.spec.input_types, _values_of_run(job.run, engine.store)),
    )


def _values_of_run(run_id: str, store: MetadataStore) -> dict[str, JSON]:
    """What the run that a job was found out from had in its config, without what its launch had set."""
    if not run_id:
        return {}
    try:
        run = store.runs.get(run_id)
    except NotFoundError:
        return {}
    given = [path for path, _ in leaves(run.spec.run_config)] if run.spec is not None else []
    return select(run.config, (), given)


def list_jobs(
    store: MetadataStore, *, entity: str, project: str = "", limit: int = 1000
) -> tuple[ArtifactVersion, ...]:
    """All versions of all jobs of an entity or project, newest first."""
    return store.artifacts.list(ArtifactFilter(entity=entity, project=project, type="job", limit=limit))
