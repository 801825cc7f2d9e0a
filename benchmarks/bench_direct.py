"""Blobs of a server that keeps them in S3: through the server, and past it by signed requests.

    python benchmarks/bench_direct.py [--mib 256] [--rounds 3] [--latency 0]

Client, server and the stub of `stub_s3.py` are a process each on this machine, so the network is as fast as memory and
the three share its cores. Wall clock, and the CPU seconds that the server spent; medians of interleaved rounds, and
ratios through ÷ past. What is put past the server is named by SHA-256, which the stub compares as S3 does; what is put
through it by BLAKE3, the default. Gets are of the same blobs and are verified by the client.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import stub_s3

from windlass.artifacts.digest import digest_of
from windlass_metastore_http.blobs import HttpBlobStore
from windlass_metastore_http.config import HttpConfig
from windlass_metastore_http.direct import Direct
from windlass_metastore_http.store import HttpStore

MIB = 1 << 20
SIZES = {"16 MiB": 16 * MIB, "2 MiB": 2 * MIB, "16 KiB": 16 << 10}
THREADS = 7  # as many as upload at once


class ThroughServer(Direct):
    """Never goes past the server."""

    @property
    def headers(self) -> dict[str, str]:
        """None."""
        return {}

    def may_put(self, digest: str) -> bool:
        """No."""
        return False


def serve(url: str) -> None:
    """Serve a store whose blobs are in the stub, until the process is ended; the port is the first line."""
    from windlass.models.access import Principal
    from windlass.plugins.app import App
    from windlass.settings import Settings
    from windlass_server.app import create_app
    from windlass_server.running import BackgroundServer

    store = App(Settings.from_env({**os.environ, "WINDLASS_BASE_URL": url})).open_store()
    listener = socket.create_server(("127.0.0.1", 0))
    BackgroundServer(create_app(store, anonymous=Principal(kind="user", name="admin", admin=True)), listener).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


@contextmanager
def serving(url: str, env: dict[str, str]) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address, and its pid."""
    command = [sys.executable, __file__, "--serve", url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process.pid
    finally:
        process.kill()
        process.communicate()


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has spent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(pid: int, work: Callable[[], object]) -> tuple[float, float]:
    """Wall clock and the server's CPU seconds."""
    cpu, began = cpu_of(pid), time.perf_counter()
    work()
    return time.perf_counter() - began, cpu_of(pid) - cpu


def race(url: str, pid: int, size: int, count: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Put and get `count` fresh blobs in each round, both ways."""
    found: dict[str, list[tuple[float, float]]] = {}
    with (
        closing(HttpStore(HttpConfig(url=url), "")) as past,
        closing(HttpStore(HttpConfig(url=url), "")) as through,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        ways: dict[str, tuple[HttpBlobStore, str]] = {
            "past": (past.blobs, "sha256"),
            "through": (through.blobs, "blake3"),
        }
        through.blobs._direct = ThroughServer()
        for blobs, algorithm in ways.values():  # connections, and the probe of the bucket
            blobs.put(digest_of(b"warm", algorithm), b"warm")
        for _ in range(rounds):
            data = [os.urandom(size) for _ in range(count)]
            for way, (blobs, algorithm) in ways.items():
                named = [(digest_of(content, algorithm), content) for content in data]
                put = timed(pid, lambda blobs=blobs, named=named: [*pool.map(lambda pair: blobs.put(*pair), named)])
                found.setdefault(f"put {way}", []).append(put)
            named = [(digest_of(content), content) for content in data]
            for way, (blobs, _) in ways.items():
                get = timed(pid, lambda blobs=blobs, named=named: [*pool.map(lambda p: blobs.open(p[0]).read(), named)])
                found.setdefault(f"get {way}", []).append(get)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=256, help="bytes of each size of blob; at most 500 blobs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.0, help="ms before each answer of the stub")
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    print(f"{'':12}{'through':>18}{'past':>18}{'wall':>8}{'server CPU':>13}")
    for label, size in SIZES.items():
        with (
            tempfile.TemporaryDirectory() as home,
            stub_s3.running(options.latency / 1000) as stub,
            serving(
                f"sqlite:///{home}/windlass.db?blobs=s3://bench/blobs",
                {**os.environ, "WINDLASS_HOME": home, "AWS_ENDPOINT_URL": stub, "AWS_ACCESS_KEY_ID": "k",
                 "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"},
            ) as (url, pid),
        ):  # fmt: skip
            found = race(url, pid, size, min(options.mib * MIB // size, 500), options.rounds)
        for work in ("put", "get"):
            (a, cpu_a), (b, cpu_b) = (
                [statistics.median(numbers) for numbers in zip(*found[f"{work} {way}"], strict=True)]
                for way in ("through", "past")
            )
            cpu = f"{cpu_a / cpu_b:.1f} ×" if cpu_b else "all"
            print(f"{work} {label:8}{a:9.2f} s ({cpu_a:4.2f}){b:9.2f} s ({cpu_b:4.2f}){a / b:6.1f} ×{cpu:>13}")


if __name__ == "__main__":
    main()
