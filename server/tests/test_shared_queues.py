"""Queues that serve other entities, and what a launch may name: nobody reads through an agent what he may not read."""

from collections.abc import Callable

import pytest

from windlass.errors import AccessError
from windlass.metastore import MetadataStore
from windlass.models.access import Member, Role, User
from windlass.models.artifact import ArtifactRef, NewVersion, VersionUpdate
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Agent, ClaimRequest, Lease, NewItem, Queue, QueueRef, queue_of
from windlass.models.run import LogLine, Run, RunFilter, RunState, RunUpdate
from windlass.models.schedule import Trigger, TriggerEvent

TEAM = "team"
REF = QueueRef(entity=TEAM, name="q")
ARTIFACT = ArtifactRef(entity=TEAM, project="p", name="data")


def digest(number: int) -> str:
    return f"blake3:{number:064x}"


@pytest.fixture
def team(store: MetadataStore) -> dict[str, str]:
    """The keys of a submitter and an owner of a team that has a queue, a run and an artifact (its `version`)."""
    found = {}
    for role in (Role.SUBMITTER, Role.OWNER):
        store.access.create_user(User(name=role.value))
        store.access.set_member(Member(entity=TEAM, user=role.value, role=role))
        found[role.value] = store.access.create_key(role.value).secret
    store.queues.create(Queue(entity=TEAM, name="q", resource="process"))
    store.runs.create(Run(id="other", entity=TEAM, project="p"))
    new = NewVersion(entity=TEAM, project="p", name="data", type="t", digest=digest(1), manifest=digest(2))
    return {**found, "version": store.artifacts.commit(new).version.id}


def test_an_agent_serves_what_another_entity_put_on_its_queue(
    team: dict[str, str], store: MetadataStore, serve: Callable[..., str], connect: Callable[..., MetadataStore]
) -> None:
    """The owner of the queue reports on the run, and has no other rights in the entity that it belongs to."""
    store.access.create_user(User(name="infra", service=True))
    store.queues.create(Queue(entity="infra", name="shared", resource="process"))
    store.access.set_member(Member(entity="infra", user="submitter", role=Role.SUBMITTER))
    shared, url = QueueRef(entity="infra", name="shared"), serve()
    submitter = connect(url, team["submitter"])
    code = JobSource(kind=SourceKind.CODE, artifact=f"{TEAM}/p/data:v0")
    item = NewItem(run_id="theirs", queue=shared, spec=LaunchSpec(source=code), project="other", entity=TEAM)
    (run,) = submitter.queues.enqueue([item])
    assert (run.entity, run.queue, queue_of(run)) == (TEAM, "infra/shared", shared)
    agent = connect(url, store.access.create_key("infra").secret)
    agent.agents.register(Agent(id="infra-agent", entity="infra", queues=(shared,)))
    (claim,) = agent.queues.claim(ClaimRequest(agent="infra-agent", queues=(shared,)))
    assert agent.runs.update("theirs", RunUpdate(state=RunState.RUNNING), claim.run.fence).state is RunState.RUNNING
    agent.runs.append_log("theirs", [LogLine(data=b"x")], "theirs/out", "", "1", claim.run.fence)
    for call in (
        lambda: agent.runs.get("other"),
        lambda: agent.artifacts.get(ARTIFACT),
        lambda: agent.runs.list(RunFilter(entity=TEAM)),
        lambda: agent.runs.delete("theirs"),
    ):
        with pytest.raises(AccessError):
            call()
    inside = connect(url, agent.access.issue_run_token("theirs", 1, claim.run.fence))
    named = ArtifactRef(entity=TEAM, project="p", name="data", selector="v0")
    assert inside.artifacts.get(named).id == team["version"], "its spec names it"
    assert inside.artifacts.get_by_id(team["version"]).id == team["version"]
    with pytest.raises(AccessError):
        inside.artifacts.update(team["version"], VersionUpdate(add_tags=("t",)))
    with pytest.raises(AccessError):
        inside.artifacts.get(ARTIFACT)
    agent.queues.release(Lease(run_id="theirs", fence=claim.run.fence), 0.0, RunUpdate(), False)


def test_nobody_has_an_agent_read_what_he_may_not(
    team: dict[str, str], store: MetadataStore, serve: Callable[..., str], connect: Callable[..., MetadataStore]
) -> None:
    store.artifacts.commit(
        NewVersion(entity="others", project="p", name="code", type="code", digest=digest(21), manifest=digest(22))
    )
    client = connect(serve(), team["owner"])
    path = "others/p/code:v0"
    for spec in (
        LaunchSpec(source=JobSource(kind=SourceKind.CODE, artifact=path)),
        LaunchSpec(source=JobSource(kind=SourceKind.GIT, remote="https://h/x", commit="a" * 40, patch=path)),
        LaunchSpec(source=JobSource(kind=SourceKind.IMAGE, image="x"), job=path),
    ):
        with pytest.raises(AccessError, match="'others'"):
            client.queues.enqueue([NewItem(run_id="x", queue=REF, spec=spec)])
        trigger = Trigger(entity=TEAM, name="t", event=TriggerEvent.CRON, cron="@daily", queue=REF, spec=spec)
        with pytest.raises(AccessError, match="'others'"):
            client.schedule.create_trigger(trigger)
