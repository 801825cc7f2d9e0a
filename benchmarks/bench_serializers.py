"""Speed of the serializers, as ratios to a raw write and a raw readinto of the same bytes in the same run.

    python benchmarks/bench_serializers.py [--mib 256] [--rounds 5] [--json] [--dir DIR]

Each round writes and reads once by every way, in turn; the ratio of a way is the median over the rounds of its time
divided by the raw time of that round. 1.0 is the floor; files stay in the page cache. `peak` is the memory
that Python's allocators gave beyond the array, as a share of the array, measured in a round of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from windlass.errors import PluginError
from windlass.plugins import App

WAYS: list[tuple[str, str, dict[str, Any]]] = [
    ("pickle", "pickle", {}),
    ("cloudpickle", "cloudpickle", {}),
    ("dill", "dill", {}),
    ("joblib", "joblib", {}),
    ("numpy", "numpy", {}),
    ("numpy, mapped", "numpy", {"mmap_mode": "c"}),
    ("safetensors", "safetensors", {"mmap": False}),
    ("safetensors, mapped", "safetensors", {}),
]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def touch(value: Any) -> None:
    """Read one item of each page, so that a mapping does not look free."""
    array = value["a"] if isinstance(value, dict) else value
    array.reshape(-1)[:: 4096 // array.itemsize].sum()


def raw(array: np.ndarray[Any, Any], path: Path) -> tuple[float, float]:
    def write() -> None:
        with path.open("wb") as file:
            file.write(memoryview(array).cast("B"))

    def read() -> None:
        result = np.empty_like(array)
        with path.open("rb") as file:
            file.readinto(memoryview(result).cast("B"))  # type: ignore[arg-type]
        touch(result)

    return timed(write)[0], timed(read)[0]


def one(app: App, name: str, parameters: dict[str, Any], value: Any, path: Path) -> tuple[float, float]:
    def write() -> None:
        with path.open("wb") as file:
            app.create_serializer(name, parameters).dump(value, file)

    def read() -> None:
        with path.open("rb") as file:
            touch(app.create_serializer(name, parameters).load(file))

    return timed(write)[0], timed(read)[0]


def peaks(app: App, name: str, parameters: dict[str, Any], value: Any, path: Path, size: int) -> tuple[float, float]:
    tracemalloc.start()
    with path.open("wb") as file:
        app.create_serializer(name, parameters).dump(value, file)
    dump = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    with path.open("rb") as file:
        app.create_serializer(name, parameters).load(file)
    load = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return dump / size, load / size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=None, help="where to write; a temporary directory by default")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    app = App()
    array = np.random.default_rng(1).random(options.mib << 17)
    ways, times = [], {}
    for way in WAYS:
        try:
            app.serializers.get(way[1])
        except PluginError:
            continue
        ways.append(way)
        times[way[0]] = ([], [])
    floor: tuple[list[float], list[float]] = ([], [])
    rows = []
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        path = Path(directory) / "value"
        for number in range(options.rounds + 1):  # the first round warms up
            base = raw(array, path)
            path.unlink()
            for label, name, parameters in ways:
                found = one(app, name, parameters, {"a": array} if name == "safetensors" else array, path)
                path.unlink()
                if number:
                    times[label][0].append(found[0] / base[0])
                    times[label][1].append(found[1] / base[1])
            if number:
                floor[0].append(array.nbytes / base[0] / 1e9)
                floor[1].append(array.nbytes / base[1] / 1e9)
        for label, name, parameters in ways:
            value = {"a": array} if name == "safetensors" else array
            dump_peak, load_peak = peaks(app, name, parameters, value, path, array.nbytes)
            rows.append(
                {
                    "way": label,
                    "dump": round(statistics.median(times[label][0]), 2),
                    "load": round(statistics.median(times[label][1]), 2),
                    "dump_peak": round(dump_peak, 2),
                    "load_peak": round(load_peak, 2),
                }
            )
    floors = {"write_gb_s": statistics.median(floor[0]), "readinto_gb_s": statistics.median(floor[1])}
    if options.json:
        print(json.dumps({"mib": options.mib, "rounds": options.rounds, "floor": floors, "ways": rows}))
        return
    print(
        f"{options.mib} MiB, floor: write {floors['write_gb_s']:.2f} GB/s, readinto {floors['readinto_gb_s']:.2f} GB/s"
    )
    print(f"{'time / floor':<22}{'dump':>8}{'load':>8}{'peak dump':>12}{'peak load':>12}")
    for row in rows:
        print(
            f"{row['way']:<22}{row['dump']:>8.2f}{row['load']:>8.2f}{row['dump_peak']:>12.2f}{row['load_peak']:>12.2f}"
        )


if __name__ == "__main__":
    main()
