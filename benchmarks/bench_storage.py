# ruff: noqa: E501 - tables of one-line lambdas
"""S3 clients side by side: boto3, s3fs, obstore and windlass-storage-s3, in one run against one server.

    python benchmarks/bench_storage.py [--small 1000] [--list 100000] [--mib 256] [--rounds 3]

The server is the stub of `stub_s3.py`, so that the clients are measured and not a store. Wall clock and the client's own CPU seconds are given, the best of the rounds.

``put files`` stores a directory of small files that no round has seen before: the bare clients one object for each
file, Windlass as an artifact version (hashed, packed, recorded in its database). ``reference`` records the listed
objects: for the bare clients that is the listing, for Windlass an artifact with an entry for each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import stub_s3

THREADS = 16
MIB = 1 << 20
BLOCK = os.urandom(MIB)


# -- the clients ----------------------------------------------------------------------------------------------------


def boto3_client(url: str, file: str, small: int, data: bytes):
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    client = boto3.client("s3", endpoint_url=url, config=Config(max_pool_connections=64))
    transfer = TransferConfig(multipart_chunksize=16 * MIB, max_concurrency=8)
    pool = ThreadPoolExecutor(THREADS)
    return {
        "put small": lambda: list(pool.map(lambda i: client.put_object(Bucket="bench", Key=f"s/{i}", Body=data), range(small))),
        "get small": lambda: list(pool.map(lambda i: client.get_object(Bucket="bench", Key=f"s/{i}")["Body"].read(), range(small))),
        "put files": lambda: list(pool.map(lambda p: client.put_object(Bucket="bench", Key=f"f/{p.name}", Body=p.read_bytes()), fresh(file))),
        "list": lambda: sum(len(p["Contents"]) for p in client.get_paginator("list_objects_v2").paginate(Bucket="bench", Prefix="list/")),
        "put big": lambda: client.upload_file(file, "bench", "big", Config=transfer),
        "get big": lambda: _drain(client.get_object(Bucket="bench", Key="big")["Body"]),
    }  # fmt: skip


def s3fs_client(url: str, file: str, small: int, data: bytes):
    import s3fs

    fs = s3fs.S3FileSystem(endpoint_url=url, key="k", secret="s", skip_instance_cache=True, use_listings_cache=False)
    return {
        "put small": lambda: fs.pipe({f"bench/s/{i}": data for i in range(small)}),
        "get small": lambda: fs.cat([f"bench/s/{i}" for i in range(small)]),
        "put files": lambda: fs.put([str(p) for p in fresh(file)], "bench/f/"),
        "list": lambda: len(fs.find("bench/list", detail=True)),
        "put big": lambda: fs.put_file(file, "bench/big", chunksize=16 * MIB),
        "get big": lambda: _drain(fs.open("bench/big", "rb", block_size=16 * MIB)),
    }


def obstore_client(url: str, file: str, small: int, data: bytes):
    import obstore
    from obstore.store import S3Store

    store = S3Store("bench", endpoint=url, access_key_id="k", secret_access_key="s", region="us-east-1",
                    client_options={"allow_http": True})  # fmt: skip
    pool = ThreadPoolExecutor(THREADS)

    def get_big() -> None:
        for _ in obstore.get(store, "big").stream(min_chunk_size=4 * MIB):
            pass

    return {
        "put small": lambda: list(pool.map(lambda i: obstore.put(store, f"s/{i}", data), range(small))),
        "get small": lambda: list(pool.map(lambda i: bytes(obstore.get(store, f"s/{i}").bytes()), range(small))),
        "put files": lambda: list(pool.map(lambda p: obstore.put(store, f"f/{p.name}", p.read_bytes()), fresh(file))),
        "list": lambda: sum(len(batch) for batch in obstore.list(store, "list", chunk_size=1000)),
        "put big": lambda: obstore.put(store, "big", Path(file), chunk_size=16 * MIB, max_concurrency=8),
        "get big": get_big,
    }


def windlass_client(url: str, file: str, small: int, data: bytes):
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.plugins import App
    from windlass.settings import Settings
    from windlass.storage import ObjectRef

    os.environ["AWS_S3_ENDPOINT_URL"] = url  # add_reference looks for its storage by itself
    home = tempfile.mkdtemp(dir=os.path.dirname(file))
    app = App(Settings.from_env({"WINDLASS_HOME": home}))
    storage = app.create("storage", "s3", {"endpoint-url": url})
    store = app.open_store(f"sqlite:///{home}/windlass.db?blobs=s3://bench/blobs/{time.time_ns()}")
    engine = ArtifactEngine(app, store, app.settings)

    def put_files() -> None:
        made = Artifact(f"files-{time.time_ns()}", type="dataset")
        made.add_dir(str(fresh(file)[0].parent))
        engine.log(made)

    def reference() -> None:
        made = Artifact(f"references-{time.time_ns()}", type="dataset")
        made.add_reference("s3://bench/list/", max_objects=10_000_000)
        engine.log(made)

    pool = ThreadPoolExecutor(THREADS)
    size = os.path.getsize(file)
    return {
        "put small": lambda: list(pool.map(lambda i: storage.put(f"s3://bench/s/{i}", data, if_absent=False), range(small))),
        "get small": lambda: list(pool.map(lambda i: storage.open(ObjectRef(uri=f"s3://bench/s/{i}")).read(), range(small))),
        "put files": put_files,
        "list": lambda: sum(1 for _ in storage.list("s3://bench/list")),
        "reference": reference,
        "put big": lambda: storage.put("s3://bench/big", file, if_absent=False),
        "get big": lambda: _drain(storage.open(ObjectRef(uri="s3://bench/big", size=size))),
    }  # fmt: skip


CLIENTS = {"boto3": boto3_client, "s3fs": s3fs_client, "obstore": obstore_client, "windlass": windlass_client}


def fresh(file: str) -> list[Path]:
    """The files of a directory that was not given before."""
    folder = min(Path(file).parent.glob("files-*"))
    return sorted(folder.rename(folder.with_name(f"given-{os.getpid()}-{folder.name}")).iterdir())


def _make_files(folder: str, count: int, rounds: int) -> None:
    for number in range(rounds):
        made = Path(folder) / f"files-{number}-{time.time_ns()}"
        made.mkdir()
        for i in range(count):
            (made / f"{i:06d}.bin").write_bytes(os.urandom(16 << 10))


def _drain(stream) -> None:
    while stream.read(4 * MIB):
        pass


def measure(name: str, url: str, file: str, small: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Best wall clock and CPU seconds of each piece of work, in this process."""
    found = {}
    for work, run in CLIENTS[name](url, file, small, os.urandom(16 << 10)).items():
        best = (float("inf"), float("inf"))
        for _ in range(rounds):
            usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            run()
            wall, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
            best = min(best, (wall, now.ru_utime + now.ru_stime - usage.ru_utime - usage.ru_stime))
        found[work] = best
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=1000, help="objects of 16 KiB")
    parser.add_argument("--list", type=int, default=100_000, help="objects to list")
    parser.add_argument("--mib", type=int, default=256, help="size of the large object")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.0, help="ms before each answer")
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--file", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.url, options.file, options.small, options.rounds)))
        return
    import subprocess

    env = {**os.environ, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
    results = {}
    with tempfile.TemporaryDirectory() as folder, stub_s3.running(options.latency / 1000, options.list) as url:
        file = os.path.join(folder, "big")
        with open(file, "wb") as out:
            out.writelines(BLOCK for _ in range(options.mib))
        for name in options.clients.split(","):
            _make_files(folder, options.small, options.rounds)
            command = [sys.executable, __file__, "--one", name, "--url", url, "--file", file,
                       "--small", str(options.small), "--rounds", str(options.rounds)]  # fmt: skip
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800, check=False)
            if done.returncode:
                print(f"{name}: {done.stderr.splitlines()[-1] if done.stderr else done.returncode}", file=sys.stderr)
                continue
            results[name] = json.loads(done.stdout.splitlines()[-1])
    works = ["put small", "get small", "put files", "list", "reference", "put big", "get big"]
    print(f"| seconds wall (CPU) | {' | '.join(works)} |\n|---|{'---|' * len(works)}")
    for name, found in results.items():
        found.setdefault("reference", found["list"])
        cells = " | ".join(f"{found[work][0]:.2f} ({found[work][1]:.2f})" for work in works)
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
