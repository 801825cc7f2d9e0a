"""The contract of metadata stores: every sentence of `windlass.metastore`, tested from outside."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

pytest.register_assert_rewrite(
    "windlass_testkit.metastore_runs",
    "windlass_testkit.metastore_queues",
    "windlass_testkit.metastore_artifacts",
    "windlass_testkit.metastore_schedule",
    "windlass_testkit.metastore_waiting",
)

from windlass.errors import AccessError, ConflictError, FencedError, NotFoundError, UsageError  # noqa: E402
from windlass.metastore import MetadataStore  # noqa: E402
from windlass.models.access import Member, Role, User  # noqa: E402
from windlass.models.queue import Agent  # noqa: E402
from windlass.models.run import RunState, RunUpdate  # noqa: E402
from windlass.plugins.app import App  # noqa: E402
from windlass.remote import calls  # noqa: E402
from windlass_testkit.base import Contract  # noqa: E402
from windlass_testkit.metastore_artifacts import ArtifactTests  # noqa: E402
from windlass_testkit.metastore_queues import QueueTests, items, make_queue, take  # noqa: E402
from windlass_testkit.metastore_runs import RunTests  # noqa: E402
from windlass_testkit.metastore_schedule import ScheduleTests  # noqa: E402
from windlass_testkit.metastore_waiting import WaitingTests  # noqa: E402

__all__ = ["MetadataStoreContract"]


class MetadataStoreContract(RunTests, QueueTests, ArtifactTests, ScheduleTests, WaitingTests, Contract):
    """Subclass it, set `name`, and give the fixture `url`: the URL of an empty store.

    Where a store is not opened by its URL alone, replace the fixture `open_store`.
    """

    kind = "metastore"

    # -- what the subclass gives ------------------------------------------------------------------------------

    @pytest.fixture
    def url(self) -> str:
        """URL of an empty store that belongs to this test."""
        raise NotImplementedError("give a fixture `url`")

    @pytest.fixture
    def open_store(self, app: App, url: str) -> Callable[[], MetadataStore]:
        """Opens the store once more, as another process would."""
        return lambda: app.open_store(url)

    # -- what the suite uses ----------------------------------------------------------------------------------

    @pytest.fixture
    def config(self, url: str) -> Mapping[str, Any]:
        """The plugin's configuration."""
        return {"url": url}

    @pytest.fixture
    def store(self, open_store: Callable[[], MetadataStore]) -> Iterator[MetadataStore]:
        """The store under test."""
        store = open_store()
        yield store
        store.close()

    @pytest.fixture
    def other(self, open_store: Callable[[], MetadataStore]) -> Iterator[MetadataStore]:
        """The same store, opened once more."""
        store = open_store()
        yield store
        store.close()

    # -- the whole --------------------------------------------------------------------------------------------

    def test_the_url_leads_to_the_plugin(self, app: App, url: str) -> None:
        from windlass.plugins.lookup import metastore_name

        assert metastore_name(app, url) == self.name

    def test_whoami_and_clock(self, store: MetadataStore) -> None:
        assert store.whoami().kind in ("local", "user", "service", "run")
        first, second = store.now(), store.now()
        assert 1.6e9 < first <= second
        store.check()

    def test_close_may_be_repeated(self, open_store: Callable[[], MetadataStore]) -> None:
        store = open_store()
        store.now()
        store.close()
        store.close()

    def test_arguments_are_called_as_in_the_interface(self, store: MetadataStore) -> None:
        for key, call in calls().items():
            target = store if call.part == "store" else getattr(store, call.part)
            names = list(inspect.signature(getattr(target, call.name)).parameters)
            assert [n for n in names if n != "self"] == list(call.signature.parameters)[1:], key

    def test_what_one_writes_the_other_sees(self, store: MetadataStore, other: MetadataStore) -> None:
        ref = make_queue(store)
        assert other.queues.get(ref).resource == "process"
        other.queues.enqueue(items(ref, "seen"))
        assert store.runs.get("seen").state is RunState.QUEUED

    # -- agents -----------------------------------------------------------------------------------------------

    def test_agents_are_registered_and_listed(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.agents.register(Agent(id="a1", entity="kit", queues=(ref,), host="h", max_jobs=3))
        second = store.agents.register(Agent(id="a2", entity="other"))
        assert second.created_at > 0
        assert second.heartbeat_at > 0
        assert [agent.id for agent in store.agents.list()] == ["a2", "a1"]
        assert [agent.id for agent in store.agents.list("kit")] == ["a1"]
        beat = store.agents.heartbeat("a1", "running", ["r1", "r2"])
        assert (beat.state, beat.runs, beat.max_jobs, beat.queues) == ("running", ("r1", "r2"), 3, (ref,))
        assert store.agents.get("a1") == beat
        assert store.queues.status(ref).agents == 1

    def test_an_agent_needs_queues_that_exist(self, store: MetadataStore) -> None:
        ref = make_queue(store, name="real")
        with pytest.raises(NotFoundError) as caught:
            store.agents.register(Agent(id="a", queues=(ref, ref.__class__(entity="kit", name="imagined"))))
        assert "imagined" in str(caught.value)
        assert "real" in str(caught.value)
        with pytest.raises(NotFoundError):
            store.agents.get("a")
        with pytest.raises(NotFoundError):
            store.agents.heartbeat("a", "polling", ())

    def test_an_agent_hears_that_it_shall_drain(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.agents.register(Agent(id="a", queues=(ref,)))
        assert not store.queues.renew("a", (), 60).drain
        assert store.agents.request_drain("a").drain_requested
        assert store.queues.renew("a", (), 60).drain

    # -- access -----------------------------------------------------------------------------------------------

    def test_keys_are_shown_once_and_can_be_revoked(self, store: MetadataStore) -> None:
        user = store.access.create_user(User(name="ada"))
        assert user.created_at > 0
        fresh = store.access.create_key("ada", "laptop")
        assert len(fresh.secret) >= 22
        assert fresh.secret not in repr(store.access.keys("ada"))
        assert [key.description for key in store.access.keys("ada")] == ["laptop"]
        principal = store.access.authenticate(fresh.secret)
        assert (principal.kind, principal.name, principal.admin) == ("user", "ada", False)
        assert store.access.revoke_key(fresh.key.id) is True
        assert store.access.revoke_key(fresh.key.id) is False
        with pytest.raises(AccessError):
            store.access.authenticate(fresh.secret)
        with pytest.raises(AccessError):
            store.access.authenticate("")
        with pytest.raises(NotFoundError):
            store.access.create_key("nobody")

    def test_keys_may_end(self, store: MetadataStore) -> None:
        store.access.create_user(User(name="ada"))
        fresh = store.access.create_key("ada", expires_in=0.5)
        assert 0 < fresh.key.expires_at - fresh.key.created_at <= 0.5
        assert store.access.keys("ada") == (fresh.key,)
        lasting = store.access.create_key("ada")
        assert lasting.key.expires_at == store.access.authenticate(lasting.secret).expires_at == 0.0
        end = time.monotonic() + 10
        with pytest.raises(AccessError, match="expired at 20"):
            while time.monotonic() < end:
                store.access.authenticate(fresh.secret)
                time.sleep(0.05)
        assert [key.id for key in store.access.keys("ada")].count(fresh.key.id) == 1
        for wrong in (0.0, -1.0):
            with pytest.raises(UsageError):
                store.access.create_key("ada", expires_in=wrong)

    def test_a_key_ends_when_it_must_at_the_latest(self, store: MetadataStore) -> None:
        store.access.create_user(User(name="ada"))
        limit = store.now() + 1000
        ends = [
            store.access.create_key("ada", expires_in=expires_in, not_after=limit) for expires_in in (None, 5000, 10)
        ]
        assert [key.key.expires_at == limit for key in ends] == [True, True, False]
        assert ends[2].key.expires_at < limit
        for key in ends:
            assert store.access.authenticate(key.secret).expires_at == key.key.expires_at

    def test_users_and_their_roles(self, store: MetadataStore) -> None:
        store.access.create_user(User(name="ada"))
        store.access.create_user(User(name="robot", service=True, admin=True))
        with pytest.raises(ConflictError):
            store.access.create_user(User(name="ada"))
        assert [(u.name, u.service, u.admin) for u in store.access.users()] == [
            ("ada", False, False),
            ("robot", True, True),
        ]
        ada = store.access.authenticate(store.access.create_key("ada").secret)
        assert store.access.role(ada, "ada") is Role.ADMIN
        assert store.access.role(ada, "team") is None
        store.access.set_member(Member(entity="team", user="ada", role=Role.VIEWER))
        store.access.set_member(Member(entity="team", user="ada", role=Role.SUBMITTER))
        assert store.access.role(ada, "team") is Role.SUBMITTER
        assert store.access.members("team") == (Member(entity="team", user="ada", role=Role.SUBMITTER),)
        store.access.remove_member("team", "ada")
        store.access.remove_member("team", "ada")
        assert store.access.role(ada, "team") is None
        robot = store.access.authenticate(store.access.create_key("robot").secret)
        assert robot.kind == "service"
        assert store.access.role(robot, "anything") is Role.ADMIN
        with pytest.raises(NotFoundError):
            store.access.set_member(Member(entity="team", user="nobody", role=Role.VIEWER))

    def test_an_entity_keeps_an_admin(self, store: MetadataStore) -> None:
        for name in ("ada", "bob"):
            store.access.create_user(User(name=name))
        store.access.set_member(Member(entity="team", user="ada", role=Role.ADMIN))
        store.access.set_member(Member(entity="team", user="bob", role=Role.OWNER))
        for entity in ("ada", "team"):
            with pytest.raises(ConflictError, match=f"'ada' is the only admin of '{entity}'"):
                store.access.set_member(Member(entity=entity, user="ada", role=Role.OWNER))
            with pytest.raises(ConflictError, match="the only admin"):
                store.access.remove_member(entity, "ada")
        store.access.set_member(Member(entity="team", user="ada", role=Role.ADMIN))
        store.access.set_member(Member(entity="team", user="bob", role=Role.ADMIN))
        store.access.remove_member("team", "ada")
        assert store.access.members("team") == (Member(entity="team", user="bob", role=Role.ADMIN),)

    def test_a_run_token_is_good_for_its_run_and_attempt(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        lease = take(store, ref)
        with pytest.raises(FencedError):
            store.access.issue_run_token("r", 1, lease.fence + 1)
        with pytest.raises(FencedError):
            store.access.issue_run_token("r", 2, lease.fence)
        token = store.access.issue_run_token("r", 1, lease.fence)
        who = store.access.authenticate(token)
        assert (who.kind, who.run, who.attempt, who.entity, who.project, who.admin) == (
            "run",
            "r",
            1,
            "kit",
            "contract",
            False,
        )
        assert store.access.role(who, "kit") is None
        store.queues.release(lease, 0.0, RunUpdate(), next_attempt=True)
        with pytest.raises(AccessError):
            store.access.authenticate(token)

    def test_a_run_token_ends_with_its_run(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        lease = take(store, ref)
        token = store.access.issue_run_token("r", 1, lease.fence)
        store.runs.update("r", RunUpdate(state=RunState.FINISHED), fence=lease.fence)
        with pytest.raises(AccessError):
            store.access.authenticate(token)
        with pytest.raises((FencedError, UsageError)):
            store.access.issue_run_token("r", 1, lease.fence)

    # -- blobs ------------------------------------------------------------------------------------------------

    def test_blobs_are_stored_once_and_verified(self, store: MetadataStore) -> None:
        from windlass.artifacts.digest import digest_of
        from windlass.errors import IntegrityError, ObjectNotFoundError

        data = bytes(range(256)) * 5000
        digest, absent = digest_of(data), digest_of(b"absent")
        assert store.blobs.missing([digest, absent]) == {digest, absent}
        store.blobs.put(digest, data)
        store.blobs.put(digest, data)
        assert store.blobs.missing([digest, absent]) == {absent}
        with store.blobs.open(digest) as stream:
            assert stream.read() == data
        with store.blobs.open(digest, 1000, 70000) as stream:
            assert stream.read() == data[1000:71000]
        with store.blobs.open(digest, len(data) - 3) as stream:
            assert stream.read() == data[-3:]
        with pytest.raises(IntegrityError):
            store.blobs.put(absent, b"something else")
        assert store.blobs.missing([absent]) == {absent}
        with pytest.raises(ObjectNotFoundError):
            store.blobs.open(absent)
        assert [info.digest for info in store.blobs.list()] == [digest]
        store.blobs.replace(digest, data)  # what is whole stays, what is gone is stored
        with pytest.raises(IntegrityError):
            store.blobs.replace(absent, b"something else")
        store.blobs.delete([digest, absent])
        store.blobs.replace(digest, data)
        assert store.blobs.is_whole(digest)
        assert not store.blobs.is_whole(absent)
        store.blobs.delete([digest, absent])
        assert store.blobs.missing([digest]) == {digest}
