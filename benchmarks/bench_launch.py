"""Launch overhead: from enqueue to the first output, against a bare subprocess and a bare ``docker run``.

    python benchmarks/bench_launch.py [--rounds 20] [--docker]

Both sides of a pair run in turns on the same machine; medians, differences and ratios are printed. The job prints
the clock as its first act, so what is measured is the time until the user's code runs, not until somebody sees it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from windlass.artifacts.engine import ArtifactEngine
from windlass.ids import new_run_id
from windlass.launch.sources import code_artifact
from windlass.metastore import MetadataStore
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import NewItem, Queue, QueueRef
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_agent.agent import Agent
from windlass_agent.config import AgentConfig

IMAGE = "local/python-host:3.11"
CLOCK = "import time; print(time.time(), flush=True)"
# The program that docker finds in the image and subprocess on this machine; both start a Python.
COMMAND = ("python3", "-I", "-S", "-c", CLOCK)
TARGETS = {"process": 150.0, "docker": 250.0}


def bare_process() -> float:
    """Milliseconds until a bare subprocess runs."""
    began = time.time()
    out = subprocess.run(COMMAND, capture_output=True, text=True, check=True).stdout
    return (float(out) - began) * 1000


def bare_docker() -> float:
    """Milliseconds until a bare ``docker run`` runs."""
    began = time.time()
    out = subprocess.run(["docker", "run", "--rm", IMAGE, *COMMAND], capture_output=True, text=True, check=True).stdout
    return (float(out) - began) * 1000


def launcher(store: MetadataStore, queue: str, source: JobSource) -> Callable[[], float]:
    """Milliseconds from enqueue until the job's code runs, under an idle agent."""

    def once() -> float:
        item = NewItem(
            run_id=new_run_id(),
            queue=QueueRef(entity="bench", name=queue),
            spec=LaunchSpec(source=source, entry_point=COMMAND),
            entity="bench",
            project="bench",
        )
        began = time.time()
        store.queues.enqueue([item])
        while not (run := store.runs.get(item.run_id)).state.is_terminal:
            time.sleep(0.02)
        if run.exit_code:
            raise SystemExit(f"the job failed: {run.reason}")
        out = b"".join(line.data for line in store.runs.read_log(item.run_id).lines)
        time.sleep(0.3)  # the next one finds an idle agent
        return (float(out) - began) * 1000

    return once


def compare(name: str, bare: Callable[[], float], ours: Callable[[], float], rounds: int) -> None:
    """Run both in turns and print the pair."""
    bare(), ours()  # the first of each warms caches and imports
    pairs = [(bare(), ours()) for _ in range(rounds)]
    base, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
    over = statistics.median(b - a for a, b in pairs)
    verdict = "met" if over <= TARGETS[name] else "MISSED"
    print(
        f"{name:8} bare {base:6.1f} ms   windlass {mine:6.1f} ms   overhead {over:6.1f} ms "
        f"({mine / base:.2f}×)   target {TARGETS[name]:.0f} ms {verdict}"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--docker", action="store_true", help="measure containers, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({"WINDLASS_HOME": f"{folder}/home", "WINDLASS_ENTITY": "bench"})
        app = App(settings)
        store = app.open_store()
        code = Path(folder, "code")
        code.mkdir()
        (code / "main.py").write_text(CLOCK)
        version = ArtifactEngine(app, store, settings).log(code_artifact(code, "code"), entity="bench", project="bench")
        sources = {
            "process": JobSource(kind=SourceKind.CODE, artifact=f"bench/bench/code:{version.version}"),
            "docker": JobSource(kind=SourceKind.IMAGE, image=IMAGE),
        }
        kinds = ("process", "docker") if options.docker else ("process",)
        for kind in kinds:
            store.queues.create(Queue(entity="bench", name=kind, resource=kind))
        agent = Agent(AgentConfig(queues=kinds, max_jobs=4), app, store)
        thread = threading.Thread(target=agent.run)
        thread.start()
        time.sleep(1.0)
        try:
            for kind in kinds:
                bare = {"process": bare_process, "docker": bare_docker}[kind]
                compare(kind, bare, launcher(store, kind, sources[kind]), options.rounds)
        finally:
            agent.stop()
            thread.join()
            store.close()
            app.close()


if __name__ == "__main__":
    main()
