"""The benchmarks run: with next to nothing to do, for what they measure is nothing for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from windlass_testkit.simulators.aws import aws_env, moto_server  # noqa: F401

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(tmp_path: Path, script: str, *args: str, aws: dict[str, str] | None = None) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WINDLASS_", "AWS_"))}
    env |= aws or {}
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *args],
        env={**env, "TMPDIR": str(tmp_path), "WINDLASS_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_artifacts(tmp_path: Path) -> None:
    small = ("--rounds", "1", "--files", "40", "--size", "100", "--big", "0.005")
    out = run(tmp_path, "artifacts/run.py", *small, "--memory", "100", "--manifest", "3000", "--s3", "0", "--json")
    rows = json.loads(out)["rows"]
    assert {"put", "put again", "checkout copied", "checkout linked", "big put", "put, bytes per entry"} <= rows.keys()
    assert rows["manifest of 3,000: one entry, ms"][0] > 0
    assert all(len(values) == 1 for name, values in rows.items() if "entry" not in name)


SMALL_S3 = ("--rounds", "1", "--files", "10", "--size", "100", "--big", "0", "--memory", "0", "--manifest", "0",
            "--s3", "10", "--json")  # fmt: skip
S3_ROWS = {"put, times faster than bare", "get / bare", "reference / bare listing"}


def test_artifacts_in_s3(tmp_path: Path) -> None:
    out = run(tmp_path, "artifacts/run.py", *SMALL_S3, "--latency", "0", "--references", "3000")
    assert {f"S3 at 0 ms: {name}" for name in S3_ROWS} <= json.loads(out)["rows"].keys()


@pytest.mark.service("moto")
def test_artifacts_in_a_server_of_ones_own(tmp_path: Path, aws_env: dict[str, str]) -> None:  # noqa: F811
    out = run(tmp_path, "artifacts/run.py", *SMALL_S3, "--references", "60", aws=aws_env)
    assert {f"S3 server: {name}" for name in S3_ROWS} <= json.loads(out)["rows"].keys()


@pytest.mark.parametrize(
    ("script", "args"),
    [
        ("bench_claims.py", ("50", "2")),
        ("bench_launch.py", ("--rounds", "1")),
        ("bench_serializers.py", ("--mib", "1", "--rounds", "1")),
        ("bench_storage.py", ("--small", "5", "--list", "1000", "--mib", "1", "--rounds", "1")),
    ],
)
def test_others(script: str, args: tuple[str, ...], tmp_path: Path) -> None:
    assert run(tmp_path, script, *args).strip()
