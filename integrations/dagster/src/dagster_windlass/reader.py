"""Loading inputs: which artifact, which version, what of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dagster as dg
from attrs import evolve

from dagster_windlass.config import EXTERNAL_KEY, PartitionRead, ReadConfiguration, configuration_in, read_configuration
from dagster_windlass.errors import WindlassArtifactsIOManagerError
from dagster_windlass.metadata import consumed, run_id_of
from dagster_windlass.names import asset_base, partition_names, readable_names
from dagster_windlass.partitions import wants_dict
from dagster_windlass.writer import VALUE
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.media import Media
from windlass.artifacts.objects import find_object, load_object
from windlass.errors import ArtifactNotFoundError, PluginError, WindlassError
from windlass.models.artifact import ArtifactRef

if TYPE_CHECKING:
    from dagster_windlass.client import WindlassClient
    from dagster_windlass.runs import RunBook

__all__ = ["Reader"]

_THREADS = 8
_OWN = {"get", "get_path", "version", "alias"}


class Reader:
    """Loads one input.

    Args:
        client: Where from.
        book: The run that is recorded as its user; None when nothing executes (`Definitions.load_asset_value`).
        context: Of the input.
        folder: Gives a new private folder that stays for this step.
        container: For exactly one partition: ``auto`` (see `wants_dict`), ``dict`` or ``value``.
        skip_missing: Leave partitions without an artifact out.
        allow_code: Read pickles of other entities.
    """

    def __init__(
        self,
        client: WindlassClient,
        book: RunBook | None,
        context: dg.InputContext,
        folder: Callable[[], str],
        *,
        container: str = "auto",
        skip_missing: bool = False,
        allow_code: bool | None = None,
    ) -> None:
        self._client = client
        self._book = book
        self._context = context
        self._folder = folder
        self._container = container
        self._skip_missing = skip_missing
        self._allow_code = allow_code
        self._asset = context.asset_key.to_user_string() if context.has_asset_key else ""
        self._where = f"input {context.name if context.has_input_name else 'outside a run'}" + (
            f" ({self._asset})" if self._asset else ""
        )
        upstream = context.upstream_output
        self._upstream: Mapping[str, Any] = (upstream.definition_metadata if upstream is not None else None) or {}
        self._config = self._configuration()

    def _configuration(self) -> ReadConfiguration:
        """The input's own configuration over what the external asset says of itself."""
        given = configuration_in(self._context.definition_metadata, self._where)
        config = read_configuration(given, self._where)
        if self._asset and config.name:
            raise self._error(
                f"the artifact is named twice: by the asset key, and as '{config.name}'",
                "name-of-asset-input",
                hint="Remove 'name'; AssetIn(key=…) says which asset it is.",
            )
        external = self._upstream.get(EXTERNAL_KEY)
        external = getattr(external, "value", external)
        if isinstance(external, Mapping):
            pinned = {key: str(external[key]) for key in ("version", "alias") if external.get(key)}
            config = evolve(config, name=str(external.get("name", "")))
            if not config.selector and not config.partitions:
                config = evolve(config, version=pinned.get("version", ""), alias=pinned.get("alias", ""))
        elif not self._asset and not config.name:
            config = evolve(config, name=self._name_upstream())
        return config

    def _name_upstream(self) -> str:
        """Name that the op before gave to its output."""
        name = configuration_in(self._upstream, self._where).get("name", "")
        if not name:
            raise self._error(
                "the input of an op has no artifact name",
                "input-without-name",
                hint='In(metadata={"windlass_artifact_configuration": {"name": …}}), or use an asset.',
            )
        return str(name)

    def load(self) -> Any:
        """The value. Raises `WindlassArtifactsIOManagerError`; a missing thing is an error that lists what is there."""
        keys = self._keys()
        if keys is None:
            if self._config.partitions:
                raise self._error("'partitions' is given, but the input has no partitions", "partitions-not-expected")
            artifact = self._find(self._config, None)
            self._record(artifact)
            return self._content(artifact, self._config, None)
        return self._load_partitions(keys)

    def _keys(self) -> list[str] | None:
        context = self._context
        if context.has_asset_key:
            return list(context.asset_partition_keys) if context.has_asset_partitions else None
        return [context.partition_key] if context.has_partition_key else None

    def _load_partitions(self, keys: list[str]) -> Any:
        config = self._config
        for key in sorted(_OWN):
            if (
                self._asset
                and getattr(config, key)
                and not (key in ("version", "alias") and EXTERNAL_KEY in self._upstream)
            ):
                raise self._error(
                    f"'{key}' is given for an input with partitions",
                    "partitions-expected",
                    hint=f'Write "partitions": {{"*": {{"{key}": …}}}}; "*" is for all partitions.',
                )
        unknown = [key for key in config.partitions if key != "*" and key not in set(map(str, keys))]
        if unknown:
            raise self._error(
                f"'partitions' names '{unknown[0]}', which this input does not load",
                "partition-unknown",
                partition=unknown[0],
                hint=f"It loads: {', '.join(map(str, keys[:10]))}{' …' if len(keys) > 10 else ''}.",
            )
        plans = {key: self._merged(str(key)) for key in keys}
        found = self._in_parallel(keys, lambda key: self._find_or_skip(plans[key], key))
        present = {key: artifact for key, artifact in found.items() if artifact is not None}
        if present:
            self._record(present)
        values = self._in_parallel(list(present), lambda key: self._content(present[key], plans[key], key))
        as_dict = self._container == "dict" or bool(config.partitions)
        as_dict = as_dict or (self._container == "auto" and self._context.has_asset_key and wants_dict(self._context))
        if len(keys) == 1 and len(values) == 1 and not as_dict:
            return next(iter(values.values()))
        return values

    def _merged(self, key: str) -> PartitionRead:
        """What is read of a partition: its own words, and for what it does not say those of ``*``."""
        config = self._config
        default = config.partitions.get("*", config)
        own = config.partitions.get(key)
        if own is None:
            return default
        if not (own.get or own.get_path):
            own = evolve(own, get=default.get, get_path=default.get_path)
        return own if own.selector else evolve(own, version=default.version, alias=default.alias)

    def _in_parallel(self, keys: Sequence[str], call: Callable[[str], Any]) -> dict[str, Any]:
        if len(keys) < 2:
            return {key: call(key) for key in keys}
        _ = self._client.engine  # opened once, here
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="windlass-partition") as pool:
            return dict(zip(keys, pool.map(call, keys), strict=True))

    # -- which artifact

    def _find_or_skip(self, plan: PartitionRead, key: str) -> Artifact | None:
        try:
            return self._find(plan, key)
        except WindlassArtifactsIOManagerError as error:
            if self._skip_missing and error.code == "partition-not-found":
                return None
            raise

    def _find(self, plan: PartitionRead, key: str | None) -> Artifact:
        names = self._names(key)
        selector = plan.selector or self._made_in_this_run() or "latest"
        problem: ArtifactNotFoundError | None = None
        for name in names:
            for one in dict.fromkeys((selector, *(("latest",) if not plan.selector else ()))):
                try:
                    return self._get(name, one)
                except ArtifactNotFoundError as error:
                    problem = problem or error
                except WindlassError as error:
                    raise self._error(f"'{name}' could not be looked up", "read-failed", cause=error) from error
        code, what = ("artifact-not-found", "there is no such artifact") if key is None else (
            "partition-not-found", f"there is no artifact for the partition '{key}'")  # fmt: skip
        near = self._what_is_there(names[0])
        raise self._error(what, code, cause=problem, partition=str(key or ""), hint=near) from problem

    def _get(self, name: str, selector: str) -> Artifact:
        client = self._client
        if "/" in name:  # an external asset of another project
            return client.engine.get(f"{name}:{selector}", entity=client.entity, project=client.project)
        ref = ArtifactRef(entity=client.entity, project=client.project, name=name, selector=selector)
        return client.engine.wrap(client.store.artifacts.get(ref))

    def _made_in_this_run(self) -> str:
        """The alias of what the step before has made: another run may have written a newer version meanwhile."""
        upstream = self._context.upstream_output
        run = run_id_of(self._context)
        try:
            same = upstream is not None and upstream.run_id == run
        except Exception:  # Dagster 1.11 raises for what was not made in this run
            same = False
        return f"dagster-run-{run[:8]}" if run and same else ""

    def _names(self, key: str | None) -> list[str]:
        name = self._config.name
        order = configuration_in(self._upstream, self._where).get("partition_dimensions", ())
        if key is not None:
            names = partition_names(name or asset_base(self._context.asset_key.path), key, tuple(order))
            return names if self._asset else [*names, name]
        return [name] if name else readable_names(self._context.asset_key.path)

    def _what_is_there(self, name: str) -> str:
        client = self._client
        try:
            there = client.store.artifacts.collections(client.entity, client.project)
        except WindlassError:
            return ""
        names = [collection.name for collection in there]
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names[:5]
        place = f"{client.entity}/{client.project}"
        return f"In {place} there is: {', '.join(near)}." if near else f"There is nothing in {place} yet."

    # -- what of it

    def _content(self, artifact: Artifact, plan: PartitionRead, key: str | None) -> Any:
        try:
            if plan.get:
                return artifact.get(plan.get, allow_code=self._allow_code)
            if plan.get_path:
                return artifact.get_entry(plan.get_path).download(self._folder())
            return self._whole(artifact)
        except ArtifactNotFoundError as error:
            paths = [entry.path for _, entry in zip(range(10), artifact.entries(), strict=False)]
            raise self._error(
                f"'{artifact.path}' does not hold it",
                "entry-not-found",
                cause=error,
                partition=str(key or ""),
                hint=f"It holds: {', '.join(paths)}{' …' if len(artifact) > len(paths) else ''}.",
            ) from error
        except (PluginError, ImportError) as error:
            raise self._error("a serializer cannot be used", "serializer-not-installed", cause=error) from error
        except (WindlassError, OSError) as error:
            raise self._error(
                f"'{artifact.path}' could not be read", "read-failed", cause=error, partition=str(key or "")
            ) from error

    def _whole(self, artifact: Artifact) -> Any:
        """The value that was stored; of an artifact that holds none, or where the input asks for it, the artifact."""
        wanted = self._context.dagster_type.typing_type if self._context.dagster_type is not None else Any
        if not _is(wanted, Artifact):
            entry = None
            if artifact.metadata.get("source_integration") == "dagster_windlass":
                try:
                    entry = find_object(artifact, VALUE)
                except ArtifactNotFoundError:
                    entry = None
            if entry is not None and (entry.extra or {}).get("object"):
                return load_object(self._client.engine, artifact, entry, allow_code=self._allow_code)
            if _is(wanted, Media):
                return artifact.get(wanted.__name__)
        artifact.local_path = artifact.download(self._folder())  # type: ignore[attr-defined]
        return artifact

    def _record(self, loaded: Artifact | Mapping[str, Artifact]) -> None:
        """Lineage in Windlass, and what was consumed in Dagster."""
        if self._book is not None:
            run = self._book.record
            for artifact in loaded.values() if isinstance(loaded, Mapping) else (loaded,):
                self._client.engine.use(artifact, run.id, self._book.attempt)
        try:
            step = self._context.step_context
        except Exception:  # nothing executes
            return
        if not isinstance(loaded, Mapping):
            self._context.add_input_metadata(consumed(loaded))
        elif not self._asset:
            self._context.add_input_metadata(consumed(next(iter(loaded.values()))))
        else:
            for key, artifact in loaded.items():  # Dagster's own call knows one partition only
                event = dg.AssetObservation(self._context.asset_key, metadata=consumed(artifact), partition=str(key))
                dg.DagsterEvent.asset_observation(step, event)

    def _error(
        self, message: str, code: str, *, cause: BaseException | None = None, partition: str = "", hint: str = ""
    ) -> WindlassArtifactsIOManagerError:
        more = {"hint": hint} if hint else {}
        return WindlassArtifactsIOManagerError(
            message, code=code, cause=cause, where=self._where, asset_key=self._asset, partition=partition, **more
        )


def _is(wanted: Any, kind: type) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, kind)
