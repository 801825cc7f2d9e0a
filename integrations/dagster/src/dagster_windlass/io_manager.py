"""The IO manager: values of ops and assets are artifacts."""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from attrs import frozen
from pydantic import Field

from dagster_windlass.client import WindlassClient, client_of
from dagster_windlass.errors import WindlassArtifactsIOManagerError
from dagster_windlass.reader import Reader
from dagster_windlass.resources import WindlassResource
from dagster_windlass.runs import RunBook
from dagster_windlass.validation import check_outputs_of_step
from dagster_windlass.writer import Writer
from windlass.errors import WindlassError

__all__ = ["ArtifactsIOManager", "Options", "WindlassArtifactsIOManager", "windlass_artifacts_io_manager"]

CACHE_MINUTES = 30 * 24 * 60
_FOLDER = "windlass_artifacts_manager"


@frozen(kw_only=True)
class Options:
    """Options of the IO manager; see `WindlassArtifactsIOManager`."""

    base_dir: str = ""
    cache_duration_in_minutes: int = CACHE_MINUTES
    run_id: str = ""
    run_name: str = ""
    run_tags: Sequence[str] = ()
    default_serializer: str = ""
    single_partition: str = "auto"
    missing_partitions: str = "error"
    allow_code: bool | None = None


class ArtifactsIOManager(dg.IOManager):
    """Stores outputs as artifacts and loads inputs from them. Made by the resources of this module.

    Args:
        client: The store.
        options: See `WindlassArtifactsIOManager`.
        base: Folder for the cache and for files of running steps.
        dagster_run: Id of the Dagster run; empty outside one.
        instance: The Dagster instance, if there is one.
    """

    def __init__(
        self, client: WindlassClient, options: Options, base: Path, *, dagster_run: str = "", instance: Any = None
    ) -> None:
        self._base = base
        self._client = client.scoped(cache_dir=base / "cache")
        self._options = options
        self._dagster_run = dagster_run
        self._instance = instance
        self._books: dict[str, RunBook] = {}
        self._views = ""

    @property
    def client(self) -> WindlassClient:
        """The store, with the cache of this IO manager."""
        return self._client

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store a value. Raises `WindlassArtifactsIOManagerError`."""
        book = self._book(context)
        assert book is not None
        Writer(self._client, book, context, self._options.default_serializer).write(obj)

    def load_input(self, context: dg.InputContext) -> Any:
        """Load a value. Raises `WindlassArtifactsIOManagerError`, for a mistake in how the step is to store, too."""
        check_outputs_of_step(context)
        options = self._options
        return Reader(
            self._client,
            self._book(context),
            context,
            self._folder,
            container=options.single_partition,
            skip_missing=options.missing_partitions == "skip",
            allow_code=options.allow_code,
        ).load()

    def _book(self, context: dg.OutputContext | dg.InputContext) -> RunBook | None:
        """The run to be recorded; None where nothing executes and something is only loaded."""
        run = self._dagster_run
        try:
            run = context.step_context.run_id
        except Exception:
            if isinstance(context, dg.OutputContext):
                run = run or "manual"
            elif not run:
                return None
        if run not in self._books:
            options = self._options
            self._books[run] = RunBook(
                self._client, run, run_id=options.run_id, name=options.run_name, tags=options.run_tags
            )
        return self._books[run]

    def _folder(self) -> str:
        """A new folder that stays until this IO manager is closed: nobody else removes or changes what is in it."""
        if not self._views:
            views = self._base / "views"
            views.mkdir(parents=True, exist_ok=True)
            self._views = tempfile.mkdtemp(prefix=f"{self._dagster_run[:8] or 'load'}-{os.getpid()}-", dir=views)
        folder = os.path.join(self._views, secrets.token_hex(4))
        os.mkdir(folder)
        return folder

    def close(self) -> None:
        """End the run when it is over, remove the files of this process, purge the cache. May be repeated."""
        for book in self._books.values():
            book.close(self._instance)
        self._books.clear()
        cache = self._client.engine.cache if self._views or self._cache_is_old() else None
        if self._views:
            shutil.rmtree(self._views, ignore_errors=True)
            self._views = ""
        if cache is not None:
            cache.close()
            with contextlib.suppress(OSError, WindlassError):
                cache.expire(self._options.cache_duration_in_minutes * 60.0)
        self._client.close()

    def _cache_is_old(self) -> bool:
        """Whether there is a cache to purge; without looking at its files."""
        return (self._base / "cache" / "artifacts").is_dir()


def _open(client: WindlassClient, options: Options, context: dg.InitResourceContext) -> ArtifactsIOManager:
    base = options.base_dir
    if not base:
        home = context.instance.storage_directory() if context.instance is not None else ""
        base = home or str(client.settings.cache_dir)
    folder = Path(base).expanduser().absolute()
    if folder.name != "storage":
        folder /= "storage"
    return ArtifactsIOManager(
        client,
        options,
        folder / _FOLDER,
        dagster_run=str(context.run_id or "") if context.run_id != "EPHEMERAL" else "",
        instance=context.instance,
    )


class WindlassArtifactsIOManager(dg.ConfigurableIOManagerFactory[ArtifactsIOManager]):
    """Values of ops and assets are artifacts.

    Example::

        dg.Definitions(
            assets=[...],
            resources={
                "io_manager": WindlassArtifactsIOManager(
                    windlass=WindlassResource(entity="team", project="demo"), cache_duration_in_minutes=60
                )
            },
        )
    """

    windlass: WindlassResource
    base_dir: str = Field(
        default="", description="Folder for the cache. Default: the storage directory of the Dagster instance."
    )
    cache_duration_in_minutes: int = Field(
        default=CACHE_MINUTES,
        ge=0,
        description="Cached files unused for so long are removed at the end of a step; 0 keeps none. Default 30 days. "
        "Files in use are never removed.",
    )
    run_id: str = Field(default="", description="Id of the Windlass run. Default: the id of the Dagster run.")
    run_name: str = Field(default="", description="Its display name. Default: dagster-run-<first 8 characters>.")
    run_tags: list[str] = Field(default_factory=list, description="Its tags, beside dagster_windlass.")
    default_serializer: str = Field(
        default="", description="Serializer of values whose configuration names none. Default: by type, else pickle."
    )
    single_partition: Literal["auto", "dict", "value"] = Field(
        default="auto",
        description="What an input gets that loads exactly one partition; auto: a value only when there can be no more "
        "than one.",
    )
    missing_partitions: Literal["error", "skip"] = Field(
        default="error", description="Inputs of several partitions of which some do not exist."
    )
    allow_code: bool | None = Field(
        default=None, description="Read pickles that other entities wrote. Default: what WINDLASS_ALLOW_CODE says."
    )

    def __init__(self, **values: Any) -> None:
        unknown = sorted(set(values) - set(type(self).model_fields))
        if unknown:
            raise _unknown_option(unknown[0], type(self).model_fields)
        values.setdefault("windlass", WindlassResource())
        super().__init__(**values)

    def options(self) -> Options:
        """The options as plain values."""
        names = [field.name for field in Options.__attrs_attrs__]
        return Options(**{name: getattr(self, name) for name in names})

    def create_io_manager(self, context: dg.InitResourceContext) -> ArtifactsIOManager:
        """Called by Dagster."""
        return _open(self.windlass.client(), self.options(), context)

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Any]:
        """Called by Dagster."""
        with super().yield_for_execution(context) as manager:
            try:
                yield manager
            finally:
                manager.close()


def _unknown_option(name: str, known: Mapping[str, Any]) -> WindlassArtifactsIOManagerError:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return WindlassArtifactsIOManagerError(
        f"there is no option '{name}'",
        code="unknown-option",
        where="WindlassArtifactsIOManager",
        hint=f"Did you mean '{near[0]}'?" if near else f"Options: {', '.join(sorted(known))}.",
    )


_SCHEMA = {
    "run_name": dg.Field(str, is_required=False, description="Display name of the Windlass run."),
    "run_id": dg.Field(str, is_required=False, description="Id of the Windlass run. Default: that of the Dagster run."),
    "windlass_run_id": dg.Field(str, is_required=False, description="Another spelling of run_id."),
    "run_tags": dg.Field([str], is_required=False, description="Tags of the Windlass run."),
    "base_dir": dg.Field(dg.StringSource, is_required=False, description="Folder for the cache."),
    "cache_duration_in_minutes": dg.Field(
        int, is_required=False, description="Cached files unused for so long are removed; 0 keeps none."
    ),
    "default_serializer": dg.Field(str, is_required=False, description="Serializer of values that name none."),
    "single_partition": dg.Field(
        dg.Enum("SinglePartition", [dg.EnumValue(name) for name in ("auto", "dict", "value")]),
        is_required=False,
        description="auto, dict or value.",
    ),
    "missing_partitions": dg.Field(
        dg.Enum("MissingPartitions", [dg.EnumValue(name) for name in ("error", "skip")]),
        is_required=False,
        description="What happens when some of several partitions do not exist.",
    ),
}


@dg.io_manager(  # type: ignore[arg-type]  # Dagster takes generators, its annotation does not say so
    required_resource_keys={"windlass_resource", "windlass_config"}, config_schema=_SCHEMA
)
def windlass_artifacts_io_manager(context: dg.InitResourceContext) -> Iterator[ArtifactsIOManager]:
    """The IO manager in Dagster's older form; needs the resources `windlass_resource` and `windlass_config`."""
    config = dict(context.resource_config or {})
    alias = config.pop("windlass_run_id", "")
    config.setdefault("run_id", alias)
    client = client_of(context.resources)
    checked = WindlassArtifactsIOManager(**config)
    manager = _open(client, checked.options(), context)
    try:
        yield manager
    finally:
        manager.close()
