"""From a claimed run to something a runner can start: fetch the code, build the image."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve, field, frozen

from windlass.builders import BuildSpec
from windlass.errors import AccessError, ConfigError, UnsupportedError
from windlass.ids import attempt_id
from windlass.launch.plan import command_of
from windlass.launch.start_script import check_script
from windlass.models.job import SourceKind
from windlass.models.run import RunPhase
from windlass.plugins.events import ImageBuilt
from windlass_agent.git_hosts import git_access
from windlass_agent.logs import BuildOutput, Pump

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.builders import BuiltImage
    from windlass.models.queue import Queue
    from windlass.models.run import Run
    from windlass_agent.services import Services
    from windlass_agent.watcher import Watcher

__all__ = ["Preparation", "Prepared", "attempt_folder"]

T = TypeVar("T")


@frozen(kw_only=True)
class Prepared:
    """What a runner is given.

    Attributes:
        image: Image to run, or empty.
        work_dir: Directory with the code, or empty.
        timings: Seconds by step.
        digest: Digest of a built image, or empty.
        requirements: What it finds installed; of an image, what was to be installed.
        asked: What it asks for.
        env: Variables that lead to the code's own packages and to an environment made for the job.
    """

    image: str = ""
    work_dir: str = ""
    timings: dict[str, float]
    digest: str = ""
    requirements: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    env: dict[str, str] = field(factory=dict)


def attempt_folder(services: Services, run: Run, resource: str) -> Path:
    """The attempt's directory on this host, made if needed. It also remembers what is to be cleaned up."""
    folder = services.work / attempt_id(run.id, run.attempt)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    note = folder / "run.json"
    if not note.exists():
        draft = folder / f"run.json.{run.fence}"  # one that has lost the claim and does not know it writes one, too
        draft.write_text(json.dumps({"run_id": run.id, "attempt": run.attempt, "resource": resource}))
        draft.rename(note)
    return folder


class Preparation:
    """Prepares one attempt. May be repeated after a fault: it begins with an empty directory.

    Args:
        services: The agent's.
        run: The run as it was claimed.
        queue: Its queue.
        resource: Runner plugin.
        on_phase: Called when the run enters a phase; raises `FencedError` when the claim is lost.
        watcher: Carries the build's output while it happens.
        venv: Whether code that runs without an image gets an environment of its own (`RunPlan.venv`).
    """

    def __init__(
        self,
        services: Services,
        run: Run,
        queue: Queue,
        resource: str,
        on_phase: Callable[[RunPhase], None],
        watcher: Watcher,
        venv: str = "auto",
    ) -> None:
        self._venv = venv
        self._services = services
        self._run = run
        self._queue = queue
        self._resource = resource
        self._on_phase = on_phase
        self._watcher = watcher
        self._timings: dict[str, float] = {}
        self._entered = 0.0
        self._step = ""
        self._output: BuildOutput | None = None
        self._interrupted = False
        self._notes: list[str] = []

    @property
    def place(self) -> Path:
        """The directory of this claim within the attempt's.

        Not the attempt's own: an agent that has lost the claim and does not know it yet would empty the directory in
        which its successor's job runs.
        """
        attempt = attempt_id(self._run.id, self._run.attempt)
        return self._services.work / attempt / f"{self._run.fence}-{self._run.agent}"

    def discard(self) -> None:
        """Remove what was prepared, when the claim is lost."""
        shutil.rmtree(self.place, ignore_errors=True)
        with suppress(OSError):
            self.place.parent.rmdir()  # only if the successor has removed all it had there

    def interrupt(self) -> None:
        """End a build that is under way, or about to begin. Called by any thread."""
        self._interrupted = True
        if self._output is not None:
            self._output.refuse()
            if self._services.backends.capabilities(self._resource).needs_image:
                self._services.backends.builder().cancel(self._run.id)

    def run(self) -> Prepared:
        """Fetch and build what is needed.

        Raises:
            WindlassError: It cannot be prepared.
        """
        assert self._run.spec is not None
        source = self._run.spec.source
        needs_image = self._services.backends.capabilities(self._resource).needs_image
        attempt_folder(self._services, self._run, self._resource)
        folder = self.place
        folder.mkdir(exist_ok=True, mode=0o700)
        self._enter("prepare")
        if source.kind is SourceKind.IMAGE:
            if not needs_image:
                raise UnsupportedError(
                    f"the runner '{self._resource}' runs code, not images",
                    hint="Put the job on a docker queue, or make it from its code.",
                )
            return Prepared(image=source.image, timings=self._done())
        code = self._fetch(folder)
        if not needs_image:
            root = self._context_of(code)
            check_script(command_of(self._run.spec)[0], root, "entry_point")
            ready = self._environment(folder, root)
            env = {**ready.env, **_imports(root, self._run.spec.env)}
            return evolve(ready, env=env, work_dir=str(root), timings=self._done())
        built, asked = self._build(folder, code)
        return Prepared(
            image=built.uri, digest=built.digest, requirements=asked, asked=asked, timings=self._done()
        )  # fmt: skip

    def _fetch(self, folder: Path) -> Path:
        assert self._run.spec is not None
        if self._run.entity != self._queue.entity and self._through_a_server:
            return self._fetch_as_the_run(folder)
        return self._fetch_with(self._services.engine, folder)

    @property
    def _through_a_server(self) -> bool:
        return self._services.app.settings.store_url.startswith(("http", "unix:"))

    def _fetch_as_the_run(self, folder: Path) -> Path:
        """What another entity put on our queue is read with the rights of its run, for we may have none there."""
        from windlass.sdk.session import Session

        services, run = self._services, self._run
        token = services.store.access.issue_run_token(run.id, run.attempt, run.fence)
        session = Session(services.app.settings.replace(api_key=token))
        try:
            return self._fetch_with(session.engine, folder)
        finally:
            session.close()

    def _fetch_with(self, engine: ArtifactEngine, folder: Path) -> Path:
        from windlass.launch.sources import fetch_source

        assert self._run.spec is not None
        self._check_remote(self._run.spec.source.remote)
        target = folder / "source"
        shutil.rmtree(target, ignore_errors=True)
        self._notes.clear()
        return fetch_source(
            self._run.spec.source,
            target,
            engine=engine,
            cache_dir=self._services.app.settings.cache_dir,
            access=git_access(self._services.config) if self._run.spec.source.kind is SourceKind.GIT else None,
            note=self._notes.append,
            cancelled=lambda: self._interrupted,
        )

    def _check_remote(self, remote: str) -> None:
        """A server's submitters name repositories, and those of this machine are not theirs to read."""
        services = self._services
        if (
            remote.startswith("file:")
            and not services.config.local_repositories
            and self._through_a_server
            and self._run.author != services.store.whoami().name
        ):
            raise AccessError(
                "an agent of a server does not fetch repositories of its machine for others",
                where=remote,
                hint="Give the address of a git host. Or the agent's owner allows it: local-repositories: true.",
            )

    def _environment(self, folder: Path, root: Path) -> Prepared:
        """Where the job needs one, an environment that holds its dependencies; and what those are."""
        from windlass.launch.installed import beside
        from windlass.launch.venv import packages, plan_environment

        assert self._run.spec is not None
        planned = plan_environment(self._run.spec, root, self._venv)
        notes = (*self._notes, *planned.notes)
        found = Prepared(requirements=beside(planned.needs, root), asked=planned.needs.lines, timings={})
        if not planned.wanted and not notes:
            return found
        if planned.wanted:
            self._phase(RunPhase.BUILDING)

        def work(output: BuildOutput) -> Prepared:
            _say(output, notes)
            if not planned.wanted:
                return found
            made = planned.make(self._services.app.settings.cache_dir, output)
            path = os.pathsep.join((str(made / "bin"), os.path.dirname(sys.executable), os.environ.get("PATH", "")))
            return evolve(found, env={"VIRTUAL_ENV": str(made), "PATH": path}, requirements=packages(made))

        return self._logged(folder, work)

    def _context_of(self, code: Path) -> Path:
        assert self._run.spec is not None
        inner = self._run.spec.build_context or self._run.spec.source.build_context
        folder = (code / inner).resolve()
        if not folder.is_relative_to(code.resolve()) or not folder.is_dir():
            raise ConfigError(
                f"the code has no directory '{inner}'", where="build_context", hint="Give a directory inside the code."
            )
        return code / inner

    def _build(self, folder: Path, code: Path) -> tuple[BuiltImage, tuple[str, ...]]:
        from windlass.launch.context import make_context

        backends = self._services.backends
        builder = backends.builder()
        if not backends.builder_capabilities().builds:
            raise UnsupportedError(
                f"the runner '{self._resource}' needs an image, and this agent has nothing to build one with",
                hint="Start a Docker engine, set builder in launch-config.yaml, or use the resource 'process'.",
            )
        context_dir = folder / "context"
        shutil.rmtree(context_dir, ignore_errors=True)
        context = make_context(self._run, code, context_dir, queue=self._queue)
        spec = BuildSpec(
            run_id=self._run.id,
            context=str(context.context),
            dockerfile=context.dockerfile,
            name=context.name,
            destination=backends.destination,
            platform=backends.platform,
            labels={"windlass.run": self._run.id},
            registry=backends.registry(backends.destination) if backends.destination else None,
        )
        self._phase(RunPhase.BUILDING)
        began = time.monotonic()

        def work(output: BuildOutput) -> BuiltImage:
            _say(output, (*self._notes, *context.notes))
            return builder.build(spec, output)

        built = self._logged(folder, work)
        self._services.app.fire(
            ImageBuilt(
                run=self._run,
                image=built.uri,
                digest=built.digest,
                reused=built.reused,
                seconds=time.monotonic() - began,
            )
        )
        return built, context.requirements

    def _logged(self, folder: Path, work: Callable[[BuildOutput], T]) -> T:
        """Do work whose output is carried into the store while it happens, all of it also when it fails."""
        output = BuildOutput(folder / "build.log", lambda name: self._phase(RunPhase(name)))
        source = f"{attempt_id(self._run.id, self._run.attempt)}/build"
        pump = Pump(self._services.store.runs, self._run.id, source, output.read, self._run.fence)
        output.start_at(pump.cursor)
        self._watcher.carry(self._run.id, pump)
        self._output = output
        if self._interrupted:
            output.refuse()
        try:
            return work(output)
        finally:
            output.close()
            self._watcher.release(self._run.id)
            while pump.run() or not pump.settle():
                pass

    def _phase(self, phase: RunPhase) -> None:
        self._enter("push" if phase is RunPhase.PUSHING else "build")
        self._on_phase(phase)

    def _enter(self, step: str) -> None:
        now = time.monotonic()
        if self._step:
            self._timings[self._step] = self._timings.get(self._step, 0.0) + now - self._entered
        self._step, self._entered = step, now

    def _done(self) -> dict[str, float]:
        self._enter("")
        return self._timings


def _imports(root: Path, env: Mapping[str, str]) -> dict[str, str]:
    """What makes the project importable that lies in `root`, before what the launch names itself."""
    from windlass.launch.requirements import import_folder

    found = import_folder(root)
    given = [env["PYTHONPATH"]] if env.get("PYTHONPATH") else []
    return {"PYTHONPATH": os.pathsep.join([str((root / found).absolute()), *given])} if found else {}


def _say(output: BuildOutput, notes: tuple[str, ...]) -> None:
    if notes:
        output.write("".join(f"{note}\n" for note in notes).encode())
