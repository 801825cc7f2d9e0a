"""Other tools, each when it is installed: on PATH, or in a folder that ``WINDLASS_BENCH_PEERS`` names.

Each works in a folder of its own, which holds ``data``. What it prints is thrown away, and what it would tell its
makers is switched off: a peer must not wait for a network.
"""

import os
import shutil
import subprocess
from pathlib import Path

FOLDERS = "WINDLASS_BENCH_PEERS"
TOOLS = ("restic", "dvc", "git-lfs", "mlflow", "wandb")

_WANDB = """
import sys, wandb
run = wandb.init(project="bench")
artifact = wandb.Artifact("bench", "dataset")
artifact.add_dir("data")
run.log_artifact(artifact)
run.finish()
"""
_MLFLOW_PUT = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_artifacts("data", "data")
open("run", "w").write(run.info.run_id)
"""
_MLFLOW_GET = """
import mlflow, os
os.mkdir("out")
mlflow.artifacts.download_artifacts(run_id=open("run").read(), artifact_path="data", dst_path="out")
"""


def search_path() -> str:
    """Where peers are looked for."""
    return os.pathsep.join(filter(None, (os.environ.get(FOLDERS), os.environ.get("PATH"))))


def installed() -> list[str]:
    """Peers that can be run here."""
    found = [tool for tool in TOOLS if shutil.which(tool, path=search_path())]
    return [tool for tool in found if tool not in ("dvc", "git-lfs") or shutil.which("git")]


def versions(tools: list[str]) -> dict[str, str]:
    """What each says its version is."""
    found = {}
    for tool in tools:
        command = [tool, "version" if tool in ("restic", "git-lfs") else "--version"]
        out = subprocess.run(command, capture_output=True, text=True, env=_env("."), check=False).stdout
        found[tool] = next((word for word in out.replace("/", " ").split() if word[:1].isdigit()), "?")
    return found


def prepare(tool: str, work: str) -> None:
    """Make the repository of a tool in a folder that holds ``data``."""
    if tool == "restic":
        _call(work, "restic", "init", "-r", f"{work}/repo", "--no-cache")
    elif tool in ("dvc", "git-lfs"):
        _call(work, "git", "init", "-q", ".")
        if tool == "dvc":
            _call(work, "dvc", "init", "-q")
        else:
            _call(work, "git", "lfs", "install", "--local")
            _call(work, "git", "lfs", "track", "data/**")
    elif tool == "mlflow":
        _script(work, tool, "import mlflow; mlflow.set_experiment('bench')")  # makes the database


def put(tool: str, work: str) -> None:
    """Put ``data`` once more."""
    if tool == "restic":
        _call(work, "restic", "-r", f"{work}/repo", "--no-cache", "--compression", "off", "backup", "data")
    elif tool == "dvc":
        _call(work, "dvc", "add", "-q", "data")
    elif tool == "git-lfs":
        _call(work, "git", "add", "data")
        _call(work, "git", "commit", "-q", "--allow-empty", "-m", "x")
    else:
        _script(work, tool, _WANDB if tool == "wandb" else _MLFLOW_PUT)


def can_checkout(tool: str) -> bool:
    """False for wandb, which needs a server for that."""
    return tool != "wandb"


def checkout(tool: str, work: str) -> None:
    """Get what was put into a place that is empty."""
    if tool == "restic":
        _call(work, "restic", "-r", f"{work}/repo", "--no-cache", "restore", "latest", "--target", f"{work}/out")
    elif tool == "mlflow":
        _script(work, tool, _MLFLOW_GET)
    elif tool == "dvc":
        _call(work, "dvc", "checkout", "-q")
    elif tool == "git-lfs":
        _call(work, "git", "checkout", "-q", "--", "data")


def _env(work: str) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": search_path(),
        "HOME": work,
        "RESTIC_PASSWORD": "x",
        "GIT_AUTHOR_NAME": "b",
        "GIT_AUTHOR_EMAIL": "b@b",
        "GIT_COMMITTER_NAME": "b",
        "GIT_COMMITTER_EMAIL": "b@b",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{work}/mlflow.db",
        "MLFLOW_EXPERIMENT_NAME": "bench",
        "WANDB_MODE": "offline",
        "WANDB_DIR": work,
        "WANDB_CACHE_DIR": f"{work}/wandb-cache",
        "WANDB_DATA_DIR": f"{work}/wandb-data",
        "WANDB_CONFIG_DIR": f"{work}/wandb-config",
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "WANDB_DISABLE_CODE": "true",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }


def _call(work: str, *command: str) -> None:
    done = subprocess.run(command, cwd=work, env=_env(work), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed in {work}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _script(work: str, tool: str, code: str) -> None:
    """Run Python code with the interpreter that a tool is installed for."""
    command = shutil.which(tool, path=search_path())
    assert command is not None
    first = Path(command).read_text().partition("\n")[0]
    _call(work, first.removeprefix("#!").strip(), "-c", code)
