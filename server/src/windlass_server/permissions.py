"""Who may call what: one table, checked for each entity a call touches.

A rule names the role that a user needs, and how to find the entities it must be held in. Submitters change and stop the
runs that they are the authors of; how a launched run goes is for its agent to say. Run tokens have no role:
a rule says with `run` what they may do, or they may not. Agents need the role ``owner``: they read what everybody
submits and may end it. Who has which role is for the role ``admin`` to say, so that no agent's key gives rights away.
On a run that another entity put on their queue owners may do what an agent does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from windlass.errors import AccessError, NotFoundError
from windlass.metastore import MetadataStore
from windlass.models.access import Principal, Role, outliving_key
from windlass.models.launch import LaunchSpec
from windlass.models.queue import QueueRef, queue_of
from windlass.models.run import Run
from windlass_server import run_tokens

Arguments = dict[str, Any]
Find = Callable[[MetadataStore, Arguments], Iterable[str]]
"""Gives the entities a call touches."""
Narrow = Callable[[MetadataStore, Principal, Arguments], None]
"""Checks what a run token may do, and fills in what is fixed for it. Raises `AccessError`."""


@frozen
class Rule:
    """What one method needs.

    Attributes:
        role: Role in every entity of `entities`; None: being signed in is enough.
        entities: Finds them. Without it a `role` of ADMIN means administrator of the server.
        run: What a run token may do; None: nothing.
        agents: Owners of the queue that the run is on may do it, whosever the run is.
    """

    role: Role | None
    entities: Find | None = None
    run: Narrow | None = None
    agents: bool = False


def _path(*names: str) -> Find:
    def find(store: MetadataStore, arguments: Arguments) -> Iterable[str]:
        value: Any = arguments
        for name in names:
            value = value[name] if isinstance(value, dict) else getattr(value, name)
        return (value,)

    return find


def _run(store: MetadataStore, arguments: Arguments) -> Iterable[str]:
    return (store.runs.get(arguments["run_id"]).entity,)


def _lease(store: MetadataStore, arguments: Arguments) -> Iterable[str]:
    return (store.runs.get(arguments["lease"].run_id).entity,)


def _version(store: MetadataStore, arguments: Arguments) -> Iterable[str]:
    return (store.artifacts.get_by_id(arguments["version_id"]).entity,)


def _edges(store: MetadataStore, arguments: Arguments) -> Iterable[str]:
    found = []
    if arguments["run_id"]:
        found.append(store.runs.get(arguments["run_id"]).entity)
    if arguments["version_id"]:
        found.append(store.artifacts.get_by_id(arguments["version_id"]).entity)
    return found


def _queues(refs: Iterable[QueueRef]) -> set[str]:
    return {ref.entity for ref in refs}


def _agent(name: str) -> Find:
    def find(store: MetadataStore, arguments: Arguments) -> Iterable[str]:
        try:
            agent = store.agents.get(arguments[name])
        except NotFoundError:
            runs = [store.runs.get(lease.run_id) for lease in arguments.get("leases", ())]
            return {run.entity for run in runs}
        return _queues(agent.queues) | {agent.entity}

    return find


def _items(store: MetadataStore, arguments: Arguments) -> Iterable[str]:
    return {entity for item in arguments["items"] for entity in (item.queue.entity, item.entity) if entity}


def _trigger(store: MetadataStore, arguments: Arguments) -> Iterable[str]:
    trigger = arguments["trigger"]
    return {trigger.entity, trigger.queue.entity}


_ASK = "Ask an administrator of the server."
_VIEWER, _SUBMITTER, _OWNER, _ADMIN = Role.VIEWER, Role.SUBMITTER, Role.OWNER, Role.ADMIN
_own, _project = run_tokens.own_run, run_tokens.own_project

RULES: dict[str, Rule] = {
    "store.whoami": Rule(None, run=run_tokens.anything),
    "store.now": Rule(None, run=run_tokens.anything),
    "runs.create": Rule(_SUBMITTER, _path("run", "entity")),
    "runs.get": Rule(_VIEWER, _run, _own, agents=True),
    "runs.list": Rule(_VIEWER, _path("where", "entity")),
    "runs.update": Rule(_SUBMITTER, _run, run_tokens.update, agents=True),
    "runs.request_stop": Rule(_SUBMITTER, _run, agents=True),
    "runs.delete": Rule(_OWNER, _run),
    "runs.log_metrics": Rule(_SUBMITTER, _run, _own),
    "runs.metrics": Rule(_VIEWER, _run, _own),
    "runs.append_log": Rule(_SUBMITTER, _run, run_tokens.append_log, agents=True),
    "runs.log_cursor": Rule(_VIEWER, _run, _own, agents=True),
    "runs.read_log": Rule(_VIEWER, _run, _own, agents=True),
    "queues.create": Rule(_OWNER, _path("queue", "entity")),
    "queues.get": Rule(_VIEWER, _path("ref", "entity")),
    "queues.list": Rule(_VIEWER, _path("entity")),
    "queues.update": Rule(_OWNER, _path("queue", "entity")),
    "queues.delete": Rule(_OWNER, _path("ref", "entity")),
    "queues.status": Rule(_VIEWER, _path("ref", "entity")),
    "queues.explain": Rule(_VIEWER, _run, _own, agents=True),
    "queues.enqueue": Rule(_SUBMITTER, _items),
    "queues.claim": Rule(_OWNER, lambda store, a: _queues(a["request"].queues)),
    "queues.renew": Rule(_OWNER, _agent("agent")),
    "queues.release": Rule(_OWNER, _lease, agents=True),
    "queues.wait": Rule(_VIEWER, lambda store, a: _queues(a["queues"])),
    "agents.register": Rule(_OWNER, lambda store, a: _queues(a["agent"].queues) | {a["agent"].entity}),
    "agents.heartbeat": Rule(_OWNER, _agent("agent_id")),
    "agents.get": Rule(_VIEWER, _agent("agent_id")),
    "agents.list": Rule(_VIEWER, _path("entity")),
    "agents.request_drain": Rule(_OWNER, _agent("agent_id")),
    "artifacts.commit": Rule(_SUBMITTER, _path("new", "entity"), run_tokens.commit),
    "artifacts.get": Rule(_VIEWER, _path("ref", "entity"), run_tokens.read_ref),
    "artifacts.get_by_id": Rule(_VIEWER, _version, run_tokens.read_version),
    "artifacts.list": Rule(_VIEWER, _path("where", "entity"), _project("where")),
    "artifacts.collection": Rule(_VIEWER, _path("entity"), _project()),
    "artifacts.collections": Rule(_VIEWER, _path("entity"), _project()),
    "artifacts.update_collection": Rule(_SUBMITTER, _path("entity"), _project()),
    "artifacts.update": Rule(_SUBMITTER, _version, run_tokens.version),
    "artifacts.delete": Rule(_OWNER, _version),
    "artifacts.restore": Rule(_OWNER, _version),
    "artifacts.use": Rule(_SUBMITTER, lambda s, a: {*_run(s, a), *_version(s, a)}, run_tokens.use),
    "artifacts.edges": Rule(_VIEWER, _edges, run_tokens.edges),
    "artifacts.begin_upload": Rule(None, run=run_tokens.anything),
    "artifacts.renew_upload": Rule(None, run=run_tokens.anything),
    "artifacts.end_upload": Rule(None, run=run_tokens.anything),
    "artifacts.oldest_upload": Rule(_ADMIN),
    "artifacts.roots": Rule(_ADMIN),
    "artifacts.purge": Rule(_ADMIN),
    "artifacts.add_part": Rule(_SUBMITTER, _path("part", "entity"), _project("part")),
    "artifacts.take_parts": Rule(_SUBMITTER, _path("entity"), _project()),
    "access.issue_run_token": Rule(_OWNER, _run, agents=True),
    "access.authenticate": Rule(None),
    "access.role": Rule(None),
    "access.create_user": Rule(_ADMIN),
    "access.users": Rule(_ADMIN),
    "access.create_key": Rule(None),
    "access.keys": Rule(None),
    "access.revoke_key": Rule(None),
    "access.set_member": Rule(_ADMIN, _path("member", "entity")),
    "access.remove_member": Rule(_ADMIN, _path("entity")),
    "access.members": Rule(_VIEWER, _path("entity")),
    "schedule.create_trigger": Rule(_OWNER, _trigger),
    "schedule.get_trigger": Rule(_VIEWER, _path("entity")),
    "schedule.triggers": Rule(_VIEWER, _path("entity")),
    "schedule.pause_trigger": Rule(_OWNER, _path("entity")),
    "schedule.delete_trigger": Rule(_OWNER, _path("entity")),
    "schedule.set_budget": Rule(_OWNER, _path("budget", "entity")),
    "schedule.budgets": Rule(_VIEWER, _path("entity")),
    "blobs.read": Rule(None, run=run_tokens.anything),
    "blobs.write": Rule(None, run=run_tokens.anything),
    "blobs.collect": Rule(_ADMIN),
}


def check(store: MetadataStore, principal: Principal, key: str, arguments: Arguments) -> None:
    """Raise `AccessError` unless the principal may make this call; may fill in arguments that are fixed for it."""
    rule = RULES[key]
    if key == "access.create_key":
        _outlives_nothing(store, principal, arguments)
    if principal.admin:
        return
    if principal.kind == "run":
        if rule.run is None:
            raise AccessError(f"a run's token is not good for {key}", hint="Use an API key.")
        rule.run(store, principal, arguments)
        return
    if rule.role is Role.ADMIN and rule.entities is None:
        raise AccessError(f"{key} is for administrators of the server", hint=_ASK)
    if rule.agents and _serves(store, principal, arguments):
        return
    if rule.role is not None and rule.entities is not None:
        for entity in rule.entities(store, arguments):
            require(store, principal, entity, rule.role)
    if extra := _EXTRA.get(key):
        extra(store, principal, arguments)


def _serves(store: MetadataStore, principal: Principal, arguments: Arguments) -> bool:
    """Whether the principal is an owner of the queue that a run of another entity is on."""
    lease = arguments.get("lease")
    run = store.runs.get(arguments["run_id"] if lease is None else lease.run_id)
    if not run.queue or queue_of(run).entity == run.entity:
        return False
    return _owns(store, principal, queue_of(run).entity)


def require(store: MetadataStore, principal: Principal, entity: str, role: Role) -> Role:
    """The role that the principal has in an entity. Raises `AccessError` when it does not cover `role`."""
    held = store.access.role(principal, entity) if entity else None
    if held is None or not held.covers(role):
        raise AccessError(
            f"'{principal.name}' is {held or 'nobody'} in '{entity}'; this needs {role}"
            if entity
            else "name the entity; only administrators may ask for all",
            hint="Ask an admin of the entity for the role; or name another one with --entity or WINDLASS_ENTITY: if "
            "nothing is said, it is your login name."
            if entity
            else "Say whose, e.g. with --entity.",
            context={"entity": entity, "needs": role.value, "role": held.value if held else ""},
        )
    return held


def _themselves(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    if arguments["user"] != principal.name:
        raise AccessError("keys of others are for administrators", hint=_ASK)


def _outlives_nothing(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """A key that ends makes no key that lasts, for nobody: else its end would bind only the honest."""
    if not principal.expires_at:
        return
    wanted = arguments["expires_in"]
    if wanted is not None and store.now() + wanted > principal.expires_at:
        raise outliving_key(principal.expires_at)
    arguments["not_after"] = min(arguments["not_after"] or principal.expires_at, principal.expires_at)


def _own_key(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    if arguments["key_id"] not in {key.id for key in store.access.keys(principal.name)}:
        raise AccessError("keys of others are for administrators", hint=_ASK)


def _own_role(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    asked = arguments["principal"]
    if asked.name != principal.name or asked.kind != principal.kind or asked.admin:
        raise AccessError("roles of others are for administrators", hint=_ASK)


def _readable(store: MetadataStore, principal: Principal, spec: LaunchSpec) -> None:
    """The agent fetches what a spec names; who submits it must be allowed to read that himself."""
    paths = (spec.job, spec.source.artifact, spec.source.patch)
    for entity in {path.partition("/")[0] for path in paths if path}:
        require(store, principal, entity, Role.VIEWER)


def _as_author(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    from attrs import evolve

    for item in arguments["items"]:
        _readable(store, principal, item.spec)
    arguments["items"] = [evolve(item, author=principal.name) for item in arguments["items"]]


def _made_by(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """Who makes a run is its author; owners may write down what others did."""
    from attrs import evolve

    if not _owns(store, principal, arguments["run"].entity):
        arguments["run"] = evolve(arguments["run"], author=principal.name)


def _own_run(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    run = store.runs.get(arguments["run_id"])
    if _speaks_for(store, principal, run):
        return
    reported = run_tokens.for_agents(arguments["changes"]) if "changes" in arguments else ()
    if run.queue and ("source" in arguments or reported):
        raise AccessError(
            f"the {', '.join(reported) or 'log'} of a launched run is what its agent reports",
            hint=f"To end it: windlass run stop {run.id}",
            context={"run": run.id, "fields": list(reported)},
        )


def _logs_for(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """What a run logs and uses is said by its author, too, or by owners of its entity."""
    run_id = arguments["new"].run if "new" in arguments else arguments["run_id"]
    if run_id:
        _speaks_for(store, principal, store.runs.get(run_id))
    if "new" in arguments:
        _protected(store, principal, arguments)


def _speaks_for(store: MetadataStore, principal: Principal, run: Run) -> bool:
    """True for owners of a run's entity, False for its author. Raises `AccessError` for others."""
    if require(store, principal, run.entity, Role.SUBMITTER).covers(Role.OWNER):
        return True
    # runs of older programs that no agent ran have their entity for an author
    if run.author != principal.name and (run.queue or run.author not in ("", run.entity)):
        raise AccessError(
            f"run '{run.id}' is of '{run.author}'; submitters speak for, change and stop their own runs only",
            hint=f"Ask its author, or an owner of '{run.entity}'.",
            context={"run": run.id, "author": run.author},
        )
    return False


def _owns(store: MetadataStore, principal: Principal, entity: str) -> bool:
    held = store.access.role(principal, entity)
    return held is not None and held.covers(Role.OWNER)


def _as_trigger_author(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    from attrs import evolve

    _readable(store, principal, arguments["trigger"].spec)
    arguments["trigger"] = evolve(arguments["trigger"], author=principal.name)


def _protected(store: MetadataStore, principal: Principal, arguments: Arguments) -> None:
    """Protected aliases are moved, and protected, by owners."""
    if entity := run_tokens.protected_entity(store, arguments):
        require(store, principal, entity, Role.OWNER)


_EXTRA: dict[str, Narrow] = {
    "access.create_key": _themselves,
    "access.keys": _themselves,
    "access.revoke_key": _own_key,
    "access.role": _own_role,
    "runs.create": _made_by,
    "runs.update": _own_run,
    "runs.request_stop": _own_run,
    "runs.log_metrics": _own_run,
    "runs.append_log": _own_run,
    "queues.enqueue": _as_author,
    "schedule.create_trigger": _as_trigger_author,
    "artifacts.commit": _logs_for,
    "artifacts.use": _logs_for,
    "artifacts.update": _protected,
    "artifacts.update_collection": _protected,
}
