"""Artifact speed as ratios to a bare loop, in interleaved rounds: ``python benchmarks/artifacts/run.py``.

Nothing is deleted between the rounds (creating files right after mass deletion is many times slower on ext4).
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import peers  # noqa: E402
import s3  # noqa: E402

TARGETS = {
    "put": 1.0,
    "put again": 3.0,
    "one changed / put again": 1.3,
    "checkout linked": 2.0,
    "checkout copied": 1.5,
    "big put": 1.3,
    "S3 at 0 ms: put, times faster than bare": 5.0,
    "S3 at 15 ms: put, times faster than bare": 5.0,
    "S3 at 0 ms: get / bare": 1.3,
    "S3 at 15 ms: get / bare": 1.3,
    "S3 at 0 ms: reference / bare listing": 2.0,
    "S3 at 15 ms: reference / bare listing": 2.0,
    "S3: big put / bare": 1.3,
    "S3: big get / bare": 1.3,
    "big insert, new bytes %": 2.0,
}


def timed(command: list[str], **env: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def floor(*args: str) -> float:
    return timed([sys.executable, str(HERE / "floor.py"), *args])


def engine(home: str, *args: str, **more: str) -> float:
    env = {**more, "WINDLASS_HOME": home, "WINDLASS_ENTITY": "bench", "WINDLASS_PROJECT": "bench"}
    return timed([sys.executable, str(HERE / "engine.py"), *args], **env)


def make_small(folder: Path, count: int, size: int) -> None:
    noise = random.Random(1)
    for index in range(count):
        below = folder / f"{index // 1000:03}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{index:06}.bin").write_bytes(noise.randbytes(size))


def stored(home: str) -> int:
    return sum(path.stat().st_size for path in Path(home, "blobs").rglob("*") if path.is_file())


def small_round(work: Path, data: Path, number: int, rows: dict[str, list[float]], tools: list[str]) -> None:
    here = work / f"small{number}"
    here.mkdir()
    home = str(here / "home")
    engine(home, "put", str(data / "000"))  # makes the database; its cost is no part of a put
    bare = floor("put", str(data), str(here / "floor"))
    rows.setdefault("put", []).append(engine(home, "put", str(data)) / bare)
    engine(home, "put", str(data))
    walk = floor("walk", str(data))
    again = engine(home, "put", str(data))
    rows.setdefault("put again", []).append(again / walk)
    victim = data / "000" / "000007.bin"
    victim.write_bytes(os.urandom(victim.stat().st_size))
    rows.setdefault("one changed / put again", []).append(engine(home, "put", str(data)) / again)
    copy, link = floor("copy", str(data), str(here / "copied")), floor("link", str(data), str(here / "linked"))
    rows.setdefault("checkout copied", []).append(engine(home, "checkout", str(here / "out1"), "copy") / copy)
    engine(home, "checkout", str(here / "out2"), "hard")  # fills the cache
    rows.setdefault("checkout linked", []).append(engine(home, "checkout", str(here / "out3"), "hard") / link)
    for tool in tools:
        place = here / tool
        place.mkdir()
        shutil.copytree(data, place / "data")
        peers.prepare(tool, str(place))
        for name in ("put", "put again"):
            began = time.perf_counter()
            peers.put(tool, str(place))
            spent = time.perf_counter() - began
            rows.setdefault(f"{tool}: {name}", []).append(spent / (bare if name == "put" else walk))


def big_round(work: Path, data: Path, number: int, rows: dict[str, list[float]]) -> None:
    here = work / f"big{number}"
    here.mkdir()
    home = str(here / "home")
    file = data / "big.bin"
    bare = floor("put", str(data), str(here / "floor"))
    engine(home, "put", str(HERE))
    rows.setdefault("big put", []).append(engine(home, "put", str(data)) / bare)
    before, size = stored(home), file.stat().st_size
    changed = here / "changed"
    changed.mkdir()
    with file.open("rb") as old, (changed / "big.bin").open("wb") as new:
        shutil.copyfileobj(_Limited(old, size // 2), new, 1 << 20)
        new.write(os.urandom(1_000_000))
        shutil.copyfileobj(old, new, 1 << 20)
    engine(home, "put", str(changed))
    rows.setdefault("big insert, new bytes %", []).append(100 * (stored(home) - before) / size)


def s3_round(work: Path, number: int, rows: dict[str, list[float]], files: int, size: int, latency: float) -> None:
    milliseconds = round(1000 * latency)
    here = work / f"s3-{number}-{milliseconds}"
    make_small(here / "data", files, size)
    with s3.server(latency) as env:
        own = s3_home(here / "home", env)
        (here / "one").mkdir()
        (here / "one" / "file").write_bytes(b"1")
        engine(own["WINDLASS_HOME"], "put", str(here / "one"), **own)  # makes the database
        name, spent = f"S3 at {milliseconds} ms", {}
        for width in s3.WIDTHS:
            for what, folder in (("put", here / "data"), ("get", here / f"bare-{width}")):
                taken = timed([sys.executable, str(HERE / "s3.py"), what, str(folder), str(width)], **env)
                spent[what] = min(spent.get(what, taken), taken)
        put = engine(own["WINDLASS_HOME"], "put", str(here / "data"), **own)
        get = engine(own["WINDLASS_HOME"], "checkout", str(here / "out"), "copy", **own)
        rows.setdefault(f"{name}: put, times faster than bare", []).append(spent["put"] / put)
        rows.setdefault(f"{name}: get / bare", []).append(get / spent["get"])
        bare, ours = (
            float(subprocess.run([sys.executable, str(HERE / "s3.py"), what], check=True, capture_output=True,
                                 text=True, env={**os.environ, **own}).stdout)
            for what in ("list", "reference")
        )  # fmt: skip
        rows.setdefault(f"{name}: reference / bare listing", []).append(ours / bare)


def s3_big_round(work: Path, data: Path, number: int, rows: dict[str, list[float]]) -> None:
    here = work / f"s3-big-{number}"
    with s3.server(0.0) as env:
        own = s3_home(here / "home", env)
        command = [sys.executable, str(HERE / "s3.py")]
        bare_put = timed([*command, "put-big", str(data / "big.bin")], **env)
        bare_get = timed([*command, "get-big", str(here / "bare.bin")], **env)
        put = engine(own["WINDLASS_HOME"], "put", str(data), **own)
        get = engine(own["WINDLASS_HOME"], "checkout", str(here / "out"), "copy", **own)
    rows.setdefault("S3: big put / bare", []).append(put / bare_put)
    rows.setdefault("S3: big get / bare", []).append(get / bare_get)


def s3_home(home: Path, env: dict[str, str]) -> dict[str, str]:
    home.mkdir(parents=True)
    store = f"sqlite:///{home}/windlass.db?blobs=s3://{env['BUCKET']}/blobs-{time.time_ns()}"
    names = {"WINDLASS_ENTITY": "bench", "WINDLASS_PROJECT": "bench"}
    return {**env, **names, "WINDLASS_HOME": str(home), "WINDLASS_BASE_URL": store}


class _Limited:
    def __init__(self, file, left):
        self.file, self.left = file, left

    def read(self, count):
        data = self.file.read(min(count, self.left))
        self.left -= len(data)
        return data


def manifest(rows: dict[str, list[float]], entries: int) -> None:
    code = f"""
import time, tempfile, resource, json
from windlass.artifacts.blobstore import StorageBlobStore
from windlass.artifacts.manifest import Entry, Manifest, write_manifest
from windlass_storage_file.storage import FileStorage
with tempfile.TemporaryDirectory() as folder:
    blobs = StorageBlobStore(FileStorage(), f"file://{{folder}}")
    made = (Entry(f"data/{{i // 1000:04}}/{{i:07}}.bin", f"blake3:{{i:064x}}", i) for i in range({entries}))
    digest = write_manifest(made, blobs.put)
    began = time.perf_counter(); Manifest(blobs, digest)["data/0077/0077777.bin"]; one = time.perf_counter() - began
    began = time.perf_counter(); n = sum(1 for _ in Manifest(blobs, digest)); full = time.perf_counter() - began
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([one * 1000, full, rss]))
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for name, value in zip(("one entry, ms", "iterate all, s", "peak MB"), json.loads(out), strict=True):
        rows.setdefault(f"manifest of {entries:,}: {name}", []).append(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=16 << 10)
    parser.add_argument("--big", type=float, default=2.0, help="GiB of the large file, 0: leave it out")
    parser.add_argument("--manifest", type=int, default=1_000_000, help="entries, 0: leave it out")
    parser.add_argument("--s3", type=int, default=10_000, help="small files to put to S3, 0: leave S3 out")
    parser.add_argument("--latency", type=float, nargs="*", default=[0, 15], help="ms before each answer of S3")
    parser.add_argument("--peers", action="store_true", help="also time the peers that are installed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: dict[str, list[float]] = {}
    tools = peers.installed() if options.peers else []
    with tempfile.TemporaryDirectory(prefix="windlass-bench-") as folder:
        work = Path(folder)
        make_small(work / "small", options.files, options.size)
        if options.big:
            (work / "large").mkdir()
            with (work / "large" / "big.bin").open("wb") as file:
                for _ in range(int(options.big * 1024)):
                    file.write(os.urandom(1 << 20))
        for number in range(options.rounds):
            small_round(work, work / "small", number, rows, tools)
            if options.big:
                big_round(work, work / "large", number, rows)
            for latency in options.latency if options.s3 else ():
                s3_round(work, number, rows, options.s3, options.size, latency / 1000)
            if options.s3 and options.big:
                s3_big_round(work, work / "large", number, rows)
        if options.manifest:
            manifest(rows, options.manifest)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if options.json:
        print(json.dumps({"rows": rows, "peak_rss_mb": peak}))
        return
    print(f"{'work':42} {'median':>8} {'min':>8}  target")
    for name, values in rows.items():
        print(f"{name:42} {statistics.median(values):8.2f} {min(values):8.2f}  {TARGETS.get(name, '')}")
    print(f"peak memory of any process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
