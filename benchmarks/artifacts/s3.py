"""Artifacts in S3 against bare clients, which keep one object per file: both in processes of their own, whole.

The server is the stub of `benchmarks/stub_s3.py` at several latencies, or the one that ``AWS_ENDPOINT_URL`` names. The
bare client is obstore, which was the fastest of those in `bench_storage.py`, with as many requests at once as serve it
best.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import stub_s3

WIDTHS = (16, 32, 64, 128)
LISTED = int(os.environ.get("LISTED", "0"))
_KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
_CHUNK = 16 << 20


def store():
    """The bare client."""
    from obstore.store import S3Store

    return S3Store(
        os.environ["BUCKET"],
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        client_options={"allow_http": True, "pool_max_idle_per_host": "256"},
        virtual_hosted_style_request=False,
    )


def _all(work: Callable, items: list, width: int) -> None:
    async def run() -> None:
        room = asyncio.Semaphore(width)

        async def one(item) -> None:
            async with room:
                await work(item)

        await asyncio.gather(*(one(item) for item in items))

    asyncio.run(run())


def put(folder: str, width: str) -> None:
    """Each file as an object of its own."""
    bare = store()
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    _all(lambda path: bare.put_async(f"bare/{path.relative_to(folder)}", path.read_bytes()), paths, int(width))


def get(folder: str, width: str) -> None:
    """Each object into a file."""
    bare = store()
    keys = [item["path"] for batch in bare.list("bare") for item in batch]

    async def one(key: str) -> None:
        data = await (await bare.get_async(key)).bytes_async()
        path = f"{folder}/{key}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            file.write(data)

    _all(one, keys, int(width))


def put_big(file: str) -> None:
    """One file in parts, eight at once."""
    store().put("big", Path(file), chunk_size=_CHUNK, max_concurrency=8)


def get_big(file: str) -> None:
    """One object into a file, by ranges of which eight are under way."""
    bare = store()
    size = bare.head("big")["size"]
    with open(file, "wb") as out:
        handle = out.fileno()

        async def one(start: int) -> None:
            os.pwrite(handle, await bare.get_range_async("big", start=start, end=min(start + _CHUNK, size)), start)

        _all(one, list(range(0, size, _CHUNK)), 8)


def fill() -> None:
    """The objects below ``list/``, which the stub makes up."""
    bare = store()
    _all(lambda number: bare.put_async(f"list/{number:07d}", b"%d" % number), list(range(LISTED)), 64)


def listing() -> None:
    """All objects below ``list/`` by twenty ranges side by side; prints the seconds."""
    from concurrent.futures import ThreadPoolExecutor

    bare, began = store(), time.perf_counter()
    cuts = [f"list/{start:07d}" for start in range(0, LISTED, max(LISTED // 20, 1))]

    def count(part: tuple[str, str]) -> int:
        found = 0
        for batch in bare.list("list", offset=part[0] if part[0] != cuts[0] else None, chunk_size=1000):
            found += sum(1 for item in batch if not part[1] or item["path"] <= part[1])
            if part[1] and batch[-1]["path"] > part[1]:
                break
        return found

    with ThreadPoolExecutor(len(cuts)) as pool:
        found = sum(pool.map(count, zip(cuts, [*cuts[1:], ""], strict=True)))
    assert found == LISTED, found
    print(time.perf_counter() - began)


def reference() -> None:
    """An artifact that refers to all objects below ``list/``, logged; prints the seconds."""
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.plugins.app import App
    from windlass.settings import Settings

    settings = Settings.from_env()
    app = App(settings)
    engine = ArtifactEngine(app, app.open_store(), settings)
    engine.store.whoami()
    began = time.perf_counter()
    made = Artifact("references", "dataset")
    made.app = app
    made.add_reference(f"s3://{os.environ['BUCKET']}/list/", max_objects=10 * LISTED)
    engine.log(made)
    assert len(made.manifest) == LISTED
    print(time.perf_counter() - began)


def own_server() -> bool:
    """Whether there is another server than the stub."""
    return bool(os.environ.get("AWS_ENDPOINT_URL"))


@contextmanager
def server(latency: float, listed: int = 0) -> Iterator[dict[str, str]]:
    """The environment of clients, with a bucket in ``BUCKET``.

    Args:
        latency: Seconds before each answer of the stub; a server of one's own has its own.
        listed: Objects below ``list/`` that the stub makes up; a server of one's own is to be filled.
    """
    if own_server():
        import uuid

        import boto3

        bucket = f"bench-{uuid.uuid4().hex}"
        boto3.client("s3").create_bucket(Bucket=bucket)
        yield {"BUCKET": bucket, "LISTED": str(listed)}
        return
    with stub_s3.running(latency, listed) as url:
        yield {**_KEYS, "AWS_ENDPOINT_URL": url, "BUCKET": "bench", "LISTED": str(listed)}


COMMANDS = {
    "put": put,
    "get": get,
    "put-big": put_big,
    "get-big": get_big,
    "fill": fill,
    "list": listing,
    "reference": reference,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
    sys.stdout.flush()
    os._exit(0)  # the client's threads sometimes abort an interpreter that ends as usual
