"""From a request to a queue item: everything is resolved and checked first, then stored, the queue item last.

Values are merged in this order, later ones win: job < queue < script header < overrides file (``-c``) < flags.
Mappings are merged key by key, everything else is replaced. `ResolvedLaunch.origins` says where each value came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from attrs import evolve, field, frozen

from windlass.artifacts.names import check_project
from windlass.config.document import Document
from windlass.errors import AccessError, ConfigError, NotFoundError, PluginError, Problem, UsageError, counted
from windlass.ids import new_run_id
from windlass.launch import templates
from windlass.launch.checks import file_problems
from windlass.launch.drafts import Draft, make_draft, spec_problems, store_draft
from windlass.launch.inputs import check_overrides
from windlass.launch.names import name_problem, run_name_problem
from windlass.launch.paths import dotted, leaves, merge
from windlass.launch.places import placed
from windlass.launch.plan import RunPlan, check_spec, plan_run, queue_config, resource_name
from windlass.launch.policy import CAUSES
from windlass.launch.private import made, private_queue
from windlass.launch.request import (
    LaunchRequest,
    Overrides,
    load_overrides,
    parse_priority,
    parse_resource_args,
    parse_sets,
    parse_variables,
)
from windlass.launch.script import TABLE, script_of, with_script
from windlass.launch.secret_env import secret_references
from windlass.models import INTERNAL, JSON
from windlass.models.job import SourceKind
from windlass.models.launch import LaunchPolicy, LaunchSpec, Priority
from windlass.models.queue import NewItem, Queue, QueueRef, queue_named
from windlass.models.run import Run, RunState
from windlass.schedule.triggers import with_chain

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App

__all__ = ["LaunchRequest", "ResolvedLaunch", "resolve", "submit"]

T = TypeVar("T")
_RUN_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")


@frozen(kw_only=True)
class ResolvedLaunch:
    """A launch that fits, before anything is stored.

    Attributes:
        item: What will be enqueued; paths of artifacts that do not exist yet are missing in it.
        queue: The queue, or the private one that will be made.
        private: The queue belongs to this run alone: somebody must run an agent on it, here and now.
        draft: Code and job that will be stored.
        plan: What a runner would get, with template values put in. Of a private queue, too.
        origins: Where each value came from, by dotted path: ``flag``, ``overrides file``, ``queue``, ``job`` …
    """

    item: NewItem
    queue: Queue
    private: bool
    draft: Draft
    plan: RunPlan
    origins: dict[str, str] = field(factory=dict)


def submit(request: LaunchRequest, *, app: App, store: MetadataStore, engine: ArtifactEngine) -> Run:
    """Launch: check everything, store code and job as far as they are new, and enqueue the run.

    Without `LaunchRequest.queue` the run lies on a private queue (``run.queue``), which the caller must serve with an
    agent of his own and remove afterwards (`windlass.launch.private.discard`).

    Raises:
        ConfigError: The request does not fit; all problems at once. Nothing was stored.
        WindlassError: The job, repository or store cannot be had.
    """
    from windlass.plugins.events import RunSubmitted

    resolved = resolve(request, app=app, store=store, engine=engine)
    item = resolved.item
    # the queue first: who may not make it shall leave nothing behind
    with made(resolved.queue, store) if resolved.private else nullcontext():
        path, source = store_draft(
            resolved.draft,
            engine=engine,
            settings=app.settings,
            entity=item.entity,
            project=item.project,
            description=request.description,
        )
        item = evolve(item, spec=evolve(item.spec, job=path, source=source))
        (run,) = store.queues.enqueue([item])
    app.fire(RunSubmitted(run=run))
    return run


def resolve(request: LaunchRequest, *, app: App, store: MetadataStore, engine: ArtifactEngine) -> ResolvedLaunch:
    """Find out what a launch would do, for ``--dry-run`` and `submit`. Stores nothing. Raises as `submit` does."""
    return _Resolver(request, app, store, engine).resolve()


class _Resolver:
    """Collects values, their origins and all problems of one request."""

    def __init__(self, request: LaunchRequest, app: App, store: MetadataStore, engine: ArtifactEngine) -> None:
        self.request = with_script(request)
        script = script_of(request)
        self.header = script.settings
        self.files: dict[str, tuple[Document, str]] = {"script": (script.document, TABLE)}
        self.app = app
        self.store = store
        self.engine = engine
        self.problems: list[Problem] = []
        self.origins: dict[str, str] = {}
        self.entity = request.entity or app.settings.entity
        self.project = request.project or app.settings.project

    def resolve(self) -> ResolvedLaunch:
        request = self.request
        run_id = request.run_id or new_run_id()
        if not _RUN_ID.fullmatch(run_id):
            self._problem(f"{run_id!r} is no run id", "--run-id", "at most 48 of a-z, 0-9 and -")
        if problem := run_name_problem(request.name, "--name"):
            self.problems.append(problem)
        self._try(lambda: check_project(self.entity, what="entity"), None, "--entity")
        self._try(lambda: check_project(self.project), None, "--project")
        over = self._overrides()
        draft = self._try(self._draft, None)
        queue, private = self._queue(run_id, draft)
        spec = self._spec(draft, over, queue)
        priority = self._priority(over, queue)
        if queue is not None and spec is not None:
            self.problems += check_spec(spec, queue)
            self.problems += templates.check_templates(queue.templates, "$.queue.templates")
        if draft is not None and spec is not None:
            self.problems += spec_problems(draft, spec)
        item = plan = None
        if queue is not None and spec is not None and draft is not None:
            item = NewItem(
                run_id=run_id,
                queue=QueueRef(entity=queue.entity, name=queue.name),
                spec=spec,
                name=request.name,
                project=self.project,
                entity=self.entity,
                author=request.author or self.store.whoami().name,
                priority=int(priority),
                config={**spec.run_config, **self._notes()},
            )
            plan = self._plan(item, queue, private) if not self.problems else None
            self._other_origins(queue)
        if self.problems or draft is None or queue is None or item is None or plan is None:
            problems = _unique([placed(problem, self.origins, self.files) for problem in self.problems])
            raise ConfigError(
                f"the launch has {counted(problems)}; nothing was submitted", where="launch", problems=problems
            )
        return ResolvedLaunch(
            item=item, queue=queue, private=private, draft=draft, plan=plan,
            origins={**draft.origins, **self.origins},
        )  # fmt: skip

    # -- parts -----------------------------------------------------------------------------------------------

    def _overrides(self) -> Overrides:
        if not self.request.overrides:
            return Overrides()
        found = self._try(lambda: load_overrides(self.request.overrides), None)
        if found is None:
            return Overrides()
        over, document, wrong = found
        self.files["overrides file"] = (document, "$")
        self.problems += wrong
        return over

    def _draft(self) -> Draft:
        request = self.request
        if request.job_name and (problem := name_problem(request.job_name, "--job-name")):
            self.problems.append(problem)
        return make_draft(
            request, engine=self.engine, settings=self.app.settings, entity=self.entity, project=self.project
        )

    def _queue(self, run_id: str, draft: Draft | None) -> tuple[Queue | None, bool]:
        request = self.request
        if request.queue:
            ref = queue_named(request.queue, self.entity)
            return self._try(lambda: self.store.queues.get(ref), None, "--queue"), False
        is_image = draft is not None and draft.spec.source.kind is SourceKind.IMAGE
        self._origin("resource", "flag" if request.resource else "default")
        resource = resource_name(request.resource) or ("docker" if is_image else "process")
        self._try(lambda: self.app.runners.get(resource), None, "--resource")
        return private_queue(run_id, self.entity, resource), True

    def _spec(self, draft: Draft | None, over: Overrides, queue: Queue | None) -> LaunchSpec | None:
        request = self.request
        values, wrong = parse_variables(request.template_values)
        self.problems += wrong
        sets, wrong = parse_sets(request.set)
        self.problems += wrong
        flag_args = self._try(lambda: parse_resource_args(request.resource_args), {})
        config = self._layers("run_config", over.run_config, request.run_config, sets)
        files = self._layers("files", over.files, request.files)
        env = self._layers("env", over.env, request.env)
        secrets = self._try(lambda: secret_references(self._layers("secrets", over.secrets), "$.secrets"), {})
        template = self._layers("template_values", over.template_values, values)
        wanted = [_unwrapped(part, queue) for part in (over.resource_args, flag_args)]
        resource_args = self._layers("resource_args", *wanted)
        if queue is not None:
            self._queue_origins(queue, template, resource_args)
            checked, wrong = templates.template_values(queue_config(queue), queue.templates, template)
            self.problems += wrong
            template = {**template, **checked}
        self.problems += file_problems(files, draft.input_schemas if draft is not None else {})
        if draft is None:
            return None
        self.problems += check_overrides(draft.input_schemas, config, files)
        from_job = bool(draft.job)  # otherwise these flags are part of the job that is made
        return LaunchSpec(
            source=draft.spec.source,
            job=draft.job,
            entry_point=self._one("entry_point", over.entry_point, self._entry_flag() if from_job else ()),
            args=self._one("args", over.args, request.args),
            run_config=config,
            files=files,
            env=env,
            resource=request.resource,
            resource_args=resource_args,
            template_values=template,
            dockerfile=self._one("dockerfile", over.dockerfile, request.dockerfile if from_job else ""),
            build_context=self._one("build_context", over.build_context, request.build_context if from_job else ""),
            base_image=self._one("base_image", over.base_image, request.base_image if from_job else ""),
            requirements=draft.spec.requirements,
            policy=self._policy(self.header.policy, over.policy, request.policy),
            depends_on=self._dependencies(over.depends_on),
            secrets=secrets,
        )

    def _entry_flag(self) -> tuple[str, ...]:
        from windlass.launch.request import split_command

        return self._try(lambda: tuple(split_command(self.request.entry_point)), ())

    def _priority(self, over: Overrides, queue: Queue | None) -> Priority:
        asked = self._one("priority", over.priority, self.request.priority if self.request.priority is not None else "")
        found = self._try(lambda: parse_priority(asked), None, self._where("priority"))
        if found is not None and queue is not None and not queue.prioritized:
            self._problem(
                f"the queue '{queue.name}' has no priorities",
                self._where("priority"),
                "leave it out, or ask the queue's owner",
            )
        return found if found is not None else Priority.MEDIUM

    def _policy(self, *layers: LaunchPolicy) -> LaunchPolicy:
        merged: dict[str, Any] = {}
        for origin, layer in zip(("script", "overrides file", "flag"), layers, strict=True):
            for a in attrs.fields(LaunchPolicy):
                value = getattr(layer, a.name)
                if value in (None, (), {}):
                    continue
                merged[a.name] = {**merged.get(a.name, {}), **value} if isinstance(value, dict) else value
                for path in [f"{a.name}.{cause}" for cause in value] if isinstance(value, dict) else [a.name]:
                    self._origin(f"policy.{path}", origin)
        return LaunchPolicy(**merged)

    def _notes(self) -> dict[str, JSON]:
        """What is noted in the config of a run that another one launches: the triggers that led there."""
        with suppress(NotFoundError, AccessError):  # it may be another store's
            if self.app.settings.run_id and (notes := with_chain(self.store.runs.get(self.app.settings.run_id).config)):
                return {INTERNAL: notes}
        return {}

    def _dependencies(self, over: tuple[str, ...]) -> tuple[str, ...]:
        layers = {"script": self.header.depends_on, "overrides file": over, "flag": self.request.depends_on}
        for origin, ids in layers.items():
            for i, run_id in enumerate(ids):
                self._origin(f"depends_on[{i}]", origin)
                where = "--after" if origin == "flag" else f"$.depends_on[{i}]"
                run = self._try(lambda run_id=run_id: self.store.runs.get(run_id), None, where)  # type: ignore[misc]
                if run is not None and run.state.is_terminal and run.state is not RunState.FINISHED:
                    self._problem(
                        f"the run {run_id} has {run.state}, so nothing can follow it", where, "retry it first"
                    )
        return tuple(dict.fromkeys(run_id for ids in layers.values() for run_id in ids))

    def _plan(self, item: NewItem, queue: Queue, private: bool) -> RunPlan | None:
        run = Run(
            id=item.run_id, name=item.name, entity=item.entity, project=item.project, author=item.author,
            queue=queue.name, job=item.spec.job, spec=item.spec,
        )  # fmt: skip
        plan = self._try(lambda: plan_run(run, queue), None)
        if plan is None:
            return None
        try:
            runner = self.app.runners.get(plan.resource)
        except PluginError:
            return plan  # the agent's machine has it; this one need not
        if item.spec.source.kind is SourceKind.IMAGE and not runner.capabilities.needs_image:
            self._problem(
                f"the runner '{plan.resource}' runs no container images", "--docker-image", "take a queue on docker"
            )
        if runner.resource_args is not None:
            from windlass.config.converter import structure

            self._try(lambda: structure(plan.resource_args, runner.resource_args or object, where="$.resource_args"), 0)
        return plan

    # -- small tools -----------------------------------------------------------------------------------------

    def _problem(self, message: str, where: str, hint: str = "") -> None:
        self.problems.append(Problem(message, where=where, hint=hint))

    def _where(self, name: str) -> str:
        return f"$.{name}" if self.origins.get(name) in self.files else f"--{name}"

    def _origin(self, path: str, origin: str) -> None:
        self.origins[path] = origin

    def _try(self, action: Callable[[], T], default: Any, where: str = "") -> T | Any:
        """Do something whose failure is one more problem of the request."""
        try:
            return action()
        except (UsageError, ConfigError, NotFoundError, PluginError) as error:
            if isinstance(error, ConfigError) and error.problems:
                self.problems += error.problems
            else:
                self.problems.append(Problem(error.message, where=where or error.where, hint=error.hint))
            return default

    def _layers(self, name: str, over: Mapping[str, JSON], *flags: Mapping[str, JSON]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        header = getattr(self.header, name)
        for origin, layer in (("script", header), ("overrides file", over), *(("flag", flag) for flag in flags)):
            for path, _ in leaves(layer):
                self._origin(f"{name}.{dotted(path)}", origin)
            result = merge(result, layer)
        return result

    def _one(self, name: str, over: T, flag: T) -> T:
        if flag:
            self._origin(name, "flag")
            return flag
        header: T = getattr(self.header, name)
        if over or header:
            self._origin(name, "overrides file" if over else "script")
        return over or header

    def _queue_origins(self, queue: Queue, given: Mapping[str, JSON], args: Mapping[str, JSON]) -> None:
        for name in templates.fields(queue_config(queue)):
            if name not in given:
                self._origin(f"template_values.{name}", "queue")
        chosen = {dotted(path) for path, _ in leaves(args)}
        for path, value in leaves(queue_config(queue)):
            if dotted(path) not in chosen:
                names = ", ".join(f"template_values.{name}" for name in templates.fields(value))
                self._origin(f"resource_args.{dotted(path)}", f"queue, with {names}" if names else "queue")

    def _other_origins(self, queue: Queue) -> None:
        """Where everything comes from that nobody asked for."""
        request, others = self.request, dict.fromkeys(("priority",), "default")
        others |= {name: "flag" if getattr(request, name) else "settings" for name in ("entity", "project")}
        others |= {"name": "flag" if request.name else "run id", "author": "flag" if request.author else "store"}
        others["resource"] = "queue"
        for a in attrs.fields(LaunchPolicy):
            value = getattr(queue.policy, a.name)
            if a.name != "retries":
                others[f"policy.{a.name}"] = "default" if value in (None, ()) else "queue"
        for cause in CAUSES:
            others[f"policy.retries.{cause}"] = "queue" if cause in queue.policy.retries else "default"
        self.origins = {**others, **self.origins}


def _unwrapped(args: Mapping[str, JSON], queue: Queue | None) -> Mapping[str, JSON]:
    """Resource args without a wrapping ``{resource: {…}}``."""
    for key in (queue.resource, resource_name(queue.resource)) if queue is not None else ():
        if set(args) == {key} and isinstance(args[key], Mapping):
            return dict(args[key])
    return args


def _unique(problems: list[Problem]) -> list[Problem]:
    return list({str(problem): problem for problem in problems}.values())
