"""Storing outputs: from a value to versions of artifacts, and what Dagster is told about them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from dagster_windlass.config import configuration_in, write_configuration
from dagster_windlass.errors import WindlassArtifactsIOManagerError
from dagster_windlass.metadata import artifact_side, dagster_side, run_id_of, shape_of
from dagster_windlass.names import artifact_name, partition_names
from dagster_windlass.partitions import PartitionedOutput
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.digest import hash_file
from windlass.artifacts.media import Media
from windlass.artifacts.objects import add_object
from windlass.errors import PluginError, SerializationError, UsageError, WindlassError

if TYPE_CHECKING:
    from dagster_windlass.client import WindlassClient
    from dagster_windlass.runs import RunBook

__all__ = ["VALUE", "Writer"]

VALUE = "output"
"""Name of a value in its artifact."""


class Writer:
    """Stores one output.

    Args:
        client: Where to.
        book: The run that is recorded as its maker.
        context: Of the output.
        serializer: Serializer of values whose configuration names none; empty: by type, else pickle.
    """

    def __init__(self, client: WindlassClient, book: RunBook, context: dg.OutputContext, serializer: str = "") -> None:
        self._client = client
        self._book = book
        self._context = context
        self._serializer = serializer
        self._asset = context.asset_key.to_user_string() if context.has_asset_key else ""
        self._where = f"output of {self._asset or context.name}"
        self._config = write_configuration(configuration_in(context.definition_metadata, self._where), self._where)
        if self._asset and self._config.name:
            raise self._error(
                f"the configuration names the artifact '{self._config.name}', but assets name theirs themselves",
                "name-of-asset",
                hint="Remove 'name', or rename the asset.",
            )

    def write(self, value: Any) -> None:
        """Store the value and report it. Raises `WindlassArtifactsIOManagerError`; nothing half-written is visible."""
        if value is None:
            self._context.log.warning(
                "%s is None: no artifact is made. Annotate the function with '-> None' if that is meant.", self._where
            )
            return
        keys = self._keys()
        if isinstance(value, PartitionedOutput):
            self._write_several(keys, iter(value))
        elif len(keys) > 1:
            if not isinstance(value, Mapping) or set(map(str, value)) != set(keys):
                raise self._error(
                    f"the run makes {len(keys)} partitions; {type(value).__name__} does not say which value is whose",
                    "several-partitions",
                    hint="Return PartitionedOutput({partition_key: value, …}), or a dict with exactly the run's keys.",
                )
            self._write_several(keys, iter(value.items()))
        else:
            key = keys[0] if keys else None
            stored = self._store(value, key)
            self._report(stored, key, self._facts(stored, value), several=False)

    def _keys(self) -> list[str]:
        """Partition keys of this run for the output; empty when it has no partitions."""
        context = self._context
        if context.has_asset_key:
            return list(context.asset_partition_keys) if context.has_asset_partitions else []
        return [context.partition_key] if context.has_partition_key else []

    def _write_several(self, keys: list[str], pairs: Iterator[tuple[str, Any]]) -> None:
        if not keys:
            raise self._error(
                "a PartitionedOutput was returned, but the output has no partitions",
                "partition-not-in-run",
                hint="Give the asset a partitions_def.",
            )
        open_keys = {str(key): key for key in keys}
        digests: dict[str, str] = {}
        for given, value in pairs:
            key = open_keys.pop(str(given), None)
            if key is None:
                why = "twice" if str(given) in digests else "which this run does not make"
                raise self._error(
                    f"the output holds the partition '{given}' {why}",
                    "partition-not-in-run",
                    partition=str(given),
                    hint=f"The run makes: {_some(keys)}.",
                )
            stored = self._store(value, key)
            digests[str(key)] = stored.digest
            self._report(stored, key, self._facts(stored, value), several=True)
        if open_keys:
            raise self._error(
                f"the output lacks {len(open_keys)} of {len(keys)} partitions: {_some(sorted(open_keys))}",
                "partition-missing",
                hint="Return all partitions of the run; those that were returned are stored.",
            )
        combined = "".join(f"{key}={digest}\n" for key, digest in sorted(digests.items()))
        if len(digests) == 1:
            self._set_data_version(next(iter(digests.values())))
        else:
            self._set_data_version(f"sha256:{hashlib.sha256(combined.encode()).hexdigest()}")

    # -- one artifact

    def _store(self, value: Any, partition: str | None) -> Artifact:
        artifact = self._from_artifact(value, partition) if isinstance(value, Artifact) else None
        if artifact is not None and artifact.logged:
            return artifact
        try:
            if artifact is None:
                artifact = self._from_value(value, partition)
            self._add_content(artifact)
            run = self._book.record
            aliases = [*self._config.aliases, f"dagster-run-{run_id_of(self._context)[:8] or 'unknown'}"]
            return self._client.engine.log(
                artifact,
                entity=self._client.entity,
                project=self._client.project,
                run=run.id,
                attempt=self._book.attempt,
                aliases=aliases,
                tags=self._config.tags,
            )
        except WindlassArtifactsIOManagerError:
            raise
        except SerializationError as error:
            raise self._error(
                f"the {type(value).__name__} cannot be written", "serialization-failed", cause=error
            ) from error
        except (PluginError, ImportError) as error:
            raise self._error("a serializer cannot be used", "serializer-not-installed", cause=error) from error
        except (WindlassError, OSError) as error:
            raise self._error("the artifact could not be stored", "write-failed", cause=error) from error

    def _name(self, partition: str | None) -> str:
        config = self._config
        if self._asset:
            return artifact_name(self._context.asset_key.path, partition, config.partition_dimensions)
        if partition is None:
            return config.name
        return partition_names(config.name, partition, config.partition_dimensions)[0]

    def _from_value(self, value: Any, partition: str | None) -> Artifact:
        config = self._config
        if not self._asset and not config.name:
            raise self._error(
                "the output of an op has no artifact name",
                "output-without-name",
                hint='Out(metadata={"windlass_artifact_configuration": {"name": …, "type": …}}), or use an asset.',
            )
        artifact = Artifact(
            self._name(partition),
            config.type or "artifact",
            config.description or None,
            {**config.metadata, **artifact_side(self._context, partition)},
        )
        chosen = config.serialization_module
        if isinstance(value, Media):
            if chosen is not None:
                self._context.log.warning(
                    "%s: a %s has a form of its own; serialization_module is ignored", self._where, type(value).__name__
                )
            artifact.add(value, type(value).__name__)
            return artifact
        path = add_object(
            self._client.app,
            artifact.draft,
            value,
            VALUE,
            serializer=chosen.name if chosen is not None else self._serializer,
            parameters=chosen.parameters if chosen is not None else None,
            borrow=True,  # it is logged at once
        )
        artifact.metadata.update(_serializer_facts(artifact, path))
        return artifact

    def _from_artifact(self, given: Artifact, partition: str | None) -> Artifact:
        """A new artifact with the content of the given one, which stays as it is."""
        config = self._config
        for key in ("name", "type"):
            if getattr(config, key):
                raise self._error(
                    f"an Artifact was returned, and the configuration gives its {key} again",
                    f"artifact-{key}-given",
                    hint=f"Remove '{key}' from the configuration; the Artifact has one.",
                )
        if given.description and config.description:
            raise self._error(
                "both the Artifact and the configuration have a description",
                "description-twice",
                hint="Remove one of them.",
            )
        if config.serialization_module is not None:
            self._context.log.warning("%s: an Artifact is not serialized; serialization_module is ignored", self._where)
        name = self._name(partition) if self._asset else given.name
        if not self._asset and partition is not None:
            name = partition_names(given.name, partition, config.partition_dimensions)[0]
        if partition is None and name != given.name:
            self._context.log.warning("%s: the Artifact '%s' is stored as '%s'", self._where, given.name, name)
        same_place = (given.entity, given.project) == (self._client.entity, self._client.project)
        if given.logged and given.name == name and same_place:
            return given
        made = Artifact(name, given.type, given.description or config.description or None)
        made.metadata = {**given.metadata, **config.metadata, **artifact_side(self._context, partition)}
        made.tags = given.tags
        made.ttl_seconds = given.ttl_seconds
        made.incremental = given.incremental
        made.draft = given.content()
        made.take_over(*given.origins)
        return made

    def _add_content(self, artifact: Artifact) -> None:
        for file in self._config.add_files:
            if not os.path.isfile(file.local_path):
                raise self._missing(file.local_path, "file")
            name = file.name or os.path.basename(file.local_path)
            if file.is_tmp:
                stem, suffix = os.path.splitext(name)
                digest = hash_file(os.path.abspath(file.local_path)).partition(":")[2][:32]
                name = f"{stem}-{digest}{suffix}" if file.name else f"{digest}{suffix}"
            artifact.add_file(file.local_path, name, policy=file.policy, overwrite=file.overwrite)
        for folder in self._config.add_dirs:
            if not os.path.isdir(folder.local_path):
                raise self._missing(folder.local_path, "folder")
            artifact.add_dir(
                folder.local_path,
                folder.name or None,
                include=folder.include,
                exclude=folder.exclude,
                symlinks=folder.symlinks,
                policy=folder.policy,
                overwrite=folder.overwrite,
            )
        for reference in self._config.add_references:
            artifact.add_reference(
                reference.uri,
                reference.name or None,
                checksum=reference.checksum,
                max_objects=reference.max_objects,
                symlinks=reference.symlinks,
                overwrite=reference.overwrite,
            )

    def _missing(self, path: str, what: str) -> UsageError:
        return UsageError(f"there is no {what} '{path}'", hint=f"The working directory is {os.getcwd()}.")

    # -- what Dagster is told

    def _facts(self, stored: Artifact, value: Any) -> dict[str, Any]:
        facts = dagster_side(self._client, stored, self._book.record, run_id_of(self._context))
        own = set(self._context.output_metadata or {})
        return {key: item for key, item in {**facts, **shape_of(value)}.items() if key not in own}

    def _report(self, stored: Artifact, partition: str | None, facts: dict[str, Any], *, several: bool) -> None:
        if not several:
            self._context.add_output_metadata(facts)
            self._set_data_version(stored.digest)
            return
        if "dagster/row_count" in facts:
            facts["dagster/partition_row_count"] = facts.pop("dagster/row_count")
        step = self._step()
        if step is not None:
            step.add_asset_metadata(facts, asset_key=self._context.asset_key, partition_key=partition)

    def _set_data_version(self, digest: str) -> None:
        step = self._step()
        if step is not None and self._context.has_asset_key and not step.has_data_version(self._context.asset_key):
            step.set_data_version(self._context.asset_key, dg.DataVersion(digest))

    def _step(self) -> Any:
        """The step's context; None in a context that was made by hand."""
        try:
            return self._context.step_context
        except Exception:
            return None

    def _error(
        self, message: str, code: str, *, cause: BaseException | None = None, partition: str = "", hint: str = ""
    ) -> WindlassArtifactsIOManagerError:
        more = {"hint": hint} if hint else {}
        return WindlassArtifactsIOManagerError(
            message, code=code, cause=cause, where=self._where, asset_key=self._asset, partition=partition, **more
        )


def _serializer_facts(artifact: Artifact, path: str) -> dict[str, Any]:
    """Which serializer wrote the value, in the words of the integration."""
    extra = getattr(artifact.draft.items[path], "extra", None) or {}
    record = extra.get("object") or {}
    facts: dict[str, Any] = {"source_serialization_module": record.get("serializer", "")}
    for name, number in (record.get("versions") or {}).items():
        key = "source_pickle_protocol_used" if name == "protocol" else f"source_{name}_version_used"
        facts[key] = int(number) if name == "protocol" and str(number).isdigit() else number
    return facts


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
