"""The contract of metadata stores: artifacts."""

from __future__ import annotations

import time
from math import inf
from typing import Any

import pytest

from windlass.errors import ArtifactNotFoundError, ConflictError, FencedError, UsageError
from windlass.metastore import MetadataStore
from windlass.models.artifact import (
    ArtifactFilter,
    ArtifactRef,
    Collection,
    CollectionUpdate,
    Committed,
    DistributedPart,
    EdgeKind,
    ManifestRoot,
    NewVersion,
    VersionUpdate,
)
from windlass.models.run import Run


def commit(store: MetadataStore, content: str, name: str = "data", **values: Any) -> Committed:
    """A version whose digest says its content."""
    values = {"type": "dataset", "project": "contract", **values}
    digest = f"blake3:{content.encode().hex():0<64}"[:71]
    manifest = values.pop("manifest", digest.replace("blake3:", "blake3:f")[:71])
    return store.artifacts.commit(NewVersion(entity="kit", name=name, digest=digest, manifest=manifest, **values))


def ref(selector: str = "latest", name: str = "data") -> ArtifactRef:
    """A path."""
    return ArtifactRef(entity="kit", project="contract", name=name, selector=selector)


class ArtifactTests:
    """Tests of `ArtifactStore`."""

    def test_versions_are_numbered_and_latest_moves(self, store: MetadataStore) -> None:
        first = commit(store, "a", aliases=("best",), tags=("t",), metadata={"k": [1]}, size=5, entries=2)
        second = commit(store, "b", aliases=("best", "new"))
        assert (first.created, first.version.version, first.version.aliases) == (True, 0, ("best", "latest"))
        assert (first.version.metadata, first.version.size, first.version.entries) == ({"k": [1]}, 5, 2)
        assert (second.version.version, set(second.version.aliases)) == (1, {"best", "latest", "new"})
        assert store.artifacts.get(ref()) == second.version
        assert store.artifacts.get(ref("v0")).aliases == ()
        assert store.artifacts.get(ref(first.version.digest)).version == 0
        assert store.artifacts.get(ref("new")).version == 1
        assert store.artifacts.get_by_id(first.version.id).tags == ("t",)

    def test_same_content_is_no_new_version(self, store: MetadataStore) -> None:
        first = commit(store, "a")
        commit(store, "b")
        again = commit(store, "a", aliases=("again",))
        assert not again.created
        assert again.version.id == first.version.id
        assert set(again.version.aliases) == {"again", "latest"}
        elsewhere = commit(store, "a", name="other")
        assert elsewhere.created
        assert elsewhere.version.version == 0

    def test_a_version_may_depend_on_what_is_latest(self, store: MetadataStore) -> None:
        first = commit(store, "a", base="", origins=("strangers", "kit"))
        assert first.version.origins == ("strangers",), "its own entity is no stranger"
        second = commit(store, "b", base=first.version.id)
        with pytest.raises(ConflictError):
            commit(store, "c", base=first.version.id)
        with pytest.raises(ConflictError):
            commit(store, "d", base="")
        assert store.artifacts.get(ref()).id == second.version.id

    def test_what_is_not_there_is_answered_with_what_is(self, store: MetadataStore) -> None:
        commit(store, "a", aliases=("best",))
        with pytest.raises(ArtifactNotFoundError) as caught:
            store.artifacts.get(ref("worst"))
        assert "best" in str(caught.value)
        with pytest.raises(ArtifactNotFoundError) as caught:
            store.artifacts.get(ref(name="nope"))
        assert "data" in str(caught.value)
        for selector in ("v7", "blake3:00"):
            with pytest.raises(ArtifactNotFoundError):
                store.artifacts.get(ref(selector))
        with pytest.raises(ArtifactNotFoundError):
            store.artifacts.get_by_id("nope")

    def test_the_first_version_fixes_the_type(self, store: MetadataStore) -> None:
        commit(store, "a")
        with pytest.raises(UsageError, match="dataset"):
            commit(store, "b", type="model")
        assert store.artifacts.collection("kit", "contract", "data").versions == 1

    @pytest.mark.parametrize(
        "bad",
        [{"name": "a/b"}, {"name": ""}, {"type": ""}, {"aliases": ("v3",)}, {"aliases": ("a:b",)}, {"tags": ("a/b",)}],
        ids=str,
    )
    def test_bad_names_are_refused(self, store: MetadataStore, bad: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            commit(store, "a", **bad)
        assert store.artifacts.collections("kit") == ()

    def test_labels_change(self, store: MetadataStore) -> None:
        first, second = commit(store, "a", tags=("x",)).version, commit(store, "b").version
        changed = store.artifacts.update(
            first.id,
            VersionUpdate(add_aliases=("good", "latest"), add_tags=("y",), remove_tags=("x",), description="d",
                          metadata={"m": 1}, ttl_seconds=5.0, add_signatures=({"s": 1},)),
        )  # fmt: skip
        assert (set(changed.aliases), changed.tags, changed.description) == ({"good", "latest"}, ("y",), "d")
        assert (changed.metadata, changed.ttl_seconds, changed.signatures) == ({"m": 1}, 5.0, ({"s": 1},))
        assert store.artifacts.get_by_id(second.id).aliases == ()
        store.artifacts.update(second.id, VersionUpdate(add_aliases=("good",)))
        assert store.artifacts.get(ref("good")).id == second.id
        after = store.artifacts.update(first.id, VersionUpdate(ttl_seconds=-1.0))
        assert after.ttl_seconds is None
        assert after.digest == first.digest

    def test_versions_are_listed_newest_first(self, store: MetadataStore) -> None:
        for content in "abc":
            commit(store, content, tags=("t", content), aliases=(f"is-{content}",))
        commit(store, "x", name="model", type="model")
        where = ArtifactFilter(entity="kit", project="contract", name="data")
        found = store.artifacts.list(where)
        assert [v.version for v in found] == [2, 1, 0]
        paged = ArtifactFilter(entity="kit", name="data", before=found[0].id, limit=1)
        assert [v.version for v in store.artifacts.list(paged)] == [1]
        assert [v.version for v in store.artifacts.list(ArtifactFilter(tags=("t", "b")))] == [1]
        assert [v.version for v in store.artifacts.list(ArtifactFilter(alias="is-a"))] == [0]
        assert [v.name for v in store.artifacts.list(ArtifactFilter(type="model"))] == ["model"]

    def test_collections(self, store: MetadataStore) -> None:
        commit(store, "a")
        commit(store, "b")
        commit(store, "x", name="a-model", type="model")
        assert [c.name for c in store.artifacts.collections("kit", "contract")] == ["a-model", "data"]
        assert [c.name for c in store.artifacts.collections(type="model")] == ["a-model"]
        changes = CollectionUpdate(description="d", tags=("t",), protected_aliases=("prod",))
        changed = store.artifacts.update_collection("kit", "contract", "data", changes)
        assert isinstance(changed, Collection)
        assert (changed.description, changed.tags, changed.protected_aliases) == ("d", ("t",), ("prod",))
        assert (changed.versions, changed.latest, changed.type) == (2, 1, "dataset")
        assert store.artifacts.collection("kit", "contract", "data") == changed
        with pytest.raises(ArtifactNotFoundError):
            store.artifacts.collection("kit", "contract", "nope")

    def test_deletion_can_be_undone_until_it_is_purged(self, store: MetadataStore) -> None:
        first, second = commit(store, "a").version, commit(store, "b").version
        deleted = store.artifacts.delete(second.id)
        assert deleted.deleted_at > 0
        assert store.artifacts.get(ref()).id == first.id
        with pytest.raises(ArtifactNotFoundError):
            store.artifacts.get(ref("v1"))
        assert store.artifacts.get_by_id(second.id).deleted_at > 0
        assert [v.id for v in store.artifacts.list(ArtifactFilter(name="data", deleted=True))] == [second.id]
        assert store.artifacts.collection("kit", "contract", "data").versions == 1
        assert store.artifacts.restore(second.id).deleted_at == 0
        assert store.artifacts.get(ref()).id == second.id
        store.artifacts.delete(second.id)
        assert store.artifacts.purge(deleted.deleted_at - 10) == ()
        assert store.artifacts.purge(store.now() + 1) == (second.id,)
        with pytest.raises(ArtifactNotFoundError):
            store.artifacts.restore(second.id)
        assert commit(store, "c").version.version == 2, "a number was used again"

    def test_aliases_hold_a_version(self, store: MetadataStore) -> None:
        version = commit(store, "a", aliases=("best", "prod")).version
        commit(store, "b")
        with pytest.raises(ConflictError, match="best"):
            store.artifacts.delete(version.id)
        store.artifacts.update_collection("kit", "contract", "data", CollectionUpdate(protected_aliases=("prod",)))
        with pytest.raises(ConflictError, match="prod"):
            store.artifacts.delete(version.id, force=True)
        store.artifacts.update(version.id, VersionUpdate(remove_aliases=("prod",)))
        assert store.artifacts.delete(version.id, force=True).aliases == ()

    def test_versions_out_of_their_life_time_are_purged(self, store: MetadataStore) -> None:
        short = commit(store, "a", ttl_seconds=0.01).version
        long = commit(store, "b", ttl_seconds=1000.0).version
        time.sleep(0.05)
        kept = commit(store, "c", aliases=("prod",), ttl_seconds=0.01).version
        store.artifacts.update_collection("kit", "contract", "data", CollectionUpdate(protected_aliases=("prod",)))
        time.sleep(0.05)
        for dry_run in (True, True, False):
            assert store.artifacts.purge(store.now(), dry_run) == (short.id,)
        assert store.artifacts.purge(store.now()) == ()
        assert {version.id for version in store.artifacts.list(ArtifactFilter(name="data"))} == {long.id, kept.id}

    def test_roots_without_what_would_be_purged(self, store: MetadataStore) -> None:
        made = [commit(store, content).version for content in "abc"]
        again = commit(store, "a", name="other").version
        assert again.manifest == made[0].manifest
        for version in (made[0], made[1]):
            store.artifacts.delete(version.id)
        part = DistributedPart(
            entity="kit", project="contract", name="x", type="t", group="g", part="1", manifest="blake3:part"
        )
        store.artifacts.add_part(part)
        short = commit(store, "d", ttl_seconds=0.01).version
        time.sleep(0.05)

        def roots(without: float) -> set[str]:
            found: set[str] = set()
            after = ""
            while page := store.artifacts.roots(after, limit=1, without=without):
                found |= {root.manifest for root in page}
                after = page[-1].manifest
            return found

        everything = {version.manifest for version in (*made, short)} | {"blake3:part"}
        assert roots(0.0) == everything
        assert roots(store.now() + 1) == everything - {made[1].manifest, short.manifest}
        store.artifacts.purge(store.now() + 1)
        assert roots(0.0) == everything - {made[1].manifest, short.manifest}

    def test_lineage(self, store: MetadataStore) -> None:
        store.runs.create(Run(id="maker", entity="kit", project="contract"))
        store.runs.create(Run(id="user", entity="kit", project="contract"))
        version = commit(store, "a", run="maker", attempt=1).version
        assert version.run == "maker"
        for _ in range(2):
            store.artifacts.use("user", version.id, attempt=1)
        edges = store.artifacts.edges(version_id=version.id)
        assert {(edge.kind, edge.run) for edge in edges} == {(EdgeKind.OUTPUT, "maker"), (EdgeKind.INPUT, "user")}
        assert [edge.version for edge in store.artifacts.edges(run_id="user")] == [version.id]
        assert len(edges) == 2
        assert [e.run for e in store.artifacts.edges(version_id=version.id, kind=EdgeKind.INPUT)] == ["user"]

    def test_lineage_names_what_was_purged(self, store: MetadataStore) -> None:
        store.runs.create(Run(id="user", entity="kit", project="contract"))
        first, second = commit(store, "a").version, commit(store, "b").version
        for version in (first, second):
            store.artifacts.use("user", version.id)
        store.artifacts.delete(first.id)
        store.artifacts.purge(store.now() + 1)
        assert [edge.version for edge in store.artifacts.edges(run_id="user")] == [second.id]
        edges = store.artifacts.edges(run_id="user", collected=True)
        assert {edge.version: edge.collected for edge in edges} == {first.id: first.path, second.id: ""}

    def test_a_superseded_attempt_publishes_nothing(self, store: MetadataStore) -> None:
        store.runs.create(Run(id="r", entity="kit", project="contract", attempt=2))
        with pytest.raises(FencedError):
            commit(store, "a", run="r", attempt=1)
        assert store.artifacts.list(ArtifactFilter(name="data")) == ()
        version = commit(store, "a", run="r", attempt=2).version
        with pytest.raises(FencedError):
            store.artifacts.use("r", version.id, attempt=1)

    def test_upload_sessions(self, store: MetadataStore) -> None:
        assert store.artifacts.oldest_upload() == inf
        before = store.now()
        one = store.artifacts.begin_upload("someone")
        two = store.artifacts.begin_upload("someone")
        assert one != two
        assert before - 1 <= store.artifacts.oldest_upload() <= store.now()
        store.artifacts.renew_upload(one)
        commit(store, "a", upload=one)
        for upload in (one, two, two):
            store.artifacts.end_upload(upload)
        assert store.artifacts.oldest_upload() == inf

    def test_roots_keep_what_is_needed(self, store: MetadataStore) -> None:
        made = [commit(store, content).version for content in "abcd"]
        store.artifacts.delete(made[1].id)
        part = DistributedPart(
            entity="kit", project="contract", name="x", type="t", group="g", part="1", manifest="blake3:part"
        )
        store.artifacts.add_part(part)
        found: dict[str, ManifestRoot] = {}
        after = ""
        while page := store.artifacts.roots(after, limit=2):
            found |= {root.manifest: root for root in page}
            after = page[-1].manifest
        assert set(found) == {version.manifest for version in made} | {"blake3:part"}
        assert found[made[1].manifest].deleted_at > 0
        assert found[made[0].manifest].deleted_at == 0
        assert found["blake3:part"].version == ""

    def test_parts_are_collected(self, store: MetadataStore) -> None:
        def part(name: str, manifest: str, group: str = "g") -> DistributedPart:
            return DistributedPart(
                entity="kit", project="contract", name="x", type="t", group=group, part=name, manifest=manifest
            )

        for new in (part("b", "1"), part("a", "2"), part("b", "3"), part("z", "4", group="other")):
            store.artifacts.add_part(new)
        taken = store.artifacts.take_parts("kit", "contract", "x", "g")
        assert [(found.part, found.manifest) for found in taken] == [("a", "2"), ("b", "3")]
        assert store.artifacts.take_parts("kit", "contract", "x", "g", remove=True) == taken
        assert store.artifacts.take_parts("kit", "contract", "x", "g") == ()
        assert len(store.artifacts.take_parts("kit", "contract", "x", "other")) == 1
