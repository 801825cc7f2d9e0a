"""Does one put, get or collection per line of JSON it reads, each in a child that can be told to die on the way.

``{"mode": "put" | "get" | "gc", "folder": …, "event": N, "after": seconds}``: the child kills itself at the N-th file
operation, or after so many seconds. Children start in milliseconds, because all is imported before. With the argument
``workers`` the smallest folders are worth worker processes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback

from windlass.artifacts import packed_writing, reading_ahead
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.gc import collect_garbage
from windlass.plugins.app import App
from windlass.settings import Settings

EVENTS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.utime", "socket.connect")


def arm(event: int, after: float) -> list[int]:
    count = [0]

    def hook(name: str, _: object) -> None:
        if name in EVENTS:
            count[0] += 1
            if count[0] == event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    if after:
        signal.setitimer(signal.ITIMER_REAL, after)  # nobody handles SIGALRM, so the kernel ends the process
    return count


def work(mode: str, folder: str, event: int, after: float) -> tuple[int, float, int]:
    settings = Settings.from_env()
    app = App(settings)
    store = app.open_store()
    store.whoami()
    engine = ArtifactEngine(app, store, settings)
    count = arm(event, after)
    began = time.monotonic()
    read = [0]
    if mode == "put":
        artifact = Artifact("data", "t")
        artifact.add_dir(folder)
        engine.log(artifact, done=lambda size: read.__setitem__(0, read[0] + size))
    elif mode == "get":
        engine.download(engine.get("data").manifest, folder, link="auto" if "workers" in sys.argv else "hard")
    else:
        collect_garbage(store, grace=-1, undelete=-1, wait=0.1)
    events, seconds = count[0], time.monotonic() - began
    store.close()
    return events, seconds, read[0]


def main() -> None:
    if "workers" in sys.argv:
        os.sched_getaffinity = lambda _: {0, 1}  # type: ignore[misc]
        packed_writing.ENOUGH = reading_ahead.ENOUGH = reading_ahead._FILES = 8
    for line in sys.stdin:
        job = json.loads(line)
        ear, mouth = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(mouth, json.dumps(work(**job)).encode())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(mouth)
        result = os.read(ear, 1000)
        os.close(ear)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"code": code, "result": json.loads(result) if result else None}), flush=True)


if __name__ == "__main__":
    main()
