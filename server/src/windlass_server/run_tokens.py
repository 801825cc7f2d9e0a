"""What the code of a run may do with its token: its own run, and the artifacts of its project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from msgspec.structs import replace

from windlass.errors import AccessError, ArtifactNotFoundError
from windlass.ids import attempt_id
from windlass.metastore import MetadataStore
from windlass.models.access import Principal
from windlass.models.run import RunUpdate

Arguments = dict[str, Any]
Narrow = Callable[[MetadataStore, Principal, Arguments], None]

_KEY = "For anything else use an API key."
_AGENTS_OWN = ("state", "phase", "reason", "host", "handle", "image", "exit_code", "usage")
"""Fields of a run that its agent reports, not its code."""


def anything(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """No limit."""


def own_run(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """Its own run, as the attempt it is."""
    if arguments["run_id"] != principal.run:
        raise AccessError(f"this token is good for run '{principal.run}' only", hint=_KEY)
    if "attempt" in arguments:
        arguments["attempt"] = principal.attempt


def update(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """Its own run's labels, config and summary. How the run ends is what its agent sees, not what the code says."""
    own_run(store, principal, arguments)
    changes: RunUpdate = arguments["changes"]
    kept: dict[str, Any] = dict.fromkeys(_AGENTS_OWN)
    arguments["changes"] = evolve(changes, reopen=False, **kept)
    arguments["fence"] = None


def for_agents(changes: RunUpdate) -> tuple[str, ...]:
    """The fields of a change that are an agent's to report."""
    return tuple(name for name in _AGENTS_OWN if getattr(changes, name) is not None)


def append_log(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """Its own log, from a source of its own, so that the agent's cursors stay the agent's."""
    own_run(store, principal, arguments)
    prefix = f"{attempt_id(principal.run, principal.attempt)}/sdk"
    if not arguments["source"].startswith(prefix):
        raise AccessError(f"a run may only write to log sources that begin with '{prefix}'")
    arguments["fence"] = None


def own_project(name: str = "") -> Narrow:
    """Only things of its project."""

    def check(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
        found = arguments[name] if name else None
        entity = arguments["entity"] if found is None else found.entity
        project = arguments["project"] if found is None else found.project
        _same_project(principal, entity, project)
        if not name and "changes" in arguments:
            _unprotected(store, arguments)

    return check


def version(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """A version of its project, labelled in the run's name."""
    found = store.artifacts.get_by_id(arguments["version_id"])
    _same_project(principal, found.entity, found.project)
    if "changes" in arguments:
        _unprotected(store, arguments)
        arguments["changes"] = evolve(arguments["changes"], run=principal.run)


def read_ref(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """An artifact of its project, or one that its launch spec names: the code of the job."""
    ref = arguments["ref"]
    if not _named(store, principal, str(ref)):
        _same_project(principal, ref.entity, ref.project)


def read_version(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """A version of its project, or one that its launch spec names."""
    found = store.artifacts.get_by_id(arguments["version_id"])
    if not _named(store, principal, found.path):
        _same_project(principal, found.entity, found.project)


def _named(store: MetadataStore, principal: Principal, path: str) -> bool:
    spec = store.runs.get(principal.run).spec
    return spec is not None and path in (spec.job, spec.source.artifact, spec.source.patch)


def use(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """Its own run uses a version of its project."""
    own_run(store, principal, arguments)
    version(store, principal, arguments)


def edges(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """Lineage of its own run or of a version of its project."""
    if arguments["run_id"]:
        own_run(store, principal, arguments)
    if arguments["version_id"]:
        version(store, principal, arguments)


def commit(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """A version in its project, logged by itself as the attempt it is."""
    new = arguments["new"]
    _same_project(principal, new.entity, new.project)
    if new.run not in ("", principal.run):
        raise AccessError(f"this token is good for run '{principal.run}' only", hint=_KEY)
    arguments["new"] = replace(new, run=principal.run, attempt=principal.attempt)
    _unprotected(store, arguments)


def protected_entity(store: MetadataStore, arguments: Arguments) -> str:
    """The entity whose owners alone may do this because a protected alias is touched; empty when none is."""
    changes = arguments.get("changes")
    if "version_id" in arguments:
        found = store.artifacts.get_by_id(arguments["version_id"])
        entity, project, name = found.entity, found.project, found.name
        aliases = {*changes.add_aliases, *changes.remove_aliases} if changes else set()
    elif "new" in arguments:
        new = arguments["new"]
        entity, project, name, aliases = new.entity, new.project, new.name, {"latest", *new.aliases}
    else:
        return arguments["entity"] if changes and changes.protected_aliases is not None else ""
    try:
        protected = set(store.artifacts.collection(entity, project, name).protected_aliases)
    except ArtifactNotFoundError:
        return ""
    return entity if protected & aliases else ""


def _unprotected(store: MetadataStore, arguments: Arguments) -> None:
    if protected_entity(store, arguments):
        raise AccessError("protected aliases are for owners", hint="Use an owner's API key.")


def _same_project(principal: Principal, entity: str, project: str) -> None:
    if (entity, project) != (principal.entity, principal.project):
        raise AccessError(
            f"this token is good for project '{principal.entity}/{principal.project}' only",
            hint="Artifacts of other projects are out of a run's reach.",
        )
