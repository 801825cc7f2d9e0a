from __future__ import annotations

import pytest
from attrs import evolve

from windlass.errors import UsageError
from windlass.models.artifact import ArtifactVersion
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import QueueRef
from windlass.models.schedule import Trigger, TriggerEvent
from windlass.schedule.triggers import check_trigger, new_version, request

TRIGGER = Trigger(
    entity="team",
    name="t",
    event=TriggerEvent.VERSION,
    queue=QueueRef(entity="team", name="q"),
    spec=LaunchSpec(source=JobSource(kind=SourceKind.IMAGE, image="x")),
)


@pytest.mark.parametrize(
    ("type_", "filters", "fires"),
    [
        ("dataset", {}, True),
        ("job", {}, False),
        ("code", {}, False),
        ("code", {"artifact_type": "code"}, True),
        ("job", {"artifact_name": "job-*"}, True),
        ("job", {"artifact_name": "model"}, False),
        ("dataset", {"artifact_project": "q"}, False),
    ],
)
def test_which_artifacts_are_meant(type_: str, filters: dict[str, str], fires: bool) -> None:
    version = ArtifactVersion(
        id="1", entity="team", project="p", name="job-x", type=type_, version=0, digest="blake3:a", manifest="blake3:b"
    )
    assert (new_version(evolve(TRIGGER, **filters), version, ()) is not None) is fires


def test_a_name_says_what_happened() -> None:
    version = ArtifactVersion(
        id="1", entity="team", project="p", name="x", type="data", version=2, digest="blake3:a", manifest="blake3:b"
    )
    named = evolve(TRIGGER, run_name="retrain-{{version}}")
    event = new_version(named, version, ())
    assert event is not None
    assert (request(named, event).name, request(TRIGGER, event).name) == ("retrain-v2", "t")
    with pytest.raises(UsageError, match="means nothing to a trigger on cron"):
        check_trigger(evolve(named, event=TriggerEvent.CRON, cron="@daily"))
