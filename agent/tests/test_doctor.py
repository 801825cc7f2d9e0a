"""What is found before the first job finds it."""

from __future__ import annotations

from typing import Any

import pytest

from windlass_agent.backends import Backends
from windlass_agent.config import AgentConfig
from windlass_agent.doctor import examine


def findings(world: Any, store: bool = True, **config: Any) -> dict[str, Any]:
    found = examine(AgentConfig(**config), world.app, world.store if store else None)
    return {finding.check: finding for finding in found}


def test_all_is_well(world: Any) -> None:
    found = findings(world, queues=("q",), builder={"type": "noop"})
    assert {name: each.status for name, each in found.items() if not name.startswith("runner docker")} == {
        "builder noop": "warning",
        "queue q": "ok",
        "runner process": "ok",
        "API for jobs on process": "ok",
    }
    assert "builds images" in found["builder noop"].detail


def test_each_thing_that_would_fail(world: Any) -> None:
    socket = f"unix://{world.home}/none.sock"
    found = findings(
        world,
        queues=("q", "nowhere"),
        builder={"type": "docker", "docker-host": socket, "destination": "127.0.0.1:1/team"},
        runners={"docker": {"docker-host": socket}, "nonesuch": {}},
    )
    wrong = {name: each.detail for name, each in found.items() if each.status == "problem"}
    assert set(wrong) == {
        "registry", "builder docker", "queue nowhere", "runner docker", "runner nonesuch",
    }  # fmt: skip
    assert "there: q" in wrong["queue nowhere"]
    assert "none.sock" in wrong["builder docker"]
    assert "none.sock" in wrong["runner docker"]


def test_references_names_and_keys_that_lead_nowhere(world: Any, monkeypatch: Any) -> None:
    from windlass_agent.config import GitHost

    monkeypatch.setenv("HERE", "s3cret")
    config: dict[str, Any] = {
        "queues": ("q",), "secrets": {"A": {"secret": "env/NOT_THERE"}}, "weights": {"p": 2.0},
        "git": {"example.com": GitHost(token="file//none/key", ssh_key="/none/id")}, "storage": {"s33": {}},
        "builder": {"type": "docker", "hots": "x", "platfrom": "y"},
    }  # fmt: skip
    found = findings(world, **config)
    assert {name for name, each in found.items() if each.status == "problem"} == {
        "secrets", "git tokens", "git keys", "storage", "builder docker",
    }  # fmt: skip
    assert "/none/id" in found["git keys"].detail
    assert "NOT_THERE is not set" in found["secrets"].detail
    assert "/none/key" in found["git tokens"].detail
    assert "s33" in found["storage"].detail
    assert all(word in found["builder docker"].detail for word in ("'hots'", "'platform'")), "all at once, the near key"
    assert found["weights"].status == "warning"
    good = findings(world, queues=("q",), secrets={"A": {"secret": "env/HERE"}}, weights={"q": 2.0})
    assert good["secrets"].status == "ok"
    assert "weights" not in good
    assert "s3cret" not in str(good)


def test_secrets_of_queues_are_looked_for(world: Any, monkeypatch: Any) -> None:
    secret = {"secret": "env/OF_THE_QUEUE"}
    world.queue("sq", "process", config={"env": [{"KEY": secret}]})
    found = findings(world, queues=("sq",))
    assert found["queue sq"].status == "problem"
    assert "OF_THE_QUEUE is not set" in found["queue sq"].detail
    monkeypatch.setenv("OF_THE_QUEUE", "s3cret")
    assert findings(world, queues=("sq",))["queue sq"].status == "ok"


def test_a_configuration_without_queues(world: Any, tmp_path: Any) -> None:
    from windlass_agent.config import load
    from windlass_agent.doctor import examine

    file = tmp_path / "launch-config.yaml"
    file.write_text("max_jobs: 2\n")
    found = {each.check: each for each in examine(load(file, {}), world.app, world.store)}
    assert found["queues"].status == "warning"


def test_places_of_what_does_not_fit_a_backend(world: Any, tmp_path: Any) -> None:
    from windlass.errors import ConfigError, UsageError
    from windlass_agent.config import load

    file = tmp_path / "launch-config.yaml"
    file.write_text("queues: [q]\nbuilder: {type: docker, destination: 'UPPER/Case'}\n")
    with pytest.raises((ConfigError, UsageError)) as caught:
        Backends(load(file, {}), world.app).verify()
    assert caught.value.where.startswith(f"{file}:2")


def test_without_its_environment_nothing_works(world: Any) -> None:
    found = findings(world, environment={"type": "nonesuch"}, queues=("q",))
    assert found["environment nonesuch"].status == "problem"
    assert found["runner process"].status == "problem", "the agent would not start"


def test_what_nobody_asked_for_is_no_problem(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{world.home}/none.sock")
    found = findings(world)
    assert found["runner docker"].status == "warning"
    assert found["builder"].status == "warning"


def test_a_paused_queue_and_no_store(world: Any) -> None:
    from attrs import evolve

    queue = world.queue("still")
    world.store.queues.update(evolve(queue, paused=True))
    assert findings(world, queues=("still",))["queue still"].status == "warning"
    assert "queue still" not in findings(world, store=False, queues=("still",))


def test_settings_of_storages_are_read_and_their_secrets_followed(world: Any) -> None:
    found = findings(
        world,
        builder={"type": "noop"},
        secrets={"A": {"secret": "file//none/a"}, "B": {"secret": "file//none/b"}},
        storage={
            "s3": {"access-key-id": "hunter2", "secret-access-key": "file//none/key", "endpont-url": "http://x"},
            "http": {"hosts": {"h": {"headers": {"Authorization": {"secret": "file//none/token"}}}}},
        },
    )
    detail = found["storage"].detail
    assert found["storage"].status == "problem"
    assert "endpoint-url" in detail, "the nearest known key"
    assert "$.storage.http.hosts.h.headers.Authorization" in detail
    assert "none/a" in found["secrets"].detail
    assert "none/b" in found["secrets"].detail
    storage = {"s3": {"access-key-id": "hunter2", "secret-access-key": "file//none/key"}}
    detail = findings(world, builder={"type": "noop"}, storage=storage)["storage"].detail
    assert "$.storage.s3.access-key-id: not a secret reference" in detail
    assert "none/key" in detail
    assert "hunter2" not in detail


def test_the_homes_file_of_storages_is_read_too(world: Any) -> None:
    path = world.home / "storage.yaml"
    path.write_text("s3: {region: 7}\n")
    found = findings(world, builder={"type": "noop"})["storage"]
    path.unlink()
    assert found.status == "problem"
    assert "storage.yaml" in found.detail
