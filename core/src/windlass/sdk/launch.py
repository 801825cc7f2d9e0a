"""Job inputs and launching from Python: ``from windlass.sdk import launch``."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from windlass.sdk import globals as active

if TYPE_CHECKING:
    from windlass.launch.keywords import LaunchKeywords
    from windlass.models.run import Run as RunRecord
    from windlass.sdk.run import Run
    from windlass.sdk.settings import Settings

__all__ = ["launch", "launch_add", "load_windlass_config", "manage_config_file", "manage_windlass_config"]

_log = logging.getLogger(__name__)
_config: dict[str, Any] | None = None
_files: dict[str, dict[str, Any]] = {}


def manage_windlass_config(
    include: Sequence[str] | None = None, exclude: Sequence[str] | None = None, schema: Any = None
) -> None:
    r"""Choose which parts of ``run.config`` a launch may set. Without this call that is all of it.

    Args:
        include: Paths (``trainer.lr``; ``\.`` is a dot within a key) below which values may be set. Default: all.
        exclude: Paths below which they may not; wins over `include`.
        schema: JSON Schema, attrs class, dataclass or Pydantic model that describes and bounds the values.

    Raises:
        UsageError: A path or the schema does not fit.
    """
    from windlass.launch.inputs import managed_config

    global _config
    managed_config({}, include, exclude, schema)  # complains now, even when no run is active yet
    _config = {"include": list(include or ()), "exclude": list(exclude or ()), "schema": schema}
    run = active.current_run()
    if run is not None:
        run.config.restrict_launch(accepted)
        publish(run)


def manage_config_file(
    path: str, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None, schema: Any = None
) -> None:
    """Make a config file an input of the job. Inside a launched job the file gets the launch's values at once.

    Call it before the file is read. The run config is then no input, unless `manage_windlass_config` is called.

    Args:
        path: JSON, YAML or TOML file, relative to the working directory.
        include: See `manage_windlass_config`.
        exclude: See `manage_windlass_config`.
        schema: See `manage_windlass_config`.

    Raises:
        UsageError: The path is not relative, or the file has another kind.
        ConfigError: No such file, or the launch's values do not fit.
    """
    from windlass.launch.inputs import managed_file
    from windlass.launch.overrides import read_file_overrides

    found = managed_file(path, include, exclude, schema, root=Path.cwd(), overrides=read_file_overrides(os.environ))
    _files[found.path] = {"types": found.types, "schema": found.schema}
    run = active.current_run()
    if run is not None:
        publish(run)


def declared_files() -> tuple[str, ...]:
    """Paths of the config files that were declared so far, relative to the working directory."""
    return tuple(_files)


def warn_of_unused_files() -> None:
    """Say which values of the launch reached no file, as the code did not declare it. Called when a run ends."""
    from windlass.errors import ConfigError
    from windlass.launch.overrides import read_file_overrides

    try:
        unused = [path for path in read_file_overrides(os.environ) if path not in _files]
    except ConfigError:
        return  # the code was told, if it asked
    if unused:
        _log.warning(
            "the launch's values for %s were not used: the code does not declare it with launch.manage_config_file",
            ", ".join(unused),
        )


def load_windlass_config() -> dict[str, Any]:
    """The values that the launch has set for the run config; empty outside of a launch."""
    from windlass.launch.overrides import read_overrides

    return accepted(read_overrides(os.environ))


def accepted(values: dict[str, Any]) -> dict[str, Any]:
    """Those values of a launch that the code accepts as inputs."""
    if _config is None:
        return values
    from windlass.launch.paths import parse_paths, select

    return select(values, parse_paths(_config["include"]), parse_paths(_config["exclude"]))


def publish(run: Run) -> None:
    """Record the declared inputs with the run; a job made from it has them. Called when a run begins."""
    if _config is None and not _files:
        return
    from windlass.launch.inputs import CONFIG_KEY, managed_config

    types: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    if _config is not None:
        declared = managed_config(run.config.own_dict(), **_config)  # a value of this launch says nothing of the job
        types[CONFIG_KEY], schemas[CONFIG_KEY] = declared.types, declared.schema
    if _files:
        types["files"] = {path: found["types"] for path, found in _files.items()}
        schemas["files"] = {path: found["schema"] for path, found in _files.items()}
    run.note({"input_types": types, "input_schemas": schemas})


def launch_add(*, settings: Settings | None = None, **request: Unpack[LaunchKeywords]) -> RunRecord:
    """Put a job on a queue and return its run, as it is now, at once: ``Api().run(run.id)`` follows it.

    Args:
        settings: `windlass.Settings`.
        request: The fields of `windlass.launch.request.LaunchRequest`: ``queue=…``, and ``uri=…`` or ``job=…``,
            ``entry_point=…``, ``run_config=…`` …

    Raises:
        WindlassError: What ``windlass launch`` would say.
    """
    from windlass.errors import UsageError
    from windlass.launch.keywords import request_of
    from windlass.launch.script import with_script
    from windlass.launch.submit import submit
    from windlass.sdk.session import Session
    from windlass.sdk.settings import Settings

    asked = with_script(request_of(request))
    if not asked.queue:
        hint = "Give queue='…', or call launch(), which runs it here and waits."
        raise UsageError("without a queue nobody would run it", where="launch_add", hint=hint)
    session = Session((settings or Settings()).resolve())
    try:
        return submit(asked, app=session.app, store=session.store, engine=session.engine)
    finally:
        session.close()


def launch(
    *, settings: Settings | None = None, timeout: float | None = None, **request: Unpack[LaunchKeywords]
) -> RunRecord:
    """Put a job on a queue, or run it here and now if none is named; wait for its end and return its run.

    Args:
        settings: `windlass.Settings`.
        timeout: Seconds to wait at most; None waits for ever. What runs here is stopped then, what is on a queue
            goes on.
        request: See `launch_add`.

    Raises:
        TimeoutError: It is not over within `timeout` seconds.
        WindlassError: What ``windlass launch`` would say.
    """
    from windlass.launch.keywords import request_of
    from windlass.launch.private import discard
    from windlass.launch.script import with_script
    from windlass.launch.submit import submit
    from windlass.sdk import serving
    from windlass.sdk.session import Session
    from windlass.sdk.settings import Settings

    asked = with_script(request_of(request))
    found = (settings or Settings()).resolve()
    session = Session(found)
    try:
        if asked.queue:
            queued = submit(asked, app=session.app, store=session.store, engine=session.engine)
            return serving.ended(session.store, queued.id, timeout)
        serving.check_agent()
        queued = submit(asked, app=session.app, store=session.store, engine=session.engine)
        try:
            with serving.agent(found, queued) as alive:
                return serving.ended(session.store, queued.id, timeout, alive)
        finally:
            discard(queued, session.store)
    finally:
        session.close()


def forget() -> None:
    """Forget all declared inputs (a new program in the same process: notebooks, tests)."""
    global _config
    _config = None
    _files.clear()
