"""Who may call what: every method, every role, and the token of a run, through a real server."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from windlass.errors import AccessError, FencedError, WindlassError
from windlass.metastore import MetadataStore
from windlass.models.access import Member, Principal, Role, User
from windlass.models.artifact import (
    ArtifactFilter,
    ArtifactRef,
    CollectionUpdate,
    DistributedPart,
    NewVersion,
    VersionUpdate,
)
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Agent, ClaimRequest, Lease, NewItem, Queue, QueueRef
from windlass.models.run import LogLine, MetricRow, Run, RunFilter, RunState, RunUpdate
from windlass.models.schedule import Budget, Trigger, TriggerEvent
from windlass.remote import calls
from windlass_server.app import create_app
from windlass_server.permissions import RULES

TEAM = "team"
REF = QueueRef(entity=TEAM, name="q")
SPEC = LaunchSpec(source=JobSource(kind=SourceKind.IMAGE, image="x"))
ARTIFACT = ArtifactRef(entity=TEAM, project="p", name="data")

ANYBODY = [
    "store.whoami",
    "store.now",
    "artifacts.begin_upload",
    "artifacts.renew_upload",
    "artifacts.end_upload",
    "access.authenticate",
]
VIEWER = [
    "runs.get",
    "runs.list",
    "runs.metrics",
    "runs.log_cursor",
    "runs.read_log",
    "queues.get",
    "queues.list",
    "queues.status",
    "queues.explain",
    "queues.wait",
    "agents.get",
    "agents.list",
    "artifacts.get",
    "artifacts.get_by_id",
    "artifacts.list",
    "artifacts.collection",
    "artifacts.collections",
    "artifacts.edges",
    "access.members",
    "schedule.get_trigger",
    "schedule.triggers",
    "schedule.budgets",
]
SUBMITTER = [
    "runs.create",
    "runs.update",
    "runs.request_stop",
    "runs.log_metrics",
    "queues.enqueue",
    "artifacts.commit",
    "artifacts.update_collection",
    "artifacts.update",
    "artifacts.use",
    "artifacts.add_part",
    "artifacts.take_parts",
]
OWNER = [
    "runs.append_log",  # of a launched run; of a run of one's own that no agent runs, submitters too
    "runs.delete",
    "queues.create",
    "queues.update",
    "queues.delete",
    "queues.claim",
    "queues.renew",
    "queues.release",
    "agents.register",
    "agents.heartbeat",
    "agents.request_drain",
    "artifacts.delete",
    "artifacts.restore",
    "access.issue_run_token",
    "schedule.create_trigger",
    "schedule.pause_trigger",
    "schedule.delete_trigger",
    "schedule.set_budget",
]
ADMIN = ["access.set_member", "access.remove_member"]
ROOT = [
    "artifacts.oldest_upload",
    "artifacts.roots",
    "artifacts.purge",
    "access.create_user",
    "access.users",
    "access.role",
    "access.create_key",
    "access.keys",
    "access.revoke_key",
]
RUN = [
    "store.whoami",
    "store.now",
    "artifacts.begin_upload",
    "artifacts.renew_upload",
    "artifacts.end_upload",
    "runs.get",
    "runs.update",
    "runs.log_metrics",
    "runs.metrics",
    "runs.append_log",
    "runs.log_cursor",
    "runs.read_log",
    "queues.explain",
    "artifacts.commit",
    "artifacts.get",
    "artifacts.get_by_id",
    "artifacts.list",
    "artifacts.collection",
    "artifacts.collections",
    "artifacts.update_collection",
    "artifacts.update",
    "artifacts.use",
    "artifacts.edges",
    "artifacts.add_part",
    "artifacts.take_parts",
]
ORDER = ["nobody", "viewer", "submitter", "owner", "admin", "root"]
NEEDS = {
    **dict.fromkeys(ANYBODY, "nobody"),
    **dict.fromkeys(VIEWER, "viewer"),
    **dict.fromkeys(SUBMITTER, "submitter"),
    **dict.fromkeys(OWNER, "owner"),
    **dict.fromkeys(ADMIN, "admin"),
    **dict.fromkeys(ROOT, "root"),
}


def digest(number: int) -> str:
    return f"blake3:{number:064x}"


@pytest.fixture
def world(store: MetadataStore) -> dict[str, Any]:
    """A team with somebody in each role, an administrator of the server, a run at work with its token, an artifact."""
    keys = {}
    for name in ORDER:
        store.access.create_user(User(name=name, admin=name == "root"))
        keys[name] = store.access.create_key(name).secret
        if name in ("viewer", "submitter", "owner", "admin"):
            store.access.set_member(Member(entity=TEAM, user=name, role=Role(name)))
    store.queues.create(Queue(entity=TEAM, name="q", resource="process"))
    store.agents.register(Agent(id="agent", entity=TEAM, queues=(REF,)))
    store.queues.enqueue([NewItem(run_id="mine", queue=REF, spec=SPEC, project="p", author="submitter")])
    (claim,) = store.queues.claim(ClaimRequest(agent="agent", queues=(REF,)))
    keys["run"] = store.access.issue_run_token("mine", 1, claim.run.fence)
    new = NewVersion(entity=TEAM, project="p", name="data", type="t", digest=digest(1), manifest=digest(2))
    version = store.artifacts.commit(new).version
    return {"keys": keys, "fence": claim.run.fence, "version": version.id, "upload": store.artifacts.begin_upload("x")}


def arguments(world: dict[str, Any], key: str) -> tuple[Any, ...]:
    version, lease = world["version"], Lease(run_id="mine", fence=10**6)
    part = DistributedPart(entity=TEAM, project="p", name="x", type="t", group="g", part="1", manifest=digest(3))
    return {
        "runs.create": (Run(id="mine", entity=TEAM),),
        "runs.get": ("mine",),
        "runs.list": (RunFilter(entity=TEAM),),
        "runs.update": ("mine", RunUpdate(notes="n")),
        "runs.request_stop": ("mine",),
        "runs.delete": ("mine",),
        "runs.log_metrics": ("mine", [MetricRow(step=1, time=1.0, values={})]),
        "runs.metrics": ("mine",),
        "runs.append_log": ("mine", [LogLine(data=b"x")], "mine/sdk", "never", "1"),
        "runs.log_cursor": ("mine", "s"),
        "runs.read_log": ("mine",),
        "queues.create": (Queue(entity=TEAM, name="q", resource="process"),),
        "queues.get": (REF,),
        "queues.list": (TEAM,),
        "queues.update": (Queue(entity=TEAM, name="q", resource="process"),),
        "queues.delete": (REF,),
        "queues.status": (REF,),
        "queues.explain": ("mine",),
        "schedule.create_trigger": (
            Trigger(entity=TEAM, name="nightly", event=TriggerEvent.CRON, cron="@daily", queue=REF, spec=SPEC),
        ),
        "schedule.get_trigger": (TEAM, "nightly"),
        "schedule.triggers": (TEAM,),
        "schedule.pause_trigger": (TEAM, "nightly", True),
        "schedule.delete_trigger": (TEAM, "nightly"),
        "schedule.set_budget": (Budget(entity=TEAM, limit=1e9),),
        "schedule.budgets": (TEAM,),
        "queues.enqueue": ([NewItem(run_id="mine", queue=REF, spec=SPEC)],),
        "queues.claim": (ClaimRequest(agent="agent", queues=(REF,), limit=0),),
        "queues.renew": ("agent", (), 60.0),
        "queues.release": (lease, 0.0, RunUpdate(), False),
        "queues.wait": ((REF,), 0.01),
        "agents.register": (Agent(id="agent", entity=TEAM, queues=(REF,)),),
        "agents.heartbeat": ("agent", "polling", ()),
        "agents.get": ("agent",),
        "agents.list": (TEAM,),
        "agents.request_drain": ("agent",),
        "artifacts.commit": (
            NewVersion(entity=TEAM, project="p", name="data", type="t", digest=digest(1), manifest=digest(2)),
        ),
        "artifacts.get": (ARTIFACT,),
        "artifacts.get_by_id": (version,),
        "artifacts.list": (ArtifactFilter(entity=TEAM, project="p"),),
        "artifacts.collection": (TEAM, "p", "data"),
        "artifacts.collections": (TEAM, "p"),
        "artifacts.update_collection": (TEAM, "p", "data", CollectionUpdate(description="d")),
        "artifacts.update": (version, VersionUpdate(add_tags=("t",))),
        "artifacts.delete": (version,),
        "artifacts.restore": (version,),
        "artifacts.use": ("mine", version),
        "artifacts.edges": ("mine",),
        "artifacts.begin_upload": ("me",),
        "artifacts.renew_upload": (world["upload"],),
        "artifacts.end_upload": ("none",),
        "artifacts.purge": (0.0,),
        "artifacts.add_part": (part,),
        "artifacts.take_parts": (TEAM, "p", "x", "g"),
        "access.issue_run_token": ("mine", 1, 10**6),
        "access.authenticate": (world["keys"]["viewer"],),
        "access.role": (Principal(kind="user", name="somebody-else"), TEAM),
        "access.create_user": (User(name="root"),),
        "access.create_key": ("somebody-else",),
        "access.keys": ("somebody-else",),
        "access.revoke_key": ("somebody-elses",),
        "access.set_member": (Member(entity=TEAM, user="viewer", role=Role.VIEWER),),
        "access.remove_member": (TEAM, "not-there"),
        "access.members": (TEAM,),
    }.get(key, ())


def allowed(client: MetadataStore, key: str, values: tuple[Any, ...]) -> bool:
    part, _, name = key.partition(".")
    try:
        getattr(client if part == "store" else getattr(client, part), name)(*values)
    except AccessError:
        return False
    except WindlassError as error:
        if error.message == "the server failed":
            raise
        return True  # it was let in, and found something else to say
    return True


@pytest.fixture
def client(serve: Callable[..., str], connect: Callable[..., MetadataStore]) -> Callable[[str], MetadataStore]:
    """Opens a client of one server with a key."""
    url = serve()
    return lambda key: connect(url, key)


@pytest.mark.parametrize(
    "call",
    [
        lambda runs: runs.update("mine", RunUpdate(notes="n")),
        lambda runs: runs.request_stop("mine"),
        lambda runs: runs.log_metrics("mine", [MetricRow(step=1, time=1.0, values={})]),
        lambda runs: runs.append_log("mine", [LogLine(data=b"x")], "mine/sdk", "never", "1"),
    ],
)
def test_submitters_leave_the_runs_of_others_alone(
    world: dict[str, Any], store: MetadataStore, client: Callable[[str], MetadataStore], call: Callable[[Any], Any]
) -> None:
    store.access.create_user(User(name="bob"))
    store.access.set_member(Member(entity=TEAM, user="bob", role=Role.SUBMITTER))
    with pytest.raises(AccessError, match="run 'mine' is of 'submitter'"):
        call(client(store.access.create_key("bob").secret).runs)


def test_nobody_else_says_what_a_run_has_logged_or_used(
    world: dict[str, Any], store: MetadataStore, client: Callable[[str], MetadataStore]
) -> None:
    store.access.create_user(User(name="eve"))
    store.access.set_member(Member(entity="evil", user="eve", role=Role.SUBMITTER))
    store.access.create_user(User(name="bob"))
    store.access.set_member(Member(entity=TEAM, user="bob", role=Role.SUBMITTER))
    eve, bob = (client(store.access.create_key(name).secret) for name in ("eve", "bob"))
    new = NewVersion(entity="evil", project="p", name="d", type="t", digest=digest(5), manifest=digest(6), run="mine")
    with pytest.raises(AccessError, match="'eve' is nobody in 'team'"):
        eve.artifacts.commit(new)
    with pytest.raises(AccessError, match="run 'mine' is of 'submitter'"):
        bob.artifacts.commit(replace(new, entity=TEAM))
    with pytest.raises(AccessError, match="run 'mine' is of 'submitter'"):
        bob.artifacts.use("mine", world["version"])
    assert not store.artifacts.edges(run_id="mine")


def test_runs_of_older_programs_have_their_entity_for_an_author(
    world: dict[str, Any], store: MetadataStore, client: Callable[[str], MetadataStore]
) -> None:
    store.runs.create(Run(id="old", entity=TEAM, author=TEAM, state=RunState.FINISHED))
    runs = client(world["keys"]["submitter"]).runs
    assert runs.update("old", RunUpdate(reopen=True)).state == RunState.RUNNING


@pytest.mark.parametrize("changes", [{"state": RunState.FINISHED}, {"exit_code": 0}, {"host": "h"}])
def test_how_a_launched_run_goes_is_not_for_its_author_to_say(
    world: dict[str, Any], client: Callable[[str], MetadataStore], changes: dict[str, Any]
) -> None:
    with pytest.raises(AccessError, match="is what its agent reports") as caught:
        client(world["keys"]["submitter"]).runs.update("mine", RunUpdate(**changes))
    assert caught.value.context["fields"] == list(changes)


def test_a_run_without_a_queue_is_all_its_authors(
    world: dict[str, Any], client: Callable[[str], MetadataStore]
) -> None:
    runs = client(world["keys"]["submitter"]).runs
    made = runs.create(Run(id="here", entity=TEAM, author="somebody-else", state=RunState.RUNNING))
    assert made.author == "submitter"
    runs.append_log("here", [LogLine(data=b"x")], "here/sdk", "", "1")
    assert runs.update("here", RunUpdate(state=RunState.FINISHED, exit_code=0)).state == RunState.FINISHED


def test_owners_may_write_down_what_others_did(world: dict[str, Any], client: Callable[[str], MetadataStore]) -> None:
    made = client(world["keys"]["owner"]).runs.create(Run(id="there", entity=TEAM, author="ann"))
    assert made.author == "ann"


def test_the_table_names_every_method() -> None:
    assert set(NEEDS) == set(calls())
    assert set(RULES) == set(calls()) | {"blobs.read", "blobs.write", "blobs.collect"}


def test_every_route_asks_who_calls(store: MetadataStore) -> None:
    """A route that is added must be in the table, or say here that it needs no key."""
    from starlette.testclient import TestClient

    client = TestClient(create_app(store))
    found = {(method, route.path) for route in client.app.routes for method in route.methods - {"HEAD"}}
    methods = {("POST", f"/api/v1/{key.replace('.', '/')}") for key in calls()}
    blobs = {("POST", "/api/v1/blobs/missing"), ("POST", "/api/v1/blobs/delete"), ("POST", "/api/v1/blobs/list"),
             ("PUT", "/api/v1/blobs/{digest}"), ("GET", "/api/v1/blobs/{digest}"),
             ("POST", "/api/v1/blobs/{digest}/upload")}  # fmt: skip
    assert found == methods | blobs | {("GET", "/healthz")}
    bodies = {"POST": b'{"digests":[]}', "PUT": b"", "GET": None}
    for method, path in sorted(methods | blobs):
        for headers in ({}, {"authorization": "Bearer wl_not-a-key"}, {"authorization": "Basic YTpi"}):
            answer = client.request(
                method,
                path.format(digest=digest(5)),
                headers=headers,
                content=bodies[method],
            )
            assert answer.status_code == 401, f"{method} {path} {headers}: {answer.status_code}"


@pytest.mark.parametrize("who", [*ORDER, "run", "without"])
def test_every_method_for_every_role(
    who: str, world: dict[str, Any], serve: Callable[..., str], connect: Callable[..., MetadataStore]
) -> None:
    client = connect(serve(), world["keys"].get(who, ""))
    wrong = []
    for key, needed in NEEDS.items():
        if who == "without":
            expected = False
        elif who == "run":
            expected = key in RUN
        else:
            expected = ORDER.index(who) >= ORDER.index(needed)
        if allowed(client, key, arguments(world, key)) is not expected:
            wrong.append(f"{who} {'must' if expected else 'must not'} call {key}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def inside(world: dict[str, Any], serve: Callable[..., str], connect: Callable[..., MetadataStore]) -> MetadataStore:
    """The store as the code of the run sees it."""
    return connect(serve(), world["keys"]["run"])


def test_a_run_reaches_no_other_run_or_project(inside: MetadataStore, store: MetadataStore) -> None:
    store.runs.create(Run(id="other", entity=TEAM, project="p"))
    new = NewVersion(entity=TEAM, project="secret", name="data", type="t", digest=digest(7), manifest=digest(8))
    hidden = store.artifacts.commit(new).version
    for call in (
        lambda: inside.runs.get("other"),
        lambda: inside.runs.update("other", RunUpdate(notes="x")),
        lambda: inside.runs.log_metrics("other", []),
        lambda: inside.artifacts.get_by_id(hidden.id),
        lambda: inside.artifacts.get(ArtifactRef(entity=TEAM, project="secret", name="data")),
        lambda: inside.artifacts.list(ArtifactFilter()),
        lambda: inside.artifacts.commit(new),
        lambda: inside.artifacts.use("mine", hidden.id),
        lambda: inside.runs.append_log("mine", [], "mine", "", "1"),
    ):
        with pytest.raises(AccessError):
            call()


def test_a_run_does_not_say_how_it_ended(inside: MetadataStore, store: MetadataStore) -> None:
    run = inside.runs.update("mine", RunUpdate(state=RunState.FINISHED, exit_code=0, summary={"loss": 1}))
    assert (run.state, run.exit_code, run.summary) == (RunState.PENDING, None, {"loss": 1})


def test_what_a_run_logs_bears_its_name_and_attempt(inside: MetadataStore, world: dict[str, Any]) -> None:
    new = NewVersion(entity=TEAM, project="p", name="out", type="t", digest=digest(9), manifest=digest(10), attempt=99)
    assert inside.artifacts.commit(new).version.run == "mine"


def test_an_alias_that_a_run_moves_does_not_start_the_trigger_that_led_to_it(
    inside: MetadataStore, store: MetadataStore, world: dict[str, Any]
) -> None:
    waiting = {"event": TriggerEvent.ALIAS, "alias": "ready", "queue": REF, "spec": SPEC}
    for name in ("own", "others"):
        store.schedule.create_trigger(Trigger(entity=TEAM, name=name, **waiting))
    store.runs.update("mine", RunUpdate(config={"_windlass": {"trigger_chain": [f"{TEAM}/own"]}}))
    inside.artifacts.update(world["version"], VersionUpdate(add_aliases=("ready",), run="another"))
    assert {t.name: t.fired for t in store.schedule.triggers(TEAM) if t.alias} == {"own": 0, "others": 1}


def test_a_superseded_attempt_is_out(inside: MetadataStore, store: MetadataStore, world: dict[str, Any]) -> None:
    store.queues.release(Lease(run_id="mine", fence=world["fence"]), 0.0, RunUpdate(), next_attempt=True)
    with pytest.raises((AccessError, FencedError)):
        inside.runs.update("mine", RunUpdate(summary={"a": 1}))


def test_protected_aliases_are_for_owners(
    world: dict[str, Any], store: MetadataStore, serve: Callable[..., str], connect: Callable[..., MetadataStore]
) -> None:
    store.artifacts.update_collection(TEAM, "p", "data", CollectionUpdate(protected_aliases=("prod",)))
    url = serve()
    move = VersionUpdate(add_aliases=("prod",))
    for who in ("submitter", "run"):
        client = connect(url, world["keys"][who])
        with pytest.raises(AccessError):
            client.artifacts.update(world["version"], move)
        with pytest.raises(AccessError):
            client.artifacts.update_collection(TEAM, "p", "data", CollectionUpdate(protected_aliases=()))
    assert "prod" in connect(url, world["keys"]["owner"]).artifacts.update(world["version"], move).aliases


@pytest.mark.parametrize("who", ["viewer", "owner", "admin", "root"])
def test_a_key_that_ends_makes_no_key_that_outlives_it(
    who: str,
    world: dict[str, Any],
    store: MetadataStore,
    serve: Callable[..., str],
    connect: Callable[..., MetadataStore],
) -> None:
    key = store.access.create_key(who, expires_in=600)
    client = connect(serve(), key.secret)
    assert client.whoami().expires_at == key.key.expires_at
    for wanted in (601.0, 10.0**9):
        with pytest.raises(AccessError, match="none that outlives it"):
            client.access.create_key(who, expires_in=wanted)
    child = client.access.create_key(who)
    grandchild = connect(serve(), child.secret).access.create_key(who, not_after=key.key.expires_at + 600)
    assert child.key.expires_at == grandchild.key.expires_at == key.key.expires_at
    assert client.access.create_key(who, expires_in=60).key.expires_at < key.key.expires_at
    assert connect(serve(), world["keys"][who]).access.create_key(who).key.expires_at == 0.0


def test_an_administrators_key_that_ends_makes_none_that_lasts_for_others(
    store: MetadataStore, world: dict[str, Any], serve: Callable[..., str], connect: Callable[..., MetadataStore]
) -> None:
    key = store.access.create_key("root", expires_in=600)
    client = connect(serve(), key.secret)
    client.access.create_user(User(name="accomplice", admin=True))
    assert client.access.create_key("accomplice").key.expires_at == key.key.expires_at


def test_the_token_of_a_run_makes_no_key(inside: MetadataStore, store: MetadataStore) -> None:
    for user in ("mine", "owner", TEAM, ""):
        with pytest.raises(AccessError):
            inside.access.create_key(user, expires_in=1.0)
    with pytest.raises(AccessError):
        inside.access.issue_run_token("mine", 1, 10**6)


def test_the_author_is_who_signs_in(
    world: dict[str, Any], serve: Callable[..., str], connect: Callable[..., MetadataStore]
) -> None:
    client = connect(serve(), world["keys"]["submitter"])
    (run,) = client.queues.enqueue([NewItem(run_id="x", queue=REF, spec=SPEC, author="owner")])
    assert run.author == "submitter"


def test_a_trigger_bears_the_name_of_who_made_it_and_needs_both_entities(
    world: dict[str, Any], store: MetadataStore, serve: Callable[..., str], connect: Callable[..., MetadataStore]
) -> None:
    client = connect(serve(), world["keys"]["owner"])
    wanted = Trigger(entity=TEAM, name="t", event=TriggerEvent.CRON, cron="@daily", queue=REF, spec=SPEC, author="root")
    assert client.schedule.create_trigger(wanted).author == "owner"
    store.queues.create(Queue(entity="others", name="q", resource="process"))
    foreign = Trigger(
        entity=TEAM, name="u", event=TriggerEvent.CRON, cron="@daily", spec=SPEC,
        queue=QueueRef(entity="others", name="q"),
    )  # fmt: skip
    with pytest.raises(AccessError):
        client.schedule.create_trigger(foreign)
