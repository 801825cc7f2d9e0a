"""The Dagster IO manager against Dagster's own FilesystemIOManager: write and read, as ratios.

    python benchmarks/bench_dagster.py [--small N] [--large MEGABYTES]

Small: a chain of assets with small values in one run; what Dagster itself takes is in both, with its events in SQLite
files as every deployment has them, and in memory as in unit tests. Large: one array, written by one asset and read by
another: with new content each time, and with a few new bytes, of which Windlass stores only the parts that changed.
Both on the embedded store, with verification. Targets: 3 × for small values, 1.2 × for a large one.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

try:
    import dagster as dg
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(0)

from dagster_windlass import WindlassArtifactsIOManager, WindlassResource

warnings.filterwarnings("ignore")


def chain(length: int, value: Callable[[int], Any]) -> list[Any]:
    return [link(number, value) for number in range(length)]


def link(number: int, value: Callable[[int], Any]) -> Any:
    if number == 0:

        @dg.asset(name="a0")
        def first() -> Any:
            return value(0)

        return first

    @dg.asset(name=f"a{number}", ins={"before": dg.AssetIn(f"a{number - 1}")})
    def following(before: Any) -> Any:  # noqa: ARG001
        return value(number)

    return following


def seconds(assets: list[Any], manager: Any, storage: str) -> float:
    place = dg.DagsterInstance.local_temp(storage) if storage else dg.DagsterInstance.ephemeral()
    with place as instance:
        start = time.perf_counter()
        assert dg.materialize(assets, resources={"io_manager": manager}, instance=instance).success
        return time.perf_counter() - start


def compare(
    title: str, assets: list[Any], folder: str, rounds: int, storage: str = "", *, fresh: bool = False
) -> float:
    """Both take turns, so that a machine that gets slower is slower for both; the first round warms up.

    Args:
        title: What is printed.
        assets: A chain.
        folder: For files.
        rounds: How often it is measured.
        storage: Folder of Dagster's events; empty: in memory.
        fresh: Both write into new folders each time, which are removed afterwards.
    """
    took = []
    for number in range(rounds + 1):
        place = f"{folder}/{number if fresh else 0}"
        ours = WindlassArtifactsIOManager(
            windlass=WindlassResource(home=f"{place}/home", entity="bench", project="bench"), base_dir=f"{place}/base"
        )
        theirs = dg.FilesystemIOManager(base_dir=f"{place}/files")
        pair = []
        for manager, written in ((ours, f"{place}/home"), (theirs, f"{place}/files")):
            pair.append(seconds(assets, manager, storage))
            if fresh:
                shutil.rmtree(written)
        took.append(pair)
    own, other = (statistics.median(times) for times in zip(*took[1:], strict=True))
    ratio = statistics.median(one / two for one, two in took[1:])
    print(f"{title}: {own:.3f} s, FilesystemIOManager {other:.3f} s, ratio {ratio:.2f}")
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=20, help="assets in the chain; 0: leave it out")
    parser.add_argument("--large", type=int, default=1000, help="megabytes of the array; 0: leave it out")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    folder = tempfile.mkdtemp(prefix="windlass-bench-")
    try:
        counter = iter(range(10**9))
        small = chain(chosen.small, lambda _number: {"n": next(counter)})
        os.mkdir(f"{folder}/dagster")
        if chosen.small:
            compare(f"{chosen.small} small values, Dagster's events on disk", small, folder, 5, f"{folder}/dagster")
            compare(f"{chosen.small} small values, Dagster's events in memory", small, folder, 5)
        if chosen.large:
            random = np.random.default_rng(0)
            data = random.integers(0, 255, chosen.large * 1_000_000, dtype=np.uint8)

            def other(number: int) -> Any:
                data[:] += 1
                return data if number == 0 else None

            def changed(number: int) -> Any:
                data[:8] = np.frombuffer(next(counter).to_bytes(8, "little"), dtype=np.uint8)
                return data if number == 0 else None

            title = f"an array of {chosen.large} MB"
            compare(f"{title}, all of it new", chain(2, other), f"{folder}/new", 5, fresh=True)
            compare(f"{title}, 8 bytes of it new", chain(2, changed), f"{folder}/changed", 5)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
