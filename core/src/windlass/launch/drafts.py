"""What a launch would store before it is enqueued: the code, and the job that describes it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from windlass.artifacts.names import check_alias
from windlass.errors import ConfigError, Problem, UsageError
from windlass.launch.context import UNASKED_DOCKERFILES
from windlass.launch.git import resolve_commit
from windlass.launch.ignore import code_files
from windlass.launch.images import parse_image
from windlass.launch.jobs import load_job, save_job
from windlass.launch.names import code_name, default_job_name, name_problem
from windlass.launch.notebook import notebook_command
from windlass.launch.request import LaunchRequest, split_command
from windlass.launch.requirements import check_python
from windlass.launch.safe import build_path_problems, inside, relative_problem
from windlass.launch.script import TABLE, script_of
from windlass.launch.sources import code_artifact
from windlass.launch.start_script import DEFAULT_SCRIPT, check_script
from windlass.launch.uris import UriKind, classify
from windlass.models import JSON
from windlass.models.job import JobSource, JobSpec, SourceKind

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.models.launch import LaunchSpec
    from windlass.settings import Settings

__all__ = ["Draft", "make_draft", "spec_problems", "store_draft"]


@frozen(kw_only=True)
class Draft:
    """The job of a launch, perhaps not stored yet.

    Attributes:
        job: Artifact path of an existing job, or empty.
        name: Name of the job that will be made, or empty.
        spec: Its content; the code artifact's path is missing until it is stored.
        directory: Code directory that will be stored, or None.
        code: Name of its artifact.
        aliases: Of the job.
        origins: Where values came from.
    """

    job: str = ""
    name: str = ""
    spec: JobSpec
    directory: Path | None = None
    code: str = ""
    aliases: tuple[str, ...] = ()
    origins: dict[str, str] = field(factory=dict)

    @property
    def input_schemas(self) -> dict[str, JSON]:
        """Schemas of an existing job's inputs."""
        return self.spec.input_schemas


def make_draft(
    request: LaunchRequest, *, engine: ArtifactEngine, settings: Settings, entity: str, project: str
) -> Draft:
    """Find out what a launch runs. Stores nothing.

    Raises:
        UsageError, ConfigError: The request does not fit.
        ArtifactNotFoundError, NotFoundError, AccessError, StorageError: The job or the repository cannot be had.
    """
    given = [name for name in ("uri", "image", "job") if getattr(request, name)]
    if len(given) != 1:
        what = f"{' and '.join(given)} are given" if given else "there is nothing to launch"
        raise UsageError(what, where="launch", hint="Give one of --uri, --docker-image and --job.")
    paths = {"--build-context": request.build_context, "--dockerfile": request.dockerfile}
    if problems := build_path_problems(paths):
        raise ConfigError("paths lead out of the source", where="launch", problems=problems)
    if request.job_name and (wrong := name_problem(request.job_name, "--job-name")):
        raise UsageError(wrong.message, where=wrong.where, hint=wrong.hint)
    for alias in request.aliases:
        try:
            check_alias(alias)
        except UsageError as error:  # the code would be stored before the job is refused
            raise UsageError(error.message, where="--alias", hint=error.hint) from None
    if request.git_hash and not request.uri:
        raise UsageError("a git hash needs a git URI", where="--git-hash", hint="Give it with --uri.")
    if request.base_image:
        parse_image(request.base_image, "--base-image")
    if request.job:
        job = load_job(request.job, engine=engine, entity=entity, project=project)
        return Draft(job=job.path, spec=job.spec, origins={"source": f"job {job.path}"})
    if request.image:
        return _image_draft(request)
    location = classify(request.uri)
    if location.kind is UriKind.GIT:
        return _git_draft(request, location.remote, settings)
    assert location.path is not None
    return _code_draft(request, location.path)


def spec_problems(draft: Draft, spec: LaunchSpec) -> list[Problem]:
    """What does not go with the source of that which replaces the job's values: from the overrides file, a script's
    header, or flags beside an existing job.
    """
    given = {name: getattr(spec, name) for name in ("build_context", "dockerfile", "base_image") if getattr(spec, name)}
    if spec.source.kind is SourceKind.IMAGE:
        return [Problem("an image is run as it is, not built", where=f"$.{n}", hint="leave it out") for n in given]
    problems = []

    def check(action: Callable[[], object]) -> None:
        try:
            action()
        except (UsageError, ConfigError) as error:
            problems.append(Problem(error.message, where=error.where, hint=error.hint))

    if spec.base_image:
        check(lambda: parse_image(spec.base_image, "$.base_image"))
    if spec.entry_point:
        check(lambda: _check_words(spec.entry_point, "$.entry_point"))
    root, wanted = draft.directory, spec.build_context or spec.source.build_context
    dockerfile = spec.dockerfile or spec.source.dockerfile
    if root is None or not (given or spec.entry_point) or relative_problem(wanted) or relative_problem(dockerfile):
        return problems  # paths that lead out are reported beside the queue's rules

    def check_files() -> None:
        context = _check_context(root, wanted, dockerfile, "$.build_context", "$.dockerfile")
        _check_script(spec.entry_point or spec.source.entry_point, context, dockerfile, "$.entry_point")

    check(check_files)
    return problems


def _check_context(root: Path, wanted: str, dockerfile: str, where: str, dockerfile_where: str) -> Path:
    """The build context, if it is there and holds the Dockerfile that is asked for. Raises `ConfigError`."""
    context = inside(root, wanted, where)
    if not context.is_dir():
        raise ConfigError(
            f"there is no directory {wanted!r} in the source", where=where, hint=f"The source is {root}."
        )  # fmt: skip
    if dockerfile and not inside(context, dockerfile, dockerfile_where).is_file():
        raise ConfigError(
            f"there is no file {dockerfile!r} in the build context", where=dockerfile_where,
            hint=f"The build context is {context}; the path is relative to it.",
        )  # fmt: skip
    return context


def _check_script(entry: tuple[str, ...], context: Path, dockerfile: str, where: str) -> None:
    """Raise `ConfigError` if the script that is to be started is not there, and no Dockerfile can bring it."""
    if not dockerfile and not any((context / file).is_file() for file in UNASKED_DOCKERFILES):
        check_script(entry, context, where)


def _check_words(words: tuple[str, ...], where: str) -> None:
    if any(".." in PurePosixPath(word).parts for word in words[:2]):
        raise UsageError(
            f"{' '.join(words)!r} leads out of the source", where=where,
            hint="Start the launch in the directory that holds all of the code.",
        )  # fmt: skip


def _image_draft(request: LaunchRequest) -> Draft:
    ref = parse_image(request.image, "--docker-image")
    for option in ("build_context", "dockerfile", "base_image", "python"):
        if getattr(request, option):
            where = "--runtime" if option == "python" else f"--{option.replace('_', '-')}"
            raise UsageError("an image is run as it is, not built", where=where, hint="Leave it out.")
    source = JobSource(
        kind=SourceKind.IMAGE, image=request.image, entry_point=tuple(split_command(request.entry_point))
    )
    return Draft(
        name=request.job_name or default_job_name(image=request.image),
        spec=JobSpec(source=source),
        aliases=(*request.aliases, *((ref.tag,) if ref.tag and ref.tag != "latest" and not _version(ref.tag) else ())),
        origins={"source": "flag", "source.entry_point": "flag" if request.entry_point else "image"},
    )


def _version(tag: str) -> bool:
    return tag[:1] == "v" and tag[1:].isdigit()


def _git_draft(request: LaunchRequest, remote: str, settings: Settings) -> Draft:
    location = classify(request.uri)
    access = request.git_access.get(location.host)
    commit = resolve_commit(location, request.git_hash, settings.cache_dir, access)
    entry, origin = _entry_point(request, "")
    source = JobSource(
        kind=SourceKind.GIT,
        remote=remote,
        commit=commit,
        entry_point=entry,
        build_context=request.build_context,
        dockerfile=request.dockerfile,
        base_image=request.base_image,
        python=_python(request),
    )
    script = "/".join(filter(None, (request.build_context, _script(entry))))
    return Draft(
        name=request.job_name or default_job_name(remote=remote, script=script),
        spec=JobSpec(source=source),
        aliases=request.aliases,
        origins={"source": "flag", "source.commit": f"git {request.git_hash or 'HEAD'}", "source.entry_point": origin},
    )


def _code_draft(request: LaunchRequest, path: Path) -> Draft:
    if request.git_hash:
        raise UsageError(
            f"{request.uri!r} is a directory here, which has no git hash", where="--git-hash",
            hint=f"Write file://{path} to launch a commit of a repository.",
        )  # fmt: skip
    directory, script = (path.parent, path.name) if path.is_file() else (path, "")
    context = _check_context(directory, request.build_context, request.dockerfile, "--build-context", "--dockerfile")
    entry, origin = _entry_point(request, script)
    bare = origin == "default" and not (context / DEFAULT_SCRIPT).is_file()
    if bare and any((context / file).is_file() for file in UNASKED_DOCKERFILES):
        entry, origin = (), "dockerfile"
    elif bare:
        raise UsageError(
            f"no entry point is given, and there is no {DEFAULT_SCRIPT}", where="--entry-point",
            hint='e.g. --entry-point "python train.py"',
        )  # fmt: skip
    if next(code_files(directory), None) is None:
        raise ConfigError("the directory holds no code", where=str(directory), hint="It is empty, or all is ignored.")
    _check_script(entry, context, request.dockerfile, "--entry-point")
    name = code_name(request.job_name or directory.name)
    source = JobSource(
        kind=SourceKind.CODE,
        entry_point=entry,
        python=_python(request),
        build_context=request.build_context,
        dockerfile=request.dockerfile,
        base_image=request.base_image,
    )
    return Draft(
        name=request.job_name or default_job_name(code=name),
        spec=JobSpec(source=source),
        directory=directory,
        code=name,
        aliases=request.aliases,
        origins={"source": "flag", "source.entry_point": origin},
    )


def _python(request: LaunchRequest) -> str:
    if request.python:
        return check_python(request.python, "--runtime")
    script = script_of(request)
    place = script.document.place(f"{TABLE}.python")
    return check_python(script.settings.python, place) if script.settings.python else ""


def _entry_point(request: LaunchRequest, script: str) -> tuple[tuple[str, ...], str]:
    if request.entry_point:
        words = tuple(split_command(request.entry_point))
        _check_words(words, "--entry-point")
        return words, "flag"
    if script:
        program = {".sh": "bash", ".bash": "bash"}.get(Path(script).suffix, "python")
        return notebook_command(script) or (program, script), "uri"
    if request.dockerfile:
        return (), "dockerfile"
    return ("python", DEFAULT_SCRIPT), "default"


def _script(entry: tuple[str, ...]) -> str:
    scripts = (".py", ".sh", ".bash", ".ipynb")
    return next((word for word in entry if word.endswith(scripts)), entry[-1] if entry else "")


def store_draft(
    draft: Draft, *, engine: ArtifactEngine, settings: Settings, entity: str, project: str, description: str = ""
) -> tuple[str, JobSource]:
    """Store code and job, as far as they are new.

    Returns:
        Artifact path of the job, and its source with everything pinned.
    """
    if draft.job:
        return draft.job, draft.spec.source
    source, python = draft.spec.source, draft.spec.source.python
    if draft.directory is not None:
        skip = (settings.home, settings.cache_dir, settings.artifact_dir.absolute(), Path(sys.prefix))
        logged = engine.log(code_artifact(draft.directory, draft.code, skip=skip), entity=entity, project=project)
        path = f"{entity}/{project}/{draft.code}:{logged.version}"
        source = evolve(source, artifact=path, python=python)
    spec = evolve(draft.spec, source=source)
    job = save_job(
        draft.name,
        spec,
        engine=engine,
        entity=entity,
        project=project,
        aliases=draft.aliases,
        description=description,
    )
    return f"{entity}/{project}/{draft.name}:{job.version}", source
