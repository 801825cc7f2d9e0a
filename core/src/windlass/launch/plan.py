"""From a claimed run and its queue to what a runner is given: templates, macros, command, environment, limits."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from windlass import wire
from windlass.errors import ConfigError, MacroError, Problem
from windlass.launch import macros, templates
from windlass.launch.checks import closed_fields, env_problems, number_problems, secret_name_problems, secret_problems
from windlass.launch.inputs import CONFIG_VARIABLE, FILES_VARIABLE, shards
from windlass.launch.needs import SLOTS_KEY
from windlass.launch.paths import merge
from windlass.launch.policy import check_wishes, effective_policy
from windlass.launch.safe import build_path_problems
from windlass.launch.secret_env import SECRETS_KEY, take_secrets
from windlass.models import JSON
from windlass.models.job import SourceKind
from windlass.models.launch import LaunchPolicy, LaunchSpec
from windlass.models.queue import Queue
from windlass.models.run import Run

__all__ = [
    "BUILDER_KEY",
    "BaseImage",
    "RunPlan",
    "base_image",
    "check_builder",
    "plan_run",
    "queue_config",
    "resource_name",
    "resource_of",
]

VENV_CHOICES = ("auto", "always", "never")
_ALIASES = {"local-container": "docker", "local-process": "process", "local": "docker", "gcp-vertex": "vertex"}
BUILDER_KEY = "builder"
"""Key of a queue's config that speaks of the image's base and is not handed to the resource."""


@frozen(kw_only=True)
class BaseImage:
    """What a generated Dockerfile starts from.

    Attributes:
        ref: Image reference; empty: by Python version.
        accelerator: It brings a GPU stack but perhaps no Python; the generated Dockerfile installs one.
    """

    ref: str = ""
    accelerator: bool = False


@frozen(kw_only=True)
class RunPlan:
    """What the agent hands on to the runner.

    Attributes:
        resource: Runner plugin.
        resource_args: Queue config and overrides, templates and macros resolved, without the ``builder`` part.
        command: Entry point and arguments; empty: the image's own.
        args: Arguments for the image's own entry point, when `command` is empty.
        env: Plain variables; the agent adds the address of the API.
        image: Image to run, empty when none is known yet.
        base_image: Base of a generated Dockerfile, empty: by Python version.
        accelerator: `base_image` comes from ``builder.accelerator``.
        policy: The effective policy; None in a limit means unlimited.
        secrets: References of secret variables by name.
        venv: Whether a runner without images gets an environment with the dependencies: ``auto`` when some are
            missing beside the agent, ``always`` or ``never``.
    """

    resource: str
    resource_args: dict[str, JSON] = field(factory=dict)
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(factory=dict)
    image: str = ""
    base_image: str = ""
    accelerator: bool = False
    policy: LaunchPolicy = LaunchPolicy()
    secrets: dict[str, str] = field(factory=dict)
    venv: str = "auto"


def plan_run(run: Run, queue: Queue, *, image: str = "") -> RunPlan:
    """Resolve everything of a claimed run, and check again what was checked when it was submitted.

    Args:
        run: The run with its ``spec``.
        queue: The queue as it stands now.
        image: The image that was built, or picked; empty before that, or when the runner needs none.

    Raises:
        ConfigError: The spec does not fit the queue (any more); all problems at once. Never worth a retry.
    """
    spec = run.spec
    if spec is None:
        raise ConfigError("the run has no launch spec", where=run.id, hint="It was not launched; nothing can run it.")
    problems = check_spec(spec, queue)
    config, secrets = take_secrets(queue_config(queue))
    values, wrong = templates.template_values(config, queue.templates, spec.template_values)
    problems += wrong
    if problems:
        raise ConfigError(f"the run does not fit the queue '{queue.name}'", where=run.id, problems=problems)
    image = image or (spec.source.image if spec.source.kind is SourceKind.IMAGE else "")
    base = base_image(spec, queue)
    known = {
        "project_name": run.project,
        "entity_name": run.entity,
        "run_id": run.id,
        "run_name": run.name or run.id,
        "image_uri": image,
        "queue_name": queue.name,
        "author": run.author,
    }
    args = merge(templates.fill(config, values), spec.resource_args)
    for key in (BUILDER_KEY, SLOTS_KEY):
        args.pop(key, None)
    command, rest = command_of(spec)
    return RunPlan(
        resource=resource_of(queue, spec),
        resource_args=macros.expand(args, known, "$.resource_args"),
        command=command,
        args=rest,
        env=_environment(run, spec, queue, image),
        image=image,
        base_image=base.ref,
        accelerator=base.accelerator,
        policy=effective_policy(spec.policy, queue.policy),
        secrets={**spec.secrets, **secrets},
        venv=_venv(queue),
    )


def check_spec(spec: LaunchSpec, queue: Queue) -> list[Problem]:
    """What in a spec goes beyond what the queue's owner opened. Checked at submission and again at the claim."""
    problems = []
    wanted = resource_name(spec.resource)
    if wanted and wanted != resource_name(queue.resource):
        problems.append(
            Problem(
                f"the queue '{queue.name}' runs on {queue.resource}, not {spec.resource}",
                where="$.resource",
                hint="leave the resource out, or take another queue",
            )
        )
    problems += build_path_problems({"$.build_context": spec.build_context, "$.dockerfile": spec.dockerfile})
    problems += closed_fields(spec.resource_args, spec.env, queue)
    problems += env_problems(spec.env)
    problems += secret_problems(spec.resource_args)
    problems += number_problems(spec.resource_args, "$.resource_args")
    if SECRETS_KEY in spec.resource_args:
        problems.append(Problem("this is for the queue's owner", where=f"$.resource_args.{SECRETS_KEY}"))
    if spec.secrets:
        problems += secret_name_problems(spec.secrets, take_secrets(queue_config(queue))[1], queue)
    problems += macros.unknown_macros(spec.resource_args, "$.resource_args")
    problems += check_wishes(spec.policy, queue)
    return problems


def resource_name(name: str) -> str:
    """The runner plugin behind a resource word (``local-container`` is the docker runner, and so on)."""
    return _ALIASES.get(name, name)


def resource_of(queue: Queue, spec: LaunchSpec | None) -> str:
    """The runner plugin that runs a spec from a queue."""
    return resource_name(queue.resource or (spec.resource if spec else ""))


def queue_config(queue: Queue) -> dict[str, JSON]:
    """A queue's resource config, without a ``{resource: {…}}`` or ``{resource_args: {…}}`` around it."""
    config: JSON = queue.config
    for key in ("resource_args", queue.resource, resource_name(queue.resource)):
        if isinstance(config, Mapping) and set(config) == {key} and isinstance(config[key], Mapping):
            config = config[key]
    return dict(config)


def base_image(spec: LaunchSpec, queue: Queue) -> BaseImage:
    """The base image: what the submitter says, else the queue's accelerator, the job's, the queue's own.

    Raises:
        ConfigError: The queue's ``builder`` part does not fit.
    """
    if spec.base_image:
        return BaseImage(ref=spec.base_image)
    refs = _builder_refs(queue)
    problems = check_builder(queue)
    if problems:
        raise ConfigError(problems[0].message, where=problems[0].where, hint=problems[0].hint)
    if refs["accelerator.base_image"]:
        return BaseImage(ref=refs["accelerator.base_image"], accelerator=True)
    return BaseImage(ref=spec.source.base_image or refs["base_image"] or "")


def check_builder(queue: Queue) -> list[Problem]:
    """What does not fit in a queue's ``builder`` part."""
    problems = [
        Problem("expected an image reference", where=f"$.{BUILDER_KEY}.{key}", hint="e.g. python:3.12-slim")
        for key, ref in _builder_refs(queue).items()
        if ref is not None and not isinstance(ref, str)
    ]
    if _venv(queue) not in VENV_CHOICES:
        hint = f"one of {', '.join(VENV_CHOICES)}"
        problems.append(Problem(f"unknown choice {_venv(queue)!r}", where=f"$.{BUILDER_KEY}.venv", hint=hint))
    return problems


def _venv(queue: Queue) -> str:
    builder = queue_config(queue).get(BUILDER_KEY)
    wanted = builder.get("venv", "auto") if isinstance(builder, Mapping) else "auto"
    return {True: "always", False: "never"}.get(wanted, str(wanted)) if isinstance(wanted, bool) else str(wanted)


def _builder_refs(queue: Queue) -> dict[str, JSON]:
    builder = queue_config(queue).get(BUILDER_KEY) or {}
    accelerator = builder.get("accelerator") or builder.get("cuda") if isinstance(builder, Mapping) else None
    return {
        "accelerator.base_image": accelerator.get("base_image") if isinstance(accelerator, Mapping) else accelerator,
        "base_image": builder.get("base_image") if isinstance(builder, Mapping) else builder,
    }


def command_of(spec: LaunchSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Command and arguments of a spec: entry point (override, else the job's) with the arguments behind it."""
    entry = spec.entry_point or spec.source.entry_point
    return ((*entry, *spec.args), ()) if entry else ((), spec.args)


def _environment(run: Run, spec: LaunchSpec, queue: Queue, image: str) -> dict[str, str]:
    env = {
        **spec.env,
        "WINDLASS_RUN_ID": run.id,
        "WINDLASS_ATTEMPT": str(run.attempt),
        "WINDLASS_ENTITY": run.entity,
        "WINDLASS_PROJECT": run.project,
        "WINDLASS_NAME": run.name or run.id,
        "WINDLASS_QUEUE": queue.name,
        "WINDLASS_JOB": spec.job,
        "WINDLASS_LAUNCH": "true",
        "PYTHONUNBUFFERED": "1",
    }
    if image:
        env["WINDLASS_DOCKER"] = image
    if spec.run_config:
        env |= shards(CONFIG_VARIABLE, wire.encode(spec.run_config).decode())
    if spec.files:
        env |= shards(FILES_VARIABLE, wire.encode(spec.files).decode())
    if any("\x00" in value for value in env.values()):
        raise MacroError("a value for the job's environment holds a NUL character", where=run.id)
    return env
