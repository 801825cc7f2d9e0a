"""Artifacts from outside: pinned, observed, followed; and checks."""

import contextlib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import windlass
from dagster_windlass import (
    WindlassResource,
    artifact_asset_spec,
    build_alias_check,
    build_artifact_observation,
    build_artifact_version_sensor,
    build_integrity_check,
    build_lineage_check,
    build_signature_check,
)
from dagster_windlass.client import WindlassClient
from windlass.models.artifact import VersionUpdate
from windlass.trust.keys import generate_key
from windlass.trust.signing import sign
from windlass.trust.statement import Subject

STORE = WindlassResource(entity="my_entity", project="my_project")


def log(value: Any, *aliases: str, name: str = "labels", project: str = "my_project") -> windlass.Artifact:
    with windlass.init(project=project) as run:
        return run.log_artifact(value, name=name, type="dataset", serializer="json", aliases=aliases)


@dg.asset
def reader(labels):
    return labels.version


@pytest.mark.parametrize(("which", "found"), [({}, "v2"), ({"alias": "approved"}, "v1"), ({"version": "v0"}, "v0")])
def test_asset_spec(run: Any, which: dict[str, str], found: str) -> None:
    log([0])
    log([1], "approved")
    log([2])
    spec = artifact_asset_spec("labels", **which)
    assert run(spec, reader, selection=[reader]).output_for_node("reader") == found


def test_asset_spec_of_another_project(run: Any) -> None:
    log([0], project="elsewhere")
    spec = artifact_asset_spec("elsewhere/labels")
    assert run(spec, reader, selection=[reader]).output_for_node("reader") == "v0"


def test_observation(run: Any, instance: dg.DagsterInstance) -> None:
    observed = build_artifact_observation("labels", alias="approved")
    found = log([1], "approved")
    log([2])
    definitions = dg.Definitions(
        assets=[observed],
        resources={"windlass": STORE, "io_manager": dg.mem_io_manager},
        jobs=[dg.define_asset_job("observe", selection=[observed])],
    )
    assert definitions.resolve_job_def("observe").execute_in_process(instance=instance).success
    record = instance.fetch_observations(dg.AssetKey("labels"), limit=1).records[0].asset_observation
    assert record.metadata["windlass_artifact_version"].value == "v0"
    assert record.tags["dagster/data_version"] == found.digest


def test_sensor_of_versions(instance: dg.DagsterInstance) -> None:
    sensor = build_artifact_version_sensor("labels", target=dg.AssetSelection.assets("reader"))
    definitions = dg.Definitions(assets=[reader, artifact_asset_spec("labels")], sensors=[sensor])

    def tick(cursor: str | None) -> Any:
        with dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"windlass": STORE}, definitions=definitions
        ) as context:
            return sensor.evaluate_tick(context)

    assert tick(None).skip_message
    log([0])
    log([1])
    first = tick(None)
    assert [r.run_key for r in first.run_requests] == [f"my_entity/my_project/labels:v{n}" for n in (0, 1)]
    assert [e.asset_key.to_user_string() for e in first.asset_events] == ["labels", "labels"]
    assert first.cursor == "1"
    assert tick(first.cursor).skip_message
    log([2])
    assert [r.run_key for r in tick("1").run_requests] == ["my_entity/my_project/labels:v2"]


def test_sensor_of_an_alias(instance: dg.DagsterInstance, api: windlass.Api) -> None:
    sensor = build_artifact_version_sensor("labels", alias="approved", target=dg.AssetSelection.assets("reader"))
    definitions = dg.Definitions(assets=[reader, artifact_asset_spec("labels")], sensors=[sensor])
    log([0], "approved")
    log([1])
    cursor = None

    def tick() -> Any:
        nonlocal cursor
        with dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"windlass": STORE}, definitions=definitions
        ) as context:
            found = sensor.evaluate_tick(context)
        cursor = found.cursor or cursor
        return found

    first = tick()
    assert first.asset_events[0].metadata["windlass_artifact_version"].value == "v0"
    keys = [request.run_key for request in first.run_requests]
    assert tick().skip_message
    for moved_to in ("v1", "v0", "v1"):  # Dagster starts no run for a key that it has seen
        api.artifact(f"labels:{moved_to}").add_aliases("approved")
        found = tick()
        assert found.asset_events[0].metadata["windlass_artifact_version"].value == moved_to
        keys += [request.run_key for request in found.run_requests]
    assert len(set(keys)) == 4


def test_sensor_with_partitions(instance: dg.DagsterInstance) -> None:
    versions = dg.DynamicPartitionsDefinition(name="versions")
    sensor = build_artifact_version_sensor("labels", dynamic_partitions=versions)
    log([0])
    with dg.build_sensor_context(instance=instance, resources={"windlass": STORE}) as context:
        found = sensor.evaluate_tick(context)
    assert instance.get_dynamic_partitions("versions") == ["v0"]
    assert found.asset_events[0].partition == "v0"


def test_checks(run: Any, home: Any, api: windlass.Api) -> None:
    @dg.asset
    def up():
        return "x" * 5000

    @dg.asset
    def down(up):
        return "y" * 5000

    checks = [
        build_integrity_check(down),
        build_alias_check(down, "approved"),
        build_lineage_check("down"),
        build_signature_check("down", blocking=False),
    ]

    def results(**kwargs: Any) -> dict[str, tuple[bool, str]]:
        done = run(up, down, *checks, resources={"windlass": STORE}, raise_on_error=False, **kwargs)
        return {e.check_name: (e.passed, e.description or "") for e in done.get_asset_check_evaluations()}

    found = results()
    assert found["windlass_integrity"][0]
    assert found["windlass_lineage"][0]
    assert not found["windlass_alias_approved"][0]
    assert not found["windlass_signature"][0]
    assert "trust.yaml" in found["windlass_signature"][1]
    api.artifact("down").add_aliases("approved")
    for file in (home / "blobs").rglob("*"):
        if file.is_file() and b"y" * 4000 in file.read_bytes():
            file.chmod(0o644)
            file.write_bytes(file.read_bytes().replace(b"y", b"z"))
    found = results(selection=dg.AssetSelection.checks(*checks))
    assert found["windlass_alias_approved"][0]
    assert not found["windlass_integrity"][0]


def test_signature_check_of_a_signed_version(run: Any, home: Path, api: windlass.Api) -> None:
    @dg.asset
    def down():
        return 1

    assert run(down).success
    key = generate_key(home / "key.pem")
    found = api.artifact("down")
    document = sign(Subject.of(found.info), key)
    with contextlib.closing(WindlassClient.open(entity="my_entity", project="my_project")) as client:
        client.store.artifacts.update(found.id, VersionUpdate(add_signatures=(document,)))
    (home / "trust.yaml").write_text(
        f"trusted-keys: [{{name: ann, public-key: {home}/key.pem.pub, entities: [my_entity]}}]\n"
    )
    check = build_signature_check("down")
    done = run(down, check, resources={"windlass": STORE}, selection=dg.AssetSelection.checks(check))
    (result,) = done.get_asset_check_evaluations()
    assert (result.passed, result.metadata["signed_by"].value) == (True, "ann")
