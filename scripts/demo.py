"""`make demo`: a real training job travels from a directory to a versioned model.

Packaged → queued → claimed → image built (where a Docker engine is there) → run → metrics, logs, artifact → fetched.
Everything is done with the commands that a user would type; each is shown before it runs.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from windlass.sdk.api import Api
from windlass.sdk.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
HOME = ROOT / ".windlass" / "demo"
BASE_IMAGE = f"python:3.{sys.version_info.minor}-slim-bookworm"
PULL_SECONDS = 60
COLOR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def paint(text: str, code: str) -> str:
    """Color `text` on a terminal."""
    return f"\x1b[{code}m{text}\x1b[0m" if COLOR else text


def say(text: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Windlass:
    """The command as a user types it, with the demo's own home."""

    def __init__(self) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WINDLASS_")}
        self.env = {**kept, "WINDLASS_HOME": str(HOME), "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start `windlass WORDS`."""
        return subprocess.Popen([str(BIN / "windlass"), *words], env=self.env, cwd=ROOT, **options)

    def ask(self, *words: str, show: bool = False) -> Any:
        """Run `windlass WORDS --json` and return what it prints."""
        if show:
            say(paint(f"$ windlass {shlex.join(words)}", "2"))
        with self.start(*words, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate()
        if process.returncode:
            say(err.decode(errors="replace").rstrip())
            raise SystemExit(process.returncode)
        return json.loads(out)

    def works(self, *words: str) -> bool:
        """Run `windlass WORDS` silently; True when it did what was asked."""
        with self.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            return process.wait() == 0


def pick_base_image() -> str:
    """A base image with Python that the engine has or can pull within a minute; empty if there is none."""
    import docker
    import docker.errors

    client = docker.from_env(timeout=PULL_SECONDS)
    local = f"local/python-host:3.{sys.version_info.minor}"
    for name in (os.environ.get("WINDLASS_DEMO_BASE_IMAGE", ""), BASE_IMAGE, local):
        try:
            if name:
                client.images.get(name)
                return name
        except docker.errors.DockerException:
            continue
    pulled: list[str] = []

    def pull() -> None:
        try:
            client.images.pull(*BASE_IMAGE.rsplit(":", 1))
            pulled.append(BASE_IMAGE)
        except Exception as error:
            say(f"  {BASE_IMAGE} cannot be pulled: {str(error).splitlines()[0][:100]}")

    say(f"  Pulling {BASE_IMAGE} …")
    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    thread.join(PULL_SECONDS)
    return pulled[0] if pulled else ""


def pick_resource(windlass: Windlass) -> tuple[str, str]:
    """Docker with a base image if both are there, process otherwise; says which and why."""
    wanted = os.environ.get("WINDLASS_DEMO_RESOURCE", "")
    if wanted == "process":
        say("Running as a process, as WINDLASS_DEMO_RESOURCE says.")
        return "process", ""
    if not windlass.works("plugins", "check", "runner", "docker"):
        say("No Docker engine answers: running as a process on this machine.")
        return "process", ""
    image = pick_base_image()
    if not image:
        say("A Docker engine answers, but has no Python base image: running as a process on this machine.")
        return "process", ""
    say(f"A Docker engine answers: running in a container made from {image}.")
    return "docker", image


def prepare_queue(windlass: Windlass, resource: str) -> str:
    """The demo's queue for a resource; made when it is not there."""
    name = f"demo-{resource}"
    if name not in {queue["name"] for queue in windlass.ask("queue", "list")}:
        windlass.ask(
            "queue", "create", name, "--resource", resource, "--config", "examples/digits/queue.yaml",
            "--templates", "examples/digits/templates.yaml", show=True,
        )  # fmt: skip
    return name


def follow(windlass: Windlass, queue: str, run_id: str) -> dict[str, Any]:
    """Run an agent until the queue is empty, and show the run's phases and output meanwhile."""
    say(paint(f"$ windlass launch-agent --queue {queue} --drain", "2"))
    log = HOME / "agent.log"
    with log.open("ab") as errors, windlass.start("launch-agent", "-q", queue, "--drain", stderr=errors) as agent:
        shown, printed = "queued", 0
        with Api(Settings(home=HOME)) as api:
            while (going := agent.poll() is None) or printed == 0:
                found = api.run(run_id)
                phase = str(found.record.phase or found.record.state)
                if phase != shown:
                    shown = phase
                    say(paint(f"  {phase}", "36"))
                output = b"".join(found.logs(build=False))
                sys.stdout.write(output[printed:].decode(errors="replace"))
                printed = len(output)
                if not going:
                    break
                time.sleep(0.1)
    run = windlass.ask("run", "show", run_id)
    if run["state"] != "finished":
        reason = run["reason"] or {}
        say(
            f"The run {run['state']}: {reason.get('message', '')}\n  {reason.get('hint', '')}\n  The agent's log: {log}"
        )
        raise SystemExit(1)
    return dict(run)


def main() -> None:
    """Run the demo."""
    began = time.monotonic()
    HOME.mkdir(parents=True, exist_ok=True)
    windlass = Windlass()
    say(paint("Windlass demo: handwritten digits, from a directory to a versioned model", "1"))
    resource, image = pick_resource(windlass)
    queue = prepare_queue(windlass, resource)
    words = ["launch", "-u", "examples/digits", "-E", "python train.py", "-q", queue, "-p", "digits", "-v", "hidden=64"]
    run = windlass.ask(*words, *(["--base-image", image] if image else []), show=True)
    run = follow(windlass, queue, run["id"])
    artifact = next(item["artifact"] for item in run["artifacts"] if "digits-classifier" in item["artifact"])
    target = HOME / "model"
    windlass.ask("artifact", "get", artifact, "--root", str(target), show=True)
    name = artifact.rpartition("/")[2]
    say()
    say(paint("Done.", "1;32"))
    say(f"  run        {run['id']} ({resource})")
    say(f"  duration   {run['duration']:.1f} s of training, {time.monotonic() - began:.1f} s in all")
    say(f"  accuracy   {run['summary']['final_accuracy']:.3f}")
    say(f"  artifact   {name}")
    say(f"  files      {target.relative_to(ROOT)}/model.pkl, confusion_matrix.png")
    say()
    say("Look further:")
    say(f"  export WINDLASS_HOME={HOME} WINDLASS_PROJECT=digits PATH={BIN}:$PATH")
    say(f"  windlass run show {run['id']}")
    say(f"  windlass run logs {run['id']}")
    say(f"  windlass artifact show {name}")
    say(f"  windlass artifact lineage {name}")


if __name__ == "__main__":
    main()
