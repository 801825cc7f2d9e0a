"""The job that a run leaves behind. Making it never fails a run."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve

from windlass.errors import UsageError, WindlassError

if TYPE_CHECKING:
    from windlass.launch.automatic import GitState
    from windlass.sdk.run import Run
    from windlass.sdk.session import Session

__all__ = ["JobMaker"]

_log = logging.getLogger("windlass")
_PATIENCE = 10.0


class JobMaker:
    """Looks at the code when a run begins, and stores the job when it ends.

    Args:
        session: Of the run.
        launched: The run was launched, so its job is there; it only learns which inputs there are.
        git: Look for a checkout.
    """

    def __init__(self, session: Session, *, launched: bool, git: bool) -> None:
        from windlass.launch.entry import entry_of_process

        self._session = session
        self._launched = launched
        self._look = git and not launched
        self._entry = entry_of_process()
        if self._look:
            # Not in the thread that uses it: a process that is forked meanwhile could never import it.
            import windlass.launch.automatic  # noqa: F401
        self._git: GitState | None = None
        self._seen = threading.Event()
        self._done = False

    def capture(self) -> None:
        """Look at the checkout as it is now. Called in the background."""
        try:
            if self._look:
                from windlass.launch.automatic import git_state
                from windlass.sdk.launch import declared_files

                own = (self._entry.script,) if self._entry.script else ()
                self._git = git_state(self._entry.folder, (*own, *declared_files()))
        finally:
            self._seen.set()

    def finish(self, run: Run, notes: dict[str, object]) -> None:
        """Store the job of a run that ends. Does it once."""
        if self._done:
            return
        self._done = True
        try:
            if self._launched:
                self._learn(run, notes)
            else:
                self._make(run, notes)
        except (WindlassError, OSError, ValueError, RuntimeError) as error:
            asked = bool(self._session.settings.job_name)  # who names it expects it
            _log.log(logging.WARNING if asked else logging.INFO, "no job was made from this run: %s", error)

    def watch_exit(self, run: Run) -> None:
        """Store the job also when the program just ends, before Python stops giving threads to anybody."""
        import concurrent.futures.thread  # noqa: F401, its own hook has to be there first, as the last one runs first

        # There is no public hook so early in the end of a program; without it only finish() makes a job.
        register = getattr(threading, "_register_atexit", None)
        known = weakref.ref(run)

        def ends() -> None:
            if (present := known()) is not None:
                present.about_to_end()

        if register is not None:
            with contextlib.suppress(RuntimeError):
                register(ends)

    def _make(self, run: Run, notes: dict[str, object]) -> None:
        from windlass.launch.automatic import automatic_job, frozen_list
        from windlass.launch.jobs import save_job
        from windlass.launch.sources import patch_artifact

        self._seen.wait(_PATIENCE)
        settings, engine = self._session.settings, self._session.engine
        code = self._code(run) if self._git is None else ""
        if self._git is None and not code and not settings.docker:
            raise UsageError(
                "it has no checkout with a remote, no code and no image",
                hint="Call run.log_code(), or set WINDLASS_DOCKER to the image.",
            )
        draft = automatic_job(
            entry=self._entry,
            git=self._git,
            code=code,
            image=settings.docker,
            name=settings.job_name,
            config=run.config.as_dict(),
            summary=dict(run.summary),
            notes=notes,
            requirements=frozen_list(),
        )
        if draft is None:
            return
        spec = draft.spec
        entity, project = run.entity, run.project
        if draft.patch:
            from windlass.launch.names import sanitise

            name = sanitise(f"patch-{draft.name}")
            stored = engine.log(patch_artifact(draft.patch, name), entity=entity, project=project, run=run.id)
            path = f"{run.entity}/{run.project}/{name}:{stored.version}"
            spec = evolve(spec, source=evolve(spec.source, patch=path))
        job = save_job(draft.name, spec, engine=engine, entity=entity, project=project, run=run.id)
        run.adopt_job(f"{run.entity}/{run.project}/{draft.name}:{job.version}")

    def _code(self, run: Run) -> str:
        from windlass.models.artifact import EdgeKind

        artifacts = self._session.store.artifacts
        for edge in artifacts.edges(run_id=run.id, kind=EdgeKind.OUTPUT):
            version = artifacts.get_by_id(edge.version)
            if version.type == "code":
                return version.path
        return ""

    def _learn(self, run: Run, notes: dict[str, object]) -> None:
        """Give a launched job the inputs that its code turned out to have, where it does not know them."""
        path = run.job
        if not path:
            return
        from windlass.launch.inputs import inputs_of

        schemas, types = inputs_of(run.config.own_dict(), notes)
        if not (schemas or types):
            return
        from windlass.launch.jobs import load_job, save_job

        job = load_job(path, engine=self._session.engine, entity=run.entity, project=run.project)
        declared = bool(notes.get("input_schemas"))
        # the code is the job's: what it did not declare this time, for it failed before, is an input all the same
        schemas, types = _joined(job.spec.input_schemas, schemas), _joined(job.spec.input_types, types)
        if (job.spec.input_types and not declared) or (job.spec.input_schemas, job.spec.input_types) == (
            schemas,
            types,
        ):
            return
        spec = evolve(job.spec, input_schemas=schemas, input_types=types)
        entity, project, name = path.partition(":")[0].split("/")
        settings = self._session.settings
        save_job(
            name, spec, engine=self._session.engine, entity=entity, project=project, description=job.description,
            run=run.id, attempt=settings.attempt,
        )  # fmt: skip


def _joined(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by their places; of a place that both know, the new ones."""
    files = {**(old.get("files") or {}), **(new.get("files") or {})}
    return {**old, **new, **({"files": files} if files else {})}
