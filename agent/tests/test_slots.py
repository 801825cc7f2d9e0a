"""Slots, shares of queues, and what an agent counts."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from windlass.errors import ConfigError
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Queue, QueueRef
from windlass.models.run import Run, RunState
from windlass_agent.config import load
from windlass_agent.slots import Slots, parse_slots
from windlass_agent.turns import Turns
from windlass_testkit.waiting import eventually

SPEC = LaunchSpec(source=JobSource(kind=SourceKind.IMAGE, image="i"))


def queue(**config: Any) -> Queue:
    return Queue(entity="e", name="q", resource="process", config=config)


def refs(*names: str) -> list[QueueRef]:
    return [QueueRef(entity="e", name=name) for name in names]


def serve(turns: Turns, count: int, waiting: Any = lambda name, n: True) -> list[str]:
    """Names of the queues served, of those that have items."""
    served: list[str] = []
    for n in range(count):
        ref = next(ref for ref in turns.order() if waiting(ref.name, n))
        turns.served(ref)
        served.append(ref.name)
    return served


def test_queues_take_turns() -> None:
    assert serve(Turns(refs("a", "b", "c"), {}), 7) == ["a", "b", "c", "a", "b", "c", "a"]


@pytest.mark.parametrize("weights", [{"a": 3.0}, {"a": 0.75, "b": 0.25}, {"a": 7.5, "b": 2.5}])
def test_weights_are_shares(weights: dict[str, float]) -> None:
    named = {ref: weights[ref.name] for ref in refs("a", "b") if ref.name in weights}
    served = serve(Turns(refs("a", "b"), named), 400)
    assert abs(Counter(served)["a"] - 300) <= 1
    for start in range(0, 400, 8):
        assert "b" in served[start : start + 8], "a share comes evenly, not in blocks"


def test_an_empty_queue_saves_nothing_up() -> None:
    served = serve(Turns(refs("a", "b"), {}), 200, lambda name, n: name == "a" or n >= 100)
    assert served[:100] == ["a"] * 100
    assert abs(Counter(served[100:])["b"] - 50) <= 1
    assert served[100:104].count("b") <= 3


def test_gpus_are_distinct(tmp_path: Path) -> None:
    slots = Slots({"gpu": [4, 7, 9], "cpu": 8})
    for name, count in (("one", 1), ("two", 2)):
        slots.take(Run(id=name, spec=SPEC), queue(gpus=count), tmp_path / name)
    one, two = slots.gpus("one"), slots.gpus("two")
    assert sorted((*(one or ()), *(two or ()))) == ["4", "7", "9"]
    assert slots.free() == {"gpu": 0.0, "cpu": 6.0}
    slots.give_back("two")
    assert slots.free() == {"gpu": 2.0, "cpu": 7.0}
    slots.take(Run(id="none", spec=SPEC), queue(), tmp_path / "none")
    assert slots.gpus("none") == (), "a job that asks for none sees none"


def test_an_adopted_run_keeps_its_gpus(tmp_path: Path) -> None:
    first = Slots({"gpu": 3})
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        first.take(Run(id=name, spec=SPEC), queue(gpus=1), tmp_path / name)
        first.note(name, tmp_path / name)
    second = Slots({"gpu": 3})
    second.take(Run(id="b", spec=SPEC), queue(gpus=1), tmp_path / "b")
    second.take(Run(id="new", spec=SPEC), queue(gpus=2), tmp_path / "new")
    assert second.gpus("b") == first.gpus("b") == ("1",)
    assert second.gpus("new") == ("0", "2")


def test_without_slots_nothing_is_counted(tmp_path: Path) -> None:
    slots = Slots({})
    slots.take(Run(id="r", spec=SPEC), queue(gpus=1), tmp_path)
    assert (slots.free(), slots.gpus("r"), bool(slots)) == ({}, None, False)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"cpu": "many"}, "$.slots.cpu"),
        ({"memory": "32 X"}, "$.slots.memory"),
        ({"gpu": 1.5}, "$.slots.gpu"),
        ({"gpu": [0, 0]}, "$.slots.gpu"),
        ({"license": -1}, "$.slots.license"),
        ({"cpu": True}, "$.slots.cpu"),
    ],
)
def test_slots_that_do_not_fit(given: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_slots({**given, "disk": 3})
    assert [problem.where for problem in caught.value.problems] == [where]


def test_slots_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "launch-config.yaml"
    path.write_text("queues: [a]\nslots: {cpu: 2, memory: 4GiB}\nweights: {a: 2}\n")
    config = load(path, env={})
    assert (config.max_jobs, config.slots["memory"]) == (-1, "4GiB")
    assert load(path, {"max_jobs": 3}, env={}).max_jobs == 3
    path.write_text("queues: [a]\nslots: {cpu: two}\n")
    with pytest.raises(ConfigError, match="two"):
        load(path, env={})
    path.write_text("queues: [a]\nweights: {a: 0}\n")
    with pytest.raises(ConfigError, match="share"):
        load(path, env={})


def test_an_agent_keeps_to_its_slots(world: Any) -> None:
    world.queue("big", config={"slots": {"cpu": 3}})
    world.queue("small", config={"cpus": 1})
    log = world.marks / "log"
    script = f"echo + $WINDLASS_QUEUE >> {log}; sleep 0.3; echo - $WINDLASS_QUEUE >> {log}"
    runs = [world.launch(script, queue=name) for name in ("big", "small", "small", "small", "big", "small")]
    world.drain(queues=("big", "small"), slots={"cpu": 4}, max_jobs=-1)
    assert {world.store.runs.get(run_id).state for run_id in runs} == {RunState.FINISHED}
    used, most = 0, 0
    for line in log.read_text().splitlines():
        sign, name = line.split()
        used += (1 if sign == "+" else -1) * (3 if name == "big" else 1)
        most = max(most, used)
    assert used == 0
    assert 3 <= most <= 4


def test_jobs_get_gpus_of_their_own(world: Any) -> None:
    world.queue("gpu", config={"gpus": "{{n}}"}, templates={"n": _integer()})
    item = world.item("echo $CUDA_VISIBLE_DEVICES; sleep 0.5", queue="gpu")
    from attrs import evolve

    items = [evolve(item, run_id=f"gpurun{n}", spec=evolve(item.spec, template_values={"n": n})) for n in (1, 2)]
    world.store.queues.enqueue(items)
    world.drain(queues=("gpu",), slots={"gpu": [2, 3, 5], "cpu": 8}, max_jobs=-1)
    seen = [world.output(item.run_id).decode().strip() for item in items]
    assert sorted(",".join(seen).split(",")) == ["2", "3", "5"]
    assert [len(text.split(",")) for text in seen] == [1, 2]


def _integer() -> Any:
    from windlass.models.queue import TemplateVariable

    return TemplateVariable(type="integer", default=1)


def test_what_needs_too_much_lets_others_pass(world: Any) -> None:
    world.queue("mixed", open_fields=("resource_args.cpus",), config={"cpus": 1})
    from attrs import evolve

    huge = world.item("exit 0", queue="mixed")
    huge = evolve(huge, spec=evolve(huge.spec, resource_args={"cpus": 64}))
    world.store.queues.enqueue([huge])
    run_id = world.launch("exit 0", queue="mixed")
    world.agent(queues=("mixed",), slots={"cpu": 2}, max_jobs=-1)
    assert world.wait(run_id).state is RunState.FINISHED
    assert world.store.runs.get(huge.run_id).state is RunState.QUEUED


def test_shares_of_two_queues(world: Any) -> None:
    world.queue("other")
    order = world.marks / "order"
    for name in ("q", "other"):
        for _ in range(8):
            world.launch(f"echo {name} >> {order}", queue=name)
    began = time.monotonic()
    world.drain(queues=("q", "other"), weights={"q": 3.0}, max_jobs=1)
    assert order.read_text().split()[:8].count("q") == 6
    assert time.monotonic() - began < 60


NVIDIA_SMI = """#!/bin/sh
# as the real one with: --query-gpu=index,utilization.gpu --format=csv,noheader,nounits --loop=2
while echo "0, 50" && echo "1, [N/A]"; do sleep 0.1; done
"""


def test_use_of_gpus_is_counted(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    world.queue("gq", config={"gpus": 1})
    busy, unknown = (world.launch("echo $CUDA_VISIBLE_DEVICES; sleep 1.5", queue="gq") for _ in range(2))
    world.drain(queues=("gq",), slots={"gpu": 2}, max_jobs=-1)
    assert [world.output(run_id) for run_id in (busy, unknown)] == [b"0\n", b"1\n"]
    used = world.store.runs.get(busy).usage.gpu_seconds
    assert 0.2 < used < 5
    assert world.store.runs.get(unknown).usage.gpu_seconds is None
    eventually(lambda: not subprocess.run(["pgrep", "-f", str(program)], stdout=subprocess.PIPE, check=False).stdout)
