"""What the IO manager promises beside the samples."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import windlass
from dagster_windlass import PartitionedOutput, WindlassArtifactsIOManager, WindlassResource
from dagster_windlass.config import CONFIGURATION_KEY

DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-05")
RANGE = {"dagster/asset_partition_range_start": "2026-01-01", "dagster/asset_partition_range_end": "2026-01-03"}


def test_prefixes_do_not_collide(run: Any) -> None:
    @dg.asset(key_prefix="one")
    def value():
        return 1

    @dg.asset(key=["two", "value"])
    def other():
        return 2

    @dg.asset(ins={"a": dg.AssetIn(["one", "value"]), "b": dg.AssetIn(["two", "value"])})
    def both(a, b):
        return a, b

    assert run(value, other, both).output_for_node("both") == (1, 2)


def test_same_content_is_the_same_version(run: Any, api: windlass.Api, instance: dg.DagsterInstance) -> None:
    @dg.asset(metadata={CONFIGURATION_KEY: {"aliases": ["best"]}})
    def steady():
        return [1, 2]

    events = [run(steady).asset_materializations_for_node("steady")[0] for _ in range(3)]
    assert {e.metadata["windlass_artifact_version"].value for e in events} == {"v0"}
    assert len({e.tags["dagster/data_version"] for e in events}) == 1
    assert events[0].tags["dagster/data_version"] == api.artifact("steady").digest


def test_unchanged_content_leaves_downstream_fresh(run: Any, instance: dg.DagsterInstance) -> None:
    from dagster._core.definitions.data_version import CachingStaleStatusResolver
    from dagster._core.loader import LoadingContextForTest

    content = [1]

    @dg.asset
    def up():
        return list(content)

    @dg.asset
    def down(up):
        return up

    def status() -> str:
        graph = dg.Definitions(assets=[up, down]).get_repository_def().asset_graph
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        return str(resolver.get_status(dg.AssetKey("down")).name)

    assert run(up, down).success
    assert run(up).success
    assert status() == "FRESH"
    content.append(2)
    assert run(up).success
    assert status() == "STALE"


def test_aliases_of_runs_stay_with_their_version(run: Any, api: windlass.Api) -> None:
    numbers = iter(range(3))

    @dg.asset(metadata={CONFIGURATION_KEY: {"aliases": ["best"]}})
    def changing():
        return next(numbers)

    runs = [run(changing).run_id for _ in range(3)]
    for number, run_id in enumerate(runs):
        found = api.artifact(f"changing:v{number}")
        assert [a for a in found.aliases if a.startswith("dagster-run-")] == [f"dagster-run-{run_id[:8]}"]


def test_what_is_given_on_stays_that_of_its_maker(run: Any, api: windlass.Api) -> None:
    with windlass.init(entity="strangers", project="p") as made:
        made.log_artifact({1}, "theirs")

    @dg.asset
    def ours():
        return windlass.Api().artifact("strangers/p/theirs")

    assert run(ours).success
    assert api.artifact("ours").info.origins == ("strangers",)


def test_what_was_consumed_is_recorded(run: Any, api: windlass.Api, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def up():
        return 1

    @dg.asset
    def down(up):
        return 2

    done = run(up, down)
    observation = instance.fetch_observations(dg.AssetKey("up"), limit=1).records[0].asset_observation
    assert observation.metadata["windlass_artifact_digest"].value == api.artifact("up").digest
    found = api.run(done.run_id)
    assert [a.name for a in found.used_artifacts()] == ["up"]
    assert {a.name for a in found.logged_artifacts()} == {"up", "down"}


def test_several_partitions_lazily(run: Any, api: windlass.Api, instance: dg.DagsterInstance) -> None:
    alive: list[str] = []

    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def many(context):
        def values():
            for day in context.partition_keys:
                alive.append(day)
                assert len(api.artifact_collections()) == len(alive) - 1, "the one before is stored already"
                yield day, {"day": day}

        return PartitionedOutput(values())

    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def after(many):
        return PartitionedOutput({day: value["day"] for day, value in many.items()})

    done = run(many, tags=RANGE)
    events = done.asset_materializations_for_node("many")
    assert [event.partition for event in events] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    names = [event.metadata["windlass_artifact_name"].value for event in events]
    assert names == ["many.2026-01-01", "many.2026-01-02", "many.2026-01-03"]
    assert instance.get_materialized_partitions(dg.AssetKey("many")) == {e.partition for e in events}
    eager = run(many, after, selection=[after], tags=RANGE).asset_materializations_for_node("after")
    for event in eager:
        stored = api.artifact(f"after.{event.partition}")
        assert event.metadata["windlass_artifact_digest"].value == stored.digest
        assert event.metadata["windlass_artifact_ref"].value == stored.path
    assert len({event.metadata["windlass_artifact_digest"].value for event in eager}) == 3
    assert run(many, after, selection=[after], partition_key="2026-01-02").success  # one: a dict, too
    assert api.artifact("after.2026-01-02").get("output") == "2026-01-02"


def test_a_dict_of_the_runs_keys_is_several_partitions(run: Any, api: windlass.Api) -> None:
    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def many(context):
        return dict.fromkeys(context.partition_keys, 1)

    assert run(many, tags=RANGE).success
    assert len(api.artifact_collections()) == 3
    assert run(many, partition_key="2026-01-04").success
    assert api.artifact("many.2026-01-04").get("output") == {"2026-01-04": 1}  # one: the value is the value


def test_same_partition_gives_the_value(run: Any) -> None:
    @dg.asset(partitions_def=DAYS)
    def up(context):
        return context.partition_key

    @dg.asset(partitions_def=DAYS)
    def down(up):
        return up

    assert run(up, down, partition_key="2026-01-01").output_for_node("down") == "2026-01-01"


@pytest.mark.parametrize(("order", "name"), [([], "cars.blue.car"), (["kind", "color"], "cars.car.blue")])
def test_dimensions(run: Any, api: windlass.Api, order: list[str], name: str) -> None:
    partitions = dg.MultiPartitionsDefinition(
        {"kind": dg.StaticPartitionsDefinition(["car"]), "color": dg.StaticPartitionsDefinition(["blue", "light/red"])}
    )

    @dg.asset(partitions_def=partitions, metadata={CONFIGURATION_KEY: {"partition_dimensions": order}})
    def cars(context):
        return str(context.partition_key)

    @dg.asset
    def every(cars):
        return cars

    for key in partitions.get_partition_keys():
        assert run(cars, partition_key=key).success
    assert api.artifact(name).metadata["source_dagster_partition_dimensions"] == {"kind": "car", "color": "blue"}
    assert run(cars, every, selection=[every]).output_for_node("every") == {
        "blue|car": "blue|car",
        "light/red|car": "light/red|car",
    }


def test_hyphen_form_resolves(run: Any) -> None:
    partitions = dg.MultiPartitionsDefinition(
        {"kind": dg.StaticPartitionsDefinition(["car"]), "color": dg.StaticPartitionsDefinition(["blue"])}
    )
    with windlass.init(project="my_project") as elsewhere:
        elsewhere.log_artifact([1], name="cars.blue-car", type="dataset", serializer="json")

    @dg.asset
    def every(cars):
        return {key: artifact.name for key, artifact in cars.items()}

    upstream = dg.AssetSpec("cars", partitions_def=partitions)
    assert run(upstream, every, selection=[every]).output_for_node("every") == {"blue|car": "cars.blue-car"}


def test_missing_partitions_can_be_left_out(run: Any, manager: Any, tmp_path: Path) -> None:
    @dg.asset(partitions_def=DAYS)
    def up():
        return 1

    @dg.asset
    def down(up):
        return up

    lenient = WindlassArtifactsIOManager(windlass=manager.windlass, missing_partitions="skip", base_dir=str(tmp_path))
    run(up, partition_key="2026-01-02")
    done = run(up, down, selection=[down], resources={"io_manager": lenient})
    assert done.output_for_node("down") == {"2026-01-02": 1}


def test_cache_of_nobody_else_is_touched(run: Any, manager: Any, tmp_path: Path) -> None:
    """`get_path` gives a file that is there when the function runs, with a cache of no duration, too."""

    @dg.asset
    def up():
        artifact = windlass.Artifact("up", "dataset")
        with artifact.new_file("file.txt") as file:
            file.write("text" * 1000)
        return artifact

    none = WindlassArtifactsIOManager(
        windlass=manager.windlass, cache_duration_in_minutes=0, base_dir=str(tmp_path / "base")
    )

    @dg.asset(ins={"path": dg.AssetIn("up", metadata={CONFIGURATION_KEY: {"get_path": "file.txt"}})})
    def down(path):
        inner = dg.materialize([up], resources={"io_manager": none})
        assert inner.success
        return len(Path(path).read_text())

    done = run(up, down, resources={"io_manager": none})
    assert done.output_for_node("down") == 4000
    views = tmp_path / "base/storage/windlass_artifacts_manager/views"
    assert not list(views.iterdir())


def test_projects_do_not_mix(run: Any, manager: Any, tmp_path: Path) -> None:
    @dg.asset
    def value():
        return project

    @dg.asset
    def reader(value):
        return value

    for project in ("one", "two"):
        scoped = WindlassArtifactsIOManager(
            windlass=WindlassResource(entity="my_entity", project=project), base_dir=str(tmp_path / "base")
        )
        assert run(value, reader, resources={"io_manager": scoped}).output_for_node("reader") == project


def test_load_asset_value_outside_a_run(
    run: Any, manager: Any, instance: dg.DagsterInstance, api: windlass.Api
) -> None:
    @dg.asset
    def value():
        return 7

    run(value)
    definitions = dg.Definitions(assets=[value], resources={"io_manager": manager})
    assert definitions.load_asset_value("value", instance=instance) == 7
    assert len(list(api.runs())) == 1


@pytest.mark.parametrize("form", ["pythonic", "configured"])
def test_the_host_comes_from_the_environment(
    form: str, home: Path, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster_windlass import windlass_artifacts_io_manager, windlass_resource

    monkeypatch.setenv("MY_STORE", f"sqlite:///{tmp_path}/elsewhere.db")

    @dg.asset
    def value():
        return 7

    store = WindlassResource(host=dg.EnvVar("MY_STORE"), entity="my_entity", project="my_project")
    resources: dict[str, Any] = {"io_manager": WindlassArtifactsIOManager(windlass=store)}
    if form == "configured":
        resources = {
            "io_manager": windlass_artifacts_io_manager,
            "windlass_resource": windlass_resource.configured({"api_key": "x", "host": {"env": "MY_STORE"}}),
            "windlass_config": dg.ResourceDefinition.hardcoded_resource(
                {"entity": "my_entity", "project": "my_project"}
            ),
        }
    assert dg.materialize([value], resources=resources, instance=instance).success
    assert (tmp_path / "elsewhere.db").exists()
    settings = windlass.Settings(
        entity="my_entity", project="my_project", base_url=f"sqlite:///{tmp_path}/elsewhere.db"
    )
    with windlass.Api(settings) as found:
        assert found.artifact("value").get("output") == 7


@pytest.mark.parametrize("form", ["pythonic", "configured"])
def test_the_key_comes_from_the_environment(form: str, instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster_windlass import windlass_resource

    monkeypatch.setenv("MY_KEY", "secret-of-mine")
    store: Any = WindlassResource(api_key=dg.EnvVar("MY_KEY"))
    if form == "configured":
        store = windlass_resource.configured({"api_key": {"env": "MY_KEY"}})

    @dg.asset(required_resource_keys={"store"})
    def key(context):
        given = context.resources.store
        return (given.client() if form == "pythonic" else given).settings.api_key

    resources = {"store": store, "io_manager": dg.mem_io_manager}
    done = dg.materialize([key], resources=resources, instance=instance)
    assert done.output_for_node("key") == "secret-of-mine"


def test_version_and_alias_of_an_input(run: Any, api: windlass.Api) -> None:
    numbers = iter(range(3))

    @dg.asset
    def up():
        return next(numbers)

    def reading(name: str, **which: str) -> Any:
        @dg.asset(name=name, ins={"up": dg.AssetIn(metadata={CONFIGURATION_KEY: which})})
        def down(up):
            return up

        return down

    for _ in range(3):
        assert run(up).success
    api.artifact("up:v1").add_aliases("best")
    readers = [reading("newest"), reading("first", version="v0"), reading("best", alias="best")]
    done = run(up, *readers, selection=readers)
    assert [done.output_for_node(name) for name in ("newest", "first", "best")] == [2, 0, 1]


def test_pythonic_and_older_form_mix(instance: dg.DagsterInstance) -> None:
    from dagster_windlass import WindlassConfig, windlass_artifacts_io_manager

    @dg.asset
    def value():
        return 7

    resources = {
        "io_manager": windlass_artifacts_io_manager.configured({"run_tags": ["a"], "run_name": "mine"}),
        "windlass_resource": WindlassResource(),
        "windlass_config": WindlassConfig(entity="my_entity", project="my_project"),
    }
    done = dg.materialize([value], resources=resources, instance=instance)
    with windlass.Api() as api:
        found = api.run(done.run_id)
        assert (found.name, found.tags) == ("mine", ("a", "dagster_windlass"))
