"""Asset checks: the content is what was recorded, an alias is there, inputs are recorded, a signature holds."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from dagster_windlass.client import WindlassClient
from dagster_windlass.names import readable_names
from windlass.artifacts.artifact import Artifact
from windlass.errors import ArtifactNotFoundError, WindlassError

__all__ = ["build_alias_check", "build_integrity_check", "build_lineage_check", "build_signature_check"]

Key = str | Sequence[str] | dg.AssetKey | dg.AssetsDefinition


def build_integrity_check(
    asset: Key, *, resource_key: str = "windlass", blocking: bool = True
) -> dg.AssetChecksDefinition:
    """Every byte of the newest version is read and compared, and the version is the one that Dagster has recorded."""
    key = _key(asset)

    @_check(asset, "windlass_integrity", resource_key, blocking)
    def integrity(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        def look(client: WindlassClient) -> dg.AssetCheckResult:
            artifact = _find(client, key)
            recorded = context.instance.get_latest_materialization_event(key)
            event = recorded.asset_materialization if recorded is not None else None
            known = event.metadata.get("windlass_artifact_digest") if event is not None else None
            for entry in artifact.entries():
                if not entry.ref:
                    client.engine.read(entry)
            facts: dict[str, Any] = {"digest": artifact.digest, "version": artifact.version, "entries": len(artifact)}
            if known is not None and known.value != artifact.digest:
                return dg.AssetCheckResult(
                    passed=False,
                    description=f"Dagster has recorded {known.value}, the newest version is {artifact.digest}.",
                    metadata=facts,
                )
            return dg.AssetCheckResult(passed=True, metadata=facts)

        return _looked(context, resource_key, look)

    return integrity


def build_alias_check(
    asset: Key, alias: str, *, resource_key: str = "windlass", blocking: bool = False
) -> dg.AssetChecksDefinition:
    """A version has the alias."""
    key = _key(asset)
    name = "windlass_alias_" + "".join(c if c.isalnum() else "_" for c in alias)

    @_check(asset, name, resource_key, blocking)
    def has_alias(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        def look(client: WindlassClient) -> dg.AssetCheckResult:
            artifact = _find(client, key, alias)
            return dg.AssetCheckResult(passed=True, metadata={"version": artifact.version, "digest": artifact.digest})

        return _looked(context, resource_key, look)

    return has_alias


def build_lineage_check(
    asset: Key, inputs: int = 1, *, resource_key: str = "windlass", blocking: bool = False
) -> dg.AssetChecksDefinition:
    """The run that made the newest version has recorded at least so many inputs."""
    key = _key(asset)

    @_check(asset, "windlass_lineage", resource_key, blocking)
    def lineage(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from windlass.models.artifact import EdgeKind

        def look(client: WindlassClient) -> dg.AssetCheckResult:
            artifact = _find(client, key)
            run = artifact.logged_by()
            edges = client.store.artifacts.edges(run_id=run, kind=EdgeKind.INPUT) if run else ()
            paths = [client.store.artifacts.get_by_id(edge.version).path for edge in edges]
            return dg.AssetCheckResult(
                passed=len(paths) >= inputs, metadata={"run": run, "inputs": dg.MetadataValue.json(paths)}
            )

        return _looked(context, resource_key, look)

    return lineage


def build_signature_check(
    asset: Key, *, resource_key: str = "windlass", blocking: bool = True
) -> dg.AssetChecksDefinition:
    """The newest version has a valid signature of a key that ``<WINDLASS_HOME>/trust.yaml`` trusts."""
    key = _key(asset)

    @_check(asset, "windlass_signature", resource_key, blocking)
    def signature(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from windlass.trust.policy import load_policy, signer_of

        def look(client: WindlassClient) -> dg.AssetCheckResult:
            artifact = _find(client, key)
            signer = signer_of(artifact.info, load_policy(client.settings.home), required=True)
            return dg.AssetCheckResult(
                passed=signer is not None, metadata={"signed_by": signer.name if signer is not None else ""}
            )

        return _looked(context, resource_key, look)

    return signature


def _key(asset: Key) -> dg.AssetKey:
    return asset.key if isinstance(asset, dg.AssetsDefinition) else dg.AssetKey.from_coercible(asset)


def _check(
    asset: Key, name: str, resource_key: str, blocking: bool
) -> Callable[[Callable[..., Any]], dg.AssetChecksDefinition]:
    return dg.asset_check(asset=_key(asset), name=name, blocking=blocking, required_resource_keys={resource_key})


def _find(client: WindlassClient, key: dg.AssetKey, alias: str = "latest") -> Artifact:
    names = readable_names(key.path)
    for name in names[:-1]:
        try:
            return client.artifact(f"{name}:{alias}")
        except ArtifactNotFoundError:
            continue
    return client.artifact(f"{names[-1]}:{alias}")


def _looked(context: dg.AssetCheckExecutionContext, resource_key: str, look: Any) -> dg.AssetCheckResult:
    """The result of a look; what it raises is a check that did not pass, with its reason."""
    given = getattr(context.resources, resource_key)
    client = given if isinstance(given, WindlassClient) else given.client()
    try:
        found: dg.AssetCheckResult = look(client)
    except WindlassError as error:
        return dg.AssetCheckResult(passed=False, description=str(error), metadata={"code": error.code})
    return found
