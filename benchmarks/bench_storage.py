# ruff: noqa: E501 - tables of one-line lambdas
"""S3 clients side by side: boto3, s3fs, obstore and windlass-storage-s3, in one run against one server.

    python benchmarks/bench_storage.py [--small 1000] [--list 100000] [--mib 256] [--rounds 3]

The server is a stub in a process of its own that answers from memory, so that the clients are measured and not a
store: it keeps no bytes. Wall clock and the client's own CPU seconds are given, the best of the rounds.

``put files`` stores a directory of small files that no round has seen before: the bare clients one object for each
file, Windlass as an artifact version (hashed, packed, recorded in its database). ``reference`` records the listed
objects: for the bare clients that is the listing, for Windlass an artifact with an entry for each.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

THREADS = 16
MIB = 1 << 20
BLOCK = os.urandom(MIB)


# -- the server -----------------------------------------------------------------------------------------------------


@functools.cache
def _listing_page(start: int, total: int) -> bytes:
    end = min(start + 1000, total)
    items = "".join(
        f"<Contents><Key>list/{i:07d}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{i:032x}&quot;</ETag><Size>{i}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for i in range(start, end)
    )
    more = "true" if end < total else "false"
    token = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < total else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bench</Name><Prefix>list/</Prefix><KeyCount>{end - start}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<IsTruncated>{more}</IsTruncated>{token}{items}</ListBucketResult>"
    ).encode()


def _first_after(query: str, total: int) -> int:
    token = re.search(r"continuation-token=(\d+)", query)
    if token:
        return int(token[1])
    after = re.search(r"start-after=list(?:%2F|/)(\d+)", query)
    if not after:
        return 0
    number = after[1].ljust(7, "0")
    return min(int(number) + (len(after[1]) == 7), total)


def _answer(method: str, target: str, headers: dict[str, str], facts: dict[str, int]) -> tuple[str, bytes, int]:
    """Extra headers, body, and how many further bytes to send from BLOCK."""
    path, _, query = target.partition("?")
    if method == "GET" and "versioning" in query:
        return "", b"<VersioningConfiguration/>", 0
    if method == "GET" and ("list-type=2" in query or path.count("/") < 2):
        if "delimiter=%2F" in query or "delimiter=/" in query:
            return "", _listing_page(_first_after(query, facts["list"]), facts["list"]), 0
        return "", _listing_page(_first_after(query, facts["list"]), facts["list"]), 0
    if method == "POST" and query.startswith("uploads"):
        body = b"<InitiateMultipartUploadResult><Bucket>bench</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        return "", body, 0
    if method == "POST" and "uploadId" in query:
        return (
            "",
            b"<CompleteMultipartUploadResult><Bucket>bench</Bucket><Key>k</Key><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>",
            0,
        )
    if "/blobs/" in path:  # the only keys of which it is known whether they are there
        if method == "PUT":
            facts[path] = 1
        elif path not in facts:
            return "missing", b"", 0
    size = facts["big"] if "big" in path else facts["object"]
    extra = 'ETag: "0123456789abcdef0123456789abcdef"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n'
    if method == "PUT":
        return extra, b"", 0
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    if wanted:
        start, end = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
        return extra + f"Content-Range: bytes {start}-{end}/{size}\r\n", b"", end - start + 1
    return extra, b"", size


class _Server(asyncio.Protocol):
    def __init__(self, facts: dict[str, int]) -> None:
        self.facts, self.buffer, self.skip, self.head = facts, bytearray(), 0, b""
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.writable = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.writable.set()
        self.task = asyncio.ensure_future(self.work())

    def connection_lost(self, exc: Exception | None) -> None:
        self.task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        while data:
            if self.skip:
                taken = min(self.skip, len(data))
                self.skip -= taken
                data = data[taken:]
                if not self.skip:
                    self.queue.put_nowait(self.head)
                continue
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = bytes(self.buffer[:end]), bytes(self.buffer[end + 4 :])
            self.buffer.clear()
            if b"100-continue" in head:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            self.skip, self.head = int(length[1]) if length else 0, head
            if not self.skip:
                self.queue.put_nowait(head)

    async def work(self) -> None:
        while True:
            lines = (await self.queue.get()).decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
            extra, body, more = _answer(method, target, headers, self.facts)
            status = "206 Partial Content" if "Content-Range" in extra else "200 OK"
            if extra == "missing":
                status, extra = "404 Not Found", ""
            self.transport.write(f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body) + more}\r\n\r\n".encode())
            if method == "HEAD":
                continue
            self.transport.write(body)
            while more:
                await self.writable.wait()
                piece = min(more, MIB)
                self.transport.write(BLOCK if piece == MIB else BLOCK[:piece])
                more -= piece


def serve(port: multiprocessing.Queue, facts: dict[str, int]) -> None:  # type: ignore[type-arg]
    async def main() -> None:
        for start in range(0, facts["list"], 1000):
            _listing_page(start, facts["list"])
        server = await asyncio.get_running_loop().create_server(lambda: _Server(facts), "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


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
        "put small": lambda: list(pool.map(lambda i: storage.put(f"s3://bench/s/{i}", data), range(small))),
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
    facts = {"list": options.list, "big": options.mib * MIB, "object": 16 << 10}
    queue: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(queue, facts), daemon=True)
    server.start()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "big")
        with open(file, "wb") as out:
            out.writelines(BLOCK for _ in range(options.mib))
        url = f"http://127.0.0.1:{queue.get(timeout=60)}"
        for name in options.clients.split(","):
            _make_files(folder, options.small, options.rounds)
            command = [sys.executable, __file__, "--one", name, "--url", url, "--file", file,
                       "--small", str(options.small), "--rounds", str(options.rounds)]  # fmt: skip
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800, check=False)
            if done.returncode:
                print(f"{name}: {done.stderr.splitlines()[-1] if done.stderr else done.returncode}", file=sys.stderr)
                continue
            results[name] = json.loads(done.stdout.splitlines()[-1])
    server.terminate()
    works = ["put small", "get small", "put files", "list", "reference", "put big", "get big"]
    print(f"| seconds wall (CPU) | {' | '.join(works)} |\n|---|{'---|' * len(works)}")
    for name, found in results.items():
        found.setdefault("reference", found["list"])
        cells = " | ".join(f"{found[work][0]:.2f} ({found[work][1]:.2f})" for work in works)
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
