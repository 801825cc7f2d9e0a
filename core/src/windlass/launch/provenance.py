"""Where a run comes from: what its agent records, the in-toto statement about it, and how to run it again exactly."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve

from windlass import wire
from windlass.artifacts.names import CODE_TYPES, parse_ref
from windlass.errors import UsageError
from windlass.launch.paths import dotted, leaves
from windlass.launch.plan import RunPlan, plan_run
from windlass.models import JSON, noted
from windlass.models.artifact import ArtifactVersion, EdgeKind
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Queue
from windlass.models.run import Run

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore
    from windlass.trust.keys import SigningKey

__all__ = ["KEY", "PAYLOAD_TYPE", "as_used", "pinned", "record", "signed", "statement"]

KEY = "provenance"
"""Key of what the agent recorded, in ``run.config["_windlass"]``."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "https://windlass.dev/run/v1"


def record(
    plan: RunPlan, *, digest: str, requirements: Iterable[str], asked: Iterable[str] = (), agent: str
) -> dict[str, JSON]:
    """What an agent records with a run before it starts it. Secrets are references.

    Args:
        plan: What the runner is given.
        digest: Of the image it built, or empty.
        requirements: What is installed for it.
        asked: What its source asks for.
        agent: Its version.
    """
    found = {
        "resolved": {
            "resource": plan.resource,
            "resource_args": plan.resource_args,
            "command": [*plan.command, *plan.args],
            "secrets": plan.secrets,
            "policy": wire.to_plain(plan.policy),
        },
        "image": plan.image,
        "image_digest": digest,
        "requirements": list(requirements),
        "asked": list(asked),
        "agent_version": agent,
    }
    return {key: value for key, value in found.items() if value}


def _recorded(run: Run) -> dict[str, Any]:
    found = noted(run.config, KEY)
    return found if isinstance(found, dict) else {}


def statement(run: Run, store: MetadataStore) -> dict[str, JSON]:
    """The run's origin as an in-toto statement with SLSA's provenance predicate.

    Subjects are the run itself and the artifacts it logged. Dependencies are source, patch, image, used artifacts
    and installed packages.
    """
    known = _recorded(run)
    spec = wire.to_plain(run.spec) if run.spec is not None else {}
    path = f"{run.entity}/{run.project}/{run.id}"
    subject = [{"name": f"run/{path}", "digest": {"sha256": hashlib.sha256(wire.encode(spec)).hexdigest()}}]
    logged = _edges(run, store, EdgeKind.OUTPUT)
    if run.spec is not None:
        needs = _source(run.spec.source, store)
    else:  # it kept its own code, or how that differs from the commit: what it was made from, not what it made
        kept = [version for version in logged if version.type in CODE_TYPES]
        logged = [version for version in logged if version not in kept]
        needs = _facts(run) + [_artifact(version) for version in kept]
    subject += [_artifact(version) for version in logged]
    if known.get("image") and (run.spec is None or run.spec.source.kind is not SourceKind.IMAGE):
        needs.append(_image(str(known["image"]), str(known.get("image_digest", ""))))
    needs += [_artifact(version) for version in _edges(run, store, EdgeKind.INPUT)]
    needs += [{"uri": _package(line), "name": line} for line in known.get("requirements", ())]
    return {
        "_type": _STATEMENT,
        "subject": subject,
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": spec,
                "internalParameters": known.get("resolved", {}),
                "resolvedDependencies": needs,
            },
            "runDetails": {
                "builder": {"id": "windlass-agent", "version": {"windlass": str(known.get("agent_version", ""))}},
                "metadata": {"invocationId": f"{path}/{run.attempt}", "startedOn": _time(run.started_at),
                             "finishedOn": _time(run.finished_at)},
            },
        },
    }  # fmt: skip


def signed(document: dict[str, JSON], key: SigningKey) -> dict[str, JSON]:
    """The statement in a DSSE envelope, signed."""
    body = wire.encode(document)
    kind = PAYLOAD_TYPE.encode()
    signature = key.sign(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body))
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(body).decode(),
        "signatures": [{"keyid": key.id, "sig": base64.b64encode(signature).decode()}],
    }


def _edges(run: Run, store: MetadataStore, kind: EdgeKind) -> list[ArtifactVersion]:
    ids = dict.fromkeys(edge.version for edge in store.artifacts.edges(run_id=run.id, kind=kind))
    return [store.artifacts.get_by_id(version) for version in ids]


def _artifact(version: ArtifactVersion) -> dict[str, Any]:
    algorithm, _, value = version.digest.partition(":")
    return {"name": version.path, "uri": f"windlass:{version.path}", "digest": {algorithm: value}}


def _image(ref: str, digest: str) -> dict[str, Any]:
    algorithm, _, value = digest.partition(":")
    return {"uri": f"docker:{ref}", **({"digest": {algorithm: value}} if value else {})}


def _source(source: JobSource, store: MetadataStore) -> list[dict[str, Any]]:
    from windlass.artifacts.names import parse_ref

    if source.kind is SourceKind.IMAGE:
        return [_image(source.image, source.image.partition("@")[2])]
    found: list[dict[str, Any]] = []
    if source.kind is SourceKind.GIT:
        found.append({"uri": f"git+{source.remote}@{source.commit}", "digest": {"gitCommit": source.commit}})
    paths = filter(None, (source.artifact, source.patch))
    return found + [_artifact(store.artifacts.get(parse_ref(path, entity="", project=""))) for path in paths]


def _facts(run: Run) -> list[dict[str, Any]]:
    git = noted(run.config, "git")
    if not isinstance(git, dict) or not git.get("commit"):
        return []
    return [{"uri": f"git+{git.get('remote', '')}@{git['commit']}", "digest": {"gitCommit": git["commit"]}}]


def _package(line: str) -> str:
    name, pin, version = line.partition("==")
    return f"pkg:pypi/{name.strip().lower()}" + (f"@{version.strip()}" if pin else "")


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""


def as_used(name: str, pins: Mapping[str, str], *, entity: str, project: str) -> str:
    """What a run that repeats another one exactly reads for the name of an input: an alias may have moved since."""
    ref = parse_ref(name, entity=entity, project=project)
    path = f"{ref.entity}/{ref.project}/{ref.name}"
    fixed = ":" in ref.selector or re.fullmatch(r"v[0-9]+", ref.selector)
    return name if fixed or path not in pins else f"{path}:{pins[path]}"


def _inputs(run: Run, store: MetadataStore) -> tuple[dict[str, str], list[str]]:
    used: dict[str, list[ArtifactVersion]] = {}
    for version in _edges(run, store, EdgeKind.INPUT):
        used.setdefault(f"{version.entity}/{version.project}/{version.name}", []).append(version)
    pins, loose = {}, []
    for path, versions in used.items():
        numbers = [f"v{version.version}" for version in versions]
        if len(numbers) > 1:
            loose.append(f"the input {path}: the run used {' and '.join(numbers)}")
        elif versions[0].deleted_at:
            loose.append(f"the input {path}:{numbers[0]}, which was deleted")
        else:
            pins[path] = numbers[0]
    return pins, loose


def pinned(run: Run, queue: Queue, store: MetadataStore) -> tuple[LaunchSpec, dict[str, str], tuple[str, ...]]:
    """What runs a launched run again with everything pinned that can be, the versions of its inputs, and what cannot.

    Args:
        run: That is to be repeated.
        queue: Its queue as it is now.
        store: Knows what it used.

    Raises:
        UsageError: It was not launched.
    """
    spec = run.spec
    if spec is None:
        raise UsageError(f"run {run.id} was not launched, so there is nothing to launch again", where="run retry")
    known, loose = _recorded(run), []
    if not known:
        loose.append("everything beside the source: the run never got to its runner")
    source = spec.source
    if source.kind is SourceKind.IMAGE:
        if "@sha256:" not in source.image:
            loose.append(f"the image {source.image}, which is named by a tag")
    elif run.image:
        # Tags of built images are hashes of all that went into them.
        entry = spec.entry_point or source.entry_point
        source = JobSource(kind=SourceKind.IMAGE, image=run.image, entry_point=entry)
        spec = evolve(spec, source=source, dockerfile="", build_context="", base_image="")
    else:
        free = [line for line in known.get("asked", known.get("requirements", ())) if "==" not in line]
        loose.append(f"packages: {', '.join(free) if free else 'those installed beside the agent'}")
    loose += _changed(run, spec, queue, known)
    inputs, moved = _inputs(run, store)
    return spec, inputs, (*loose, *moved)


def _changed(run: Run, spec: LaunchSpec, queue: Queue, known: dict[str, Any]) -> list[str]:
    before = known.get("resolved", {}).get("resource_args")
    if before is None:
        return []
    now = plan_run(evolve(run, spec=spec), queue, image=run.image).resource_args
    old, new = dict(leaves(before)), dict(leaves(now))
    places = sorted({dotted(path) for path in old.keys() | new.keys() if old.get(path) != new.get(path)})
    return [f"the queue's config, which has changed: {', '.join(places)}"] if places else []
