"""What runs need, and the units in which that is written."""

from __future__ import annotations

from typing import Any

import pytest

from windlass.errors import ConfigError
from windlass.launch.needs import check_needs, fits, needs_of, parse_quantity
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Queue, TemplateVariable

SOURCE = JobSource(kind=SourceKind.IMAGE, image="i")


def needs(config: dict[str, Any], resource: str = "docker", templates: Any = None, **spec: Any) -> dict[str, float]:
    queue = Queue(entity="e", name="q", resource=resource, config=config, templates=templates or {})
    return needs_of(queue, LaunchSpec(source=SOURCE, **spec))


@pytest.mark.parametrize(
    ("slot", "value", "wanted"),
    [
        ("cpu", 4, 4.0),
        ("cpu", "0.5", 0.5),
        ("cpu", "500m", 0.5),
        ("memory", 1024, 1024.0),
        ("memory", "512m", 512 * 2.0**20),
        ("memory", "32GiB", 2.0**35),
        ("memory", "32 GB", 2.0**35),
        ("memory", "1.5k", 1536.0),
        ("gpu", "2", 2.0),
        ("gpu", "device=0,3", 2.0),
        ("gpu", '"device=0"', 1.0),
        ("gpu", "all", 1.0),
        ("license", 3, 3.0),
    ],
)
def test_units(slot: str, value: Any, wanted: float) -> None:
    assert parse_quantity(slot, value) == wanted


@pytest.mark.parametrize(
    ("slot", "value"),
    [("cpu", "2g"), ("memory", "lots"), ("memory", "-1g"), ("gpu", "none"), ("cpu", True), ("cpu", -1), ("x", []),
     ("cpu", float("nan")), ("memory", "1e5"), ("cpu", "")],
)  # fmt: skip
def test_mistakes(slot: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_quantity(slot, value)
    assert caught.value.where == f"$.slots.{slot}"
    assert caught.value.hint


def test_the_words_of_the_resource() -> None:
    assert needs({"cpus": 2, "memory": "1g", "gpus": 1}) == {"cpu": 2.0, "memory": 2.0**30, "gpu": 1.0}
    assert needs({"docker": {"m": "1k"}}) == {"cpu": 1.0, "memory": 1024.0}
    assert needs({}) == {"cpu": 1.0}, "who says nothing counts as one core"
    assert needs({"cpus": 2}, resource_args={"cpus": 3}) == {"cpu": 3.0}


def test_the_owner_may_say_it() -> None:
    assert needs({"cpus": 2, "slots": {"cpu": 0, "license": 1}}) == {"license": 1.0}
    assert needs({"slots": {"gpu": 2}}, resource_args={"gpus": 1}) == {"cpu": 1.0, "gpu": 2.0}


def test_templates_are_filled() -> None:
    templates = {"n": TemplateVariable(type="integer", default=2)}
    assert needs({"cpus": "{{n}}"}, templates=templates) == {"cpu": 2.0}
    assert needs({"cpus": "{{n}}"}, templates=templates, template_values={"n": 6}) == {"cpu": 6.0}
    assert needs({"cpus": "{{nothing}}"}) == {"cpu": 1.0}


def test_fits() -> None:
    queue = Queue(entity="e", name="q", resource="docker", config={"cpus": 2, "gpus": 1})
    spec = LaunchSpec(source=SOURCE)
    assert fits({}, queue, spec)
    assert fits({"cpu": 2.0}, queue, spec)
    assert not fits({"cpu": 1.9}, queue, spec)
    assert not fits({"cpu": 8.0, "gpu": 0.0}, queue, spec)


def test_check_of_a_queue() -> None:
    def problems(slots: Any) -> list[str]:
        return [p.where for p in check_needs(Queue(entity="e", name="q", resource="docker", config={"slots": slots}))]

    assert problems({"cpu": 2, "memory": "{{mem}}"}) == []
    assert problems({"cpu": "x", "memory": "y"}) == ["$.slots.cpu", "$.slots.memory"]
    assert problems(3) == ["$.slots"]
