"""``windlass.init``: begin, join or resume a run."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from windlass.errors import ConflictError, RunNotFoundError, UsageError
from windlass.ids import new_run_id
from windlass.models import INTERNAL
from windlass.models.run import Run as RunRecord
from windlass.models.run import RunState, RunUpdate
from windlass.sdk import globals as active
from windlass.sdk import launch as launch_inputs
from windlass.sdk import leftovers
from windlass.sdk.config import read_config
from windlass.sdk.facts import system_facts
from windlass.sdk.identity import check_run_name
from windlass.sdk.jobs import JobMaker
from windlass.sdk.run import Run
from windlass.sdk.sender import Sender
from windlass.sdk.session import Session, patiently
from windlass.sdk.settings import Settings
from windlass.sdk.values import deep_merge, finite, label, labels, to_json

if TYPE_CHECKING:
    from windlass.settings import Settings as ProcessSettings

__all__ = ["init"]

_log = logging.getLogger("windlass")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RESUME = ("allow", "must", "never")


def init(
    project: str | None = None,
    entity: str | None = None,
    name: str | None = None,
    config: Any = None,
    *,
    id: str | None = None,
    resume: bool | str | None = None,
    job_type: str | None = None,
    group: str | None = None,
    tags: str | Iterable[str] | None = None,
    notes: str | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    mode: str | None = None,
    reinit: bool = False,
) -> Run:
    """Begin a run, and make it the active one.

    Inside a launched job this joins the run that the launch has made: id, project and entity come from there, and
    config values set by the launch win over those given here.

    Args:
        project: Name space. Default ``WINDLASS_PROJECT``.
        entity: Owner. Default ``WINDLASS_ENTITY``.
        name: Display name. Default: the id.
        config: Inputs: a mapping, a namespace (argparse) or the path of a YAML or JSON file. Infinity and NaN are
            recorded as texts, see `Config`.
        id: Id of the run. Default: a new one.
        resume: ``"never"`` or None: the id must be new. ``"allow"`` or True: go on with that run if it exists.
            ``"must"``: it has to exist.
        job_type: What kind of work it does (``train``, ``eval`` …).
        group: Group of runs it belongs to.
        tags: Labels; one or several.
        notes: Free text.
        settings: More settings.
        mode: ``online``, or ``disabled`` to record nothing.
        reinit: Finish the active run first. Default: the active run is returned.

    Returns:
        The run. Use it as a context manager, or call `Run.finish`; otherwise it is finished when Python ends, with the
        code of `sys.exit` or of an exception (a bare ``raise SystemExit(3)`` is seen from Python 3.12 on; Python 3.11
        tells nobody of it but a ``with`` block). A block that was given the active run leaves it to the one that began
        it. A forked process begins a run of its own.

    Raises:
        UsageError: An argument does not fit.
        ConflictError: The id is taken and `resume` does not allow it.
        RunNotFoundError: ``resume="must"`` and there is no such run.
        StoreUnavailableError: The metadata store is out of reach.
    """
    present = active.current_run()
    if present is not None and not present.forked:
        if not reinit:
            if config or id or name:
                _log.warning("a run is active already (%s); call finish() first, or pass reinit=True", present.id)
            return present.lend()
        present.finish()
    chosen = _settings(settings, project=project, entity=entity, run_name=name, mode=mode, run_id=id)
    resolved = chosen.resolve()
    if resume is not None and resume is not True and resume is not False and resume not in _RESUME:
        raise UsageError(f"resume={resume!r} does not exist", where="init()", hint=f"One of: {', '.join(_RESUME)}.")
    values = to_json(read_config(config), "config", keep=True)
    if resolved.mode == "disabled":
        record = RunRecord(id=id or new_run_id(), entity=resolved.entity, project=resolved.project)
        run = Run(
            record, session=None, sender=None, config=values, launch_config={}, launched=False, attempt=None,
            finish_timeout=0.0, finished=active.forget,
        )  # fmt: skip
        active.remember(run)
        return run
    launched = os.environ.get("WINDLASS_LAUNCH", "").lower() in ("true", "1") and "WINDLASS_RUN_ID" in os.environ
    if launched:
        given = {"id": (id, "RUN_ID"), "project": (project, "PROJECT"), "entity": (entity, "ENTITY")}
        ignored = [key for key, (value, name) in given.items() if value and value != os.environ.get(f"WINDLASS_{name}")]
        if ignored:
            _log.warning("init(): %s ignored; this process belongs to a launched run", ", ".join(ignored))
        chosen = _settings(settings, run_name=name, mode=mode)
        resolved = Settings(
            **{k: getattr(chosen, k) for k in ("base_url", "api_key", "home", "run_name", "job_name", "mode")}
        ).resolve()
    session = Session(resolved)
    try:
        if launched:
            record = patiently(lambda: session.store.runs.get(resolved.run_id))
        else:
            import socket  # a launched run knows its host

            _check_names(resolved)
            run_id = _checked_id(resolved.run_id) or new_run_id()
            fresh = RunRecord(
                id=run_id,
                name=resolved.run_name or run_id,
                entity=resolved.entity,
                project=resolved.project,
                state=RunState.RUNNING,
                author=resolved.entity,
                host=socket.gethostname(),
                config=finite(values),
                job_type=label(job_type, "job_type"),
                group=label(group, "group"),
                tags=labels(tags, "tags"),
                notes=label(notes, "notes"),
            )
            record = _begin(session, fresh, resume, chosen)
    except BaseException:
        session.close()
        raise
    return _start(session, record, values, chosen, launched)


def _start(session: Session, record: RunRecord, values: dict[str, Any], chosen: Settings, launched: bool) -> Run:
    settings = session.settings
    attempt = settings.attempt if launched else None
    launch_config = _launch_config(record) if launched else {}

    maker = JobMaker(session, launched=launched, git=not chosen.disable_git)

    def first() -> None:
        maker.capture()
        run.note(system_facts(git=not chosen.disable_git))
        if not launched:
            leftovers.send_all(session.store, settings)

    sender = Sender(
        session.store,
        record.id,
        attempt,
        leftovers.new_spool(settings, record.id),
        flush_seconds=chosen.flush_seconds,
        heartbeat_seconds=chosen.heartbeat_seconds,
        first=first,
    )
    run = Run(
        record,
        session=session,
        sender=sender,
        config=deep_merge(record.config, values),
        launch_config=launch_config,
        launched=launched,
        attempt=attempt,
        finish_timeout=chosen.finish_timeout,
        finished=active.forget,
        ending=None if _no_job(chosen) else maker.finish,
    )
    recorded = {key: item for key, item in record.config.items() if key != INTERNAL}
    if run.config.recorded() != recorded:
        sender.change(config=run.config.recorded())
    sender.start()
    active.remember(run)
    if not _no_job(chosen):
        maker.watch_exit(run)
    launch_inputs.publish(run)
    return run


def _no_job(chosen: Settings) -> bool:
    return chosen.disable_job_creation or os.environ.get("WINDLASS_DISABLE_JOB_CREATION", "").lower() in ("true", "1")


def _settings(given: Settings | Mapping[str, Any] | None, **changes: Any) -> Settings:
    from attrs import evolve, fields_dict

    wanted = {key: value for key, value in changes.items() if value is not None}
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(fields_dict(Settings)))
        if unknown:
            raise UsageError(
                f"there is no setting {unknown[0]!r}",
                where="settings",
                hint="See windlass.Settings.",
            )
        given = Settings(**given)
    return evolve(given or Settings(), **wanted)


def _check_names(settings: ProcessSettings) -> None:
    from windlass.artifacts.names import check_project

    check_project(settings.project)
    check_project(settings.entity, what="entity")
    check_run_name(settings.run_name)


def _checked_id(run_id: str) -> str:
    if run_id and not _ID.fullmatch(run_id):
        raise UsageError(
            f"{run_id!r} is no run id", where="id", hint="1 to 64 letters, digits, dashes, dots and underscores."
        )
    return run_id


def _begin(session: Session, fresh: RunRecord, resume: bool | str | None, chosen: Settings) -> RunRecord:
    store = session.store
    if resume in (True, "allow", "must"):
        if not session.settings.run_id:
            if resume == "must":
                raise UsageError("resume='must' needs an id", where="init()", hint="Pass id=…, or set WINDLASS_RUN_ID.")
        else:
            try:
                return patiently(lambda: _reopen(session, store.runs.get(fresh.id), chosen))
            except RunNotFoundError:
                if resume == "must":
                    raise
    try:
        return patiently(lambda: store.runs.create(fresh))
    except ConflictError as error:
        hint = f"Choose another id, or pass resume='allow' to go on with run {fresh.id}."
        raise ConflictError(error.message, where="init()", hint=hint) from None


def _reopen(session: Session, record: RunRecord, chosen: Settings) -> RunRecord:
    wanted = (chosen.entity or record.entity, chosen.project or record.project)
    if wanted != (record.entity, record.project):
        raise UsageError(
            f"run {record.id} is in {record.entity}/{record.project}, not in {'/'.join(wanted)}",
            where="init()",
            hint="Leave out entity and project, or choose another id.",
        )
    if record.queue:
        raise UsageError(
            f"run {record.id} was launched; it can only be joined from its job",
            where="init()",
            hint=f"windlass run retry {record.id}",
        )
    return session.store.runs.update(record.id, RunUpdate(reopen=True)) if record.state.is_terminal else record


def _launch_config(record: RunRecord) -> dict[str, Any]:
    from windlass.launch.overrides import read_overrides

    wanted = dict(record.spec.run_config) if record.spec is not None else {}
    return launch_inputs.accepted(deep_merge(wanted, read_overrides(os.environ)))
