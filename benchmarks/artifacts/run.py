"""Artifact speed as ratios to a bare loop, in interleaved rounds: ``python benchmarks/artifacts/run.py``.

Nothing is deleted between the rounds (creating files right after mass deletion is many times slower on ext4). Python's
byte-code is kept in a folder of the benchmark, warm for all, whatever the environment says of it.

Peers are wandb (offline), DVC, git-lfs, restic and MLflow, those that are installed on PATH or in the folder that the
variable WINDLASS_BENCH_PEERS names, e.g. ``WINDLASS_BENCH_PEERS=/tmp/peers/bin``.

S3 is a stub that costs next to nothing, or the server that AWS_ENDPOINT_URL names (with AWS_ACCESS_KEY_ID and such).
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
    "put, bytes per entry": 600,
    "checkout, bytes per entry": 600,
    "S3: big put / bare": 1.3,
    "S3: big get / bare": 1.3,
    "big insert, new bytes %": 2.0,
}
S3_TARGETS = {"put, times faster than bare": 5.0, "get / bare": 1.3, "reference / bare listing": 2.0}


def target(name: str) -> float | str:
    """What the figure of a row should be."""
    return TARGETS.get(name) or S3_TARGETS.get(name.partition(": ")[2], "")


def timed(command: list[str], **env: str) -> float:
    return measured(command, **env)[0]


def measured(command: list[str], **env: str) -> tuple[float, float]:
    """Seconds, and the peak memory in MB of that process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    spent = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return spent, usage.ru_maxrss / 1024


def floor(*args: str) -> float:
    return timed([sys.executable, str(HERE / "floor.py"), *args])


def engine(home: str, *args: str, **more: str) -> float:
    return engine_measured(home, *args, **more)[0]


def engine_measured(home: str, *args: str, **more: str) -> tuple[float, float]:
    env = {**more, "WINDLASS_HOME": home, "WINDLASS_ENTITY": "bench", "WINDLASS_PROJECT": "bench"}
    return measured([sys.executable, str(HERE / "engine.py"), *args], **env)


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
    peer_rounds(here, data, tools, rows, "", bare, walk, copy)


def peer_rounds(
    here: Path,
    data: Path,
    tools: list[str],
    rows: dict[str, list[float]],
    size: str,
    bare: float,
    walk: float,
    copy: float,
) -> None:
    """Each peer in a repository of its own: put, put again, checkout; against the bare loops of this round."""
    for tool in tools:
        place = here / tool
        place.mkdir()
        shutil.copytree(data, place / "data")
        peers.prepare(tool, str(place))
        work = {"put": (peers.put, bare), "put again": (peers.put, walk), "checkout": (peers.checkout, copy)}
        for name, (call, base) in work.items():
            if name == "checkout":
                if not peers.can_checkout(tool):
                    continue
                (place / "data").rename(place / "was")  # deleting would slow down what follows
            began = time.perf_counter()
            call(tool, str(place))
            rows.setdefault(f"{tool}: {size}{name}", []).append((time.perf_counter() - began) / base)


def big_round(work: Path, data: Path, number: int, rows: dict[str, list[float]], tools: list[str]) -> None:
    here = work / f"big{number}"
    here.mkdir()
    home = str(here / "home")
    file = data / "big.bin"
    bare = floor("put", str(data), str(here / "floor"))
    engine(home, "put", str(HERE))
    spent, peak = engine_measured(home, "put", str(data))
    rows.setdefault("big put", []).append(spent / bare)
    rows.setdefault("big put, peak MB", []).append(peak)
    before, size = stored(home), file.stat().st_size
    changed = here / "changed"
    changed.mkdir()
    with file.open("rb") as old, (changed / "big.bin").open("wb") as new:
        shutil.copyfileobj(_Limited(old, size // 2), new, 1 << 20)
        new.write(os.urandom(1_000_000))
        shutil.copyfileobj(old, new, 1 << 20)
    engine(home, "put", str(changed))
    rows.setdefault("big insert, new bytes %", []).append(100 * (stored(home) - before) / size)
    walk, copy = floor("walk", str(data)), floor("copy", str(data), str(here / "copied"))
    rows.setdefault("big put again", []).append(engine(home, "put", str(data)) / walk)
    spent, peak = engine_measured(home, "checkout", str(here / "out"), "copy")
    rows.setdefault("big checkout", []).append(spent / copy)
    rows.setdefault("big checkout, peak MB", []).append(peak)
    peer_rounds(here, data, tools, rows, "big ", bare, walk, copy)


def memory(work: Path, rows: dict[str, list[float]], many: int) -> None:
    """Peak memory for few and for many tiny files; the difference is what each costs."""
    few = many // 20
    peaks: dict[str, list[float]] = {}
    for count in (few, many):
        here = work / f"tiny{count}"
        make_small(here / "data", count, 16)
        for name, args in {
            "put": ("put", str(here / "data")),
            "put again": ("put", str(here / "data")),
            "checkout": ("checkout", str(here / "out"), "copy"),
        }.items():
            peak = engine_measured(str(here / "home"), *args)[1]
            peaks.setdefault(name, []).append(peak)
            rows.setdefault(f"{name} of {count:,} tiny files, peak MB", []).append(peak)
    for name, (low, high) in peaks.items():
        rows.setdefault(f"{name}, bytes per entry", []).append((high - low) * (1 << 20) / (many - few))


def s3_round(
    work: Path, number: int, rows: dict[str, list[float]], files: int, size: int, latency: float, references: int
) -> None:
    milliseconds = round(1000 * latency)
    here = work / f"s3-{number}-{milliseconds}"
    make_small(here / "data", files, size)
    with s3.server(latency, references) as env:
        own = s3_home(here / "home", env)
        (here / "one").mkdir()
        (here / "one" / "file").write_bytes(b"1")
        engine(own["WINDLASS_HOME"], "put", str(here / "one"), **own)  # makes the database
        name, spent = "S3 server" if s3.own_server() else f"S3 at {milliseconds} ms", {}
        for width in s3.WIDTHS:
            for what, folder in (("put", here / "data"), ("get", here / f"bare-{width}")):
                taken = timed([sys.executable, str(HERE / "s3.py"), what, str(folder), str(width)], **env)
                spent[what] = min(spent.get(what, taken), taken)
        put = engine(own["WINDLASS_HOME"], "put", str(here / "data"), **own)
        get = engine(own["WINDLASS_HOME"], "checkout", str(here / "out"), "copy", **own)
        rows.setdefault(f"{name}: put, times faster than bare", []).append(spent["put"] / put)
        rows.setdefault(f"{name}: get / bare", []).append(get / spent["get"])
        if not references:
            return
        if s3.own_server():
            timed([sys.executable, str(HERE / "s3.py"), "fill"], **own)
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
    middle = f"data/{entries // 2 // 1000:04}/{entries // 2:07}.bin"
    code = f"""
import time, tempfile, resource, json
from windlass.artifacts.blobstore import StorageBlobStore
from windlass.artifacts.manifest import Manifest, Row
from windlass.artifacts.manifest_writing import write_manifest
from windlass_storage_file.storage import FileStorage
with tempfile.TemporaryDirectory() as folder:
    blobs = StorageBlobStore(FileStorage(), f"file://{{folder}}")
    made = (Row(f"data/{{i // 1000:04}}/{{i:07}}.bin", i.to_bytes(32), i, []) for i in range({entries}))
    digest = write_manifest(made, blobs.put).digest
    began = time.perf_counter(); Manifest(blobs, digest)["{middle}"]; one = time.perf_counter() - began
    began = time.perf_counter(); n = sum(1 for _ in Manifest(blobs, digest)); full = time.perf_counter() - began
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([one * 1000, full, rss]))
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for name, value in zip(("one entry, ms", "iterate all, s", "peak MB"), json.loads(out), strict=True):
        rows.setdefault(f"manifest of {entries:,}: {name}", []).append(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=16 << 10)
    parser.add_argument("--big", type=float, default=2.0, help="GiB of the large file, 0: leave it out")
    parser.add_argument("--manifest", type=int, default=1_000_000, help="entries, 0: leave it out")
    parser.add_argument("--memory", type=int, default=200_000, help="tiny files to take the memory of, 0: leave it out")
    parser.add_argument("--s3", type=int, default=10_000, help="small files to put to S3, 0: leave S3 out")
    parser.add_argument("--references", type=int, default=100_000, help="objects to refer to, 0: leave it out")
    parser.add_argument(
        "--latency", type=float, nargs="*", default=[0, 15], help="ms before each answer of the S3 stub"
    )
    parser.add_argument("--peers", action="store_true", help="also time the peers that are installed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: dict[str, list[float]] = {}
    tools = peers.installed() if options.peers else []
    with tempfile.TemporaryDirectory(prefix="windlass-bench-") as folder:
        work = Path(folder)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(work / "byte-code")
        make_small(work / "small", options.files, options.size)
        if options.big:
            (work / "large").mkdir()
            with (work / "large" / "big.bin").open("wb") as file:
                for _ in range(int(options.big * 1024)):
                    file.write(os.urandom(1 << 20))
        for command in ("put", "put", "checkout"):  # writes the byte-code
            engine(str(work / "warm"), command, *((str(HERE),) if command == "put" else (str(work / "warmed"), "hard")))
        for number in range(options.rounds):
            small_round(work, work / "small", number, rows, tools)
            if options.big:
                big_round(work, work / "large", number, rows, tools)
            latencies = [0.0] if s3.own_server() else options.latency
            for latency in latencies if options.s3 else ():
                s3_round(work, number, rows, options.s3, options.size, latency / 1000, options.references)
            if options.s3 and options.big:
                s3_big_round(work, work / "large", number, rows)
        if options.memory:
            memory(work, rows, options.memory)
        if options.manifest:
            manifest(rows, options.manifest)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if options.json:
        print(json.dumps({"rows": rows, "peak_rss_mb": peak}))
        return
    if tools:
        print(", ".join(f"{tool} {version}" for tool, version in peers.versions(tools).items()))
    print(f"{'work':42} {'median':>8} {'min':>8}  target")
    for name, values in rows.items():
        print(f"{name:42} {statistics.median(values):8.2f} {min(values):8.2f}  {target(name)}")
    print(f"peak memory of any process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
