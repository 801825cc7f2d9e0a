"""Many small files to S3: the engine against the fastest bare client, which puts one object per file.

Both talk to the same server: the one of ``AWS_ENDPOINT_URL``, else a local moto server, whose cost per request then
takes the place of a network's.
"""

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def bare(endpoint: str, bucket: str, folder: str) -> None:
    """Put each file as an object of its own, 32 at a time."""
    from obstore.store import S3Store

    store = S3Store(bucket, endpoint=endpoint, client_options={"allow_http": True}, virtual_hosted_style_request=False)

    async def put_all() -> None:
        room = asyncio.Semaphore(32)

        async def put(path: Path) -> None:
            async with room:
                await store.put_async(str(path.relative_to(folder)), path.read_bytes())

        await asyncio.gather(*(put(path) for path in Path(folder).rglob("*") if path.is_file()))

    asyncio.run(put_all())


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """The environment of clients, with a bucket in ``BUCKET``."""
    import boto3

    env = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    process = None
    if os.environ.get("AWS_ENDPOINT_URL"):
        env = {key: os.environ[key] for key in (*env, "AWS_ENDPOINT_URL") if key in os.environ}
    else:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        env["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(env["AWS_ENDPOINT_URL"], timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
    try:
        os.environ.update(env)
        bucket = f"bench-{uuid.uuid4().hex}"
        boto3.client("s3").create_bucket(Bucket=bucket)
        yield {**env, "BUCKET": bucket}
    finally:
        if process is not None:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    bare(os.environ["AWS_ENDPOINT_URL"], os.environ["BUCKET"], sys.argv[1])
    os._exit(0)  # the client's threads sometimes abort an interpreter that ends as usual
