"""Values of a queue's config that are refused when the queue is made, and those that are not."""

from __future__ import annotations

import pytest

from windlass.config.converter import structure
from windlass.errors import ConfigError
from windlass_runner_docker.config import DockerArgs


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("memory", "4 gigs"), ("memory", "4GiB"), ("memory", -1), ("shm-size", "lots"), ("memory-swap", "-2"),
        ("memory-reservation", "x"), ("cpus", -1), ("cpus", "-0.5"), ("cpus", "many"), ("workdir", "relative/path"),
        ("ulimit", ["nofile"]), ("ulimit", ["nofile=many"]), ("volume", ["/only"]), ("volume", ["a:relative"]),
        ("publish", ["http"]), ("publish", ["80:http"]), ("env", ["1A=x"]), ("env", ["=x"]),
    ],
)  # fmt: skip
def test_values_that_cannot_work_are_refused_with_their_place(key, value):
    with pytest.raises(ConfigError) as caught:
        structure({key: value}, DockerArgs, where="$")
    assert [problem.where for problem in caught.value.problems] == [f"$.{key}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("memory", "4g"), ("memory", "512MB"), ("memory", 1048576), ("shm-size", "1.5g"), ("memory-swap", -1),
        ("memory-swap", "-1"), ("cpus", 0.5), ("cpus", ".5"), ("cpus", "2"), ("workdir", "/work"),
        ("workdir", "${project}/x"), ("ulimit", ["nofile=1024:2048"]), ("volume", ["/a:/b:ro", "data:/c"]),
        ("publish", ["80", "8080:80", "127.0.0.1:8080:80/tcp", "127.0.0.1::80"]), ("env", ["A=x\ny", "B", "C="]),
    ],
)  # fmt: skip
def test_values_that_can_work_are_taken(key, value):
    structure({key: value}, DockerArgs, where="$")
