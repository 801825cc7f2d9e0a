"""Lineage: which runs made and used an artifact, up and down, and its export as OpenLineage events."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen

from windlass.errors import RunNotFoundError
from windlass.metastore import MetadataStore
from windlass.models.artifact import ArtifactVersion, EdgeKind
from windlass.models.run import Run

__all__ = ["LineageNode", "lineage_tree", "openlineage_events"]

_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_PRODUCER = "https://windlass.dev"
_NAMESPACE = uuid.UUID("7b1f7c1e-0f4b-5c53-9a53-7d1d3a6c2f10")


@frozen(kw_only=True)
class LineageNode:
    """An artifact version or a run in a lineage tree.

    Attributes:
        kind: ``artifact`` or ``run``.
        id: Id of the version or run.
        name: ``entity/project/name:v3``, or the run's name.
        type: Type of the artifact, ``collected`` for one that is gone for good; or state of the run.
        children: What it was made from (upwards) or what was made from it (downwards).
        job: The job of a run, else empty.
        repeated: It stands elsewhere in the tree with its children.
    """

    kind: str
    id: str
    name: str
    type: str
    children: tuple[LineageNode, ...] = field(default=())
    repeated: bool = False
    job: str = ""


def lineage_tree(
    store: MetadataStore, version: ArtifactVersion, *, direction: str = "up", depth: int = 20
) -> LineageNode:
    """The tree of what a version was made from (``up``) or what was made from it (``down``).

    Args:
        store: The index.
        version: Where to begin.
        direction: ``up`` or ``down``.
        depth: Steps from the version, a run and an artifact being one each.
    """
    seen: set[str] = set()
    to_run, to_version = (EdgeKind.OUTPUT, EdgeKind.INPUT) if direction == "up" else (EdgeKind.INPUT, EdgeKind.OUTPUT)

    def artifact(node: ArtifactVersion, left: int) -> LineageNode:
        repeated = node.id in seen
        seen.add(node.id)
        children: list[LineageNode] = []
        if left > 0 and not repeated:
            edges = store.artifacts.edges(version_id=node.id, kind=to_run)
            children = [run(edge.run, left - 1) for edge in edges]
        return LineageNode(
            kind="artifact", id=node.id, name=node.path, type=node.type, children=tuple(children), repeated=repeated
        )

    def run(run_id: str, left: int) -> LineageNode:
        found = _run(store, run_id)
        repeated = run_id in seen
        seen.add(run_id)
        children: list[LineageNode] = []
        if left > 0 and not repeated:
            edges = store.artifacts.edges(run_id=run_id, kind=to_version, collected=True)
            children = [
                LineageNode(kind="artifact", id=edge.version, name=edge.collected, type="collected")
                if edge.collected
                else artifact(store.artifacts.get_by_id(edge.version), left - 1)
                for edge in edges
            ]
        return LineageNode(
            kind="run",
            id=run_id,
            name=(found.name if found else "") or run_id,
            type=str(found.state) if found else "deleted",
            children=tuple(children),
            repeated=repeated,
            job=found.job if found else "",
        )

    return artifact(version, depth)


def openlineage_events(store: MetadataStore, root: LineageNode) -> list[dict[str, Any]]:
    """OpenLineage run events (``COMPLETE``, or ``FAIL``) for all runs of a tree, as JSON values."""
    runs: dict[str, LineageNode] = {}
    todo = [root]
    while todo:
        node = todo.pop()
        todo += node.children
        if node.kind == "run":
            runs.setdefault(node.id, node)
    return [_event(store, run_id) for run_id in runs]


def _event(store: MetadataStore, run_id: str) -> dict[str, Any]:
    found = _run(store, run_id)
    edges = store.artifacts.edges(run_id=run_id, collected=True)
    datasets: dict[EdgeKind, list[dict[str, Any]]] = {EdgeKind.INPUT: [], EdgeKind.OUTPUT: []}
    for edge in edges:
        datasets[edge.kind].append(_dataset(edge.collected or store.artifacts.get_by_id(edge.version).path))
    ended = (found.finished_at if found else 0.0) or max((edge.created_at for edge in edges), default=0.0)
    failed = found is not None and str(found.state) in ("failed", "crashed", "killed")
    owner = f"{found.entity}/{found.project}" if found else "unknown"
    return {
        "eventType": "FAIL" if failed else "COMPLETE",
        "eventTime": datetime.fromtimestamp(ended, UTC).isoformat(),
        "run": {"runId": str(uuid.uuid5(_NAMESPACE, run_id)), "facets": {}},
        "job": {"namespace": f"windlass://{owner}", "name": (found.job if found else "") or run_id, "facets": {}},
        "inputs": datasets[EdgeKind.INPUT],
        "outputs": datasets[EdgeKind.OUTPUT],
        "producer": _PRODUCER,
        "schemaURL": _SCHEMA,
    }


def _dataset(path: str) -> dict[str, Any]:
    owner, _, name = path.rpartition("/")
    name, _, version = name.rpartition(":")
    return {
        "namespace": f"windlass://{owner}",
        "name": name,
        "facets": {
            "version": {
                "_producer": _PRODUCER,
                "_schemaURL": "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json",
                "datasetVersion": version,
            }
        },
    }


def _run(store: MetadataStore, run_id: str) -> Run | None:
    try:
        return store.runs.get(run_id)
    except RunNotFoundError:
        return None
