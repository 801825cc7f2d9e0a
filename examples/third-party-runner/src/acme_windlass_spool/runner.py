"""The runner: a folder per attempt, and a shell script that supervises it. The folder is all the state there is."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from acme_windlass_spool.config import SpoolArgs
from windlass.config.converter import structure
from windlass.errors import RunNotFoundError, UnsupportedError
from windlass.models.reason import Reason
from windlass.runners import LogLine, RunHandle, Runner, RunnerState, RunSpec, RunStatus

START = 'setsid sh "$@" >/dev/null 2>&1 & until test -e "$0/pid"; do kill -0 $! && sleep 0.01 || exit 1; done'
STOP = 'touch "$0/stop" && (kill -TERM -"$1"; sleep "$2"; test -e "$0/exit" || kill -KILL -"$1") >/dev/null 2>&1 &'


class SpoolRunner(Runner):
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def submit(self, spec: RunSpec) -> RunHandle:
        args = structure(dict(spec.resource_args), SpoolArgs, where="$.resource_args")
        if spec.mounts or not spec.command:
            raise UnsupportedError("jobs of the spool are commands, and see this host's own paths: nothing is mounted")
        folder, env = self.root / spec.attempt_id, {"PATH": os.environ["PATH"], **spec.env, **spec.secret_env}
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of two agents one starts it; a folder without pid: one died just here
            if not (folder / "pid").exists():
                spec.check_in_time()
                folder.mkdir(exist_ok=True)
                script, work = Path(__file__).with_name("supervisor.sh"), spec.work_dir or folder
                shell(START, folder, script, folder, work, args.nice, *spec.command, env=env)
        return RunHandle(runner="spool", id=spec.attempt_id)

    def find(self, attempt_id: str) -> RunHandle | None:
        return RunHandle(runner="spool", id=attempt_id) if (self.root / attempt_id / "pid").exists() else None

    def poll(self, handles: Sequence[RunHandle]) -> Mapping[RunHandle, RunStatus]:
        return {handle: self.status(self.root / handle.id) for handle in handles}

    def status(self, folder: Path) -> RunStatus:
        running = alive(folder)  # asked first: who is dead now has written his exit code before
        code = int((folder / "exit").read_text()) if (folder / "exit").exists() else None
        if code is None and running:
            return RunStatus(state=RunnerState.RUNNING)
        if (folder / "stop").exists():
            return RunStatus(state=RunnerState.STOPPED, exit_code=code, reason=Reason(code="stopped"))
        if code is None:
            return RunStatus(state=RunnerState.LOST, reason=Reason(code="lost", message="its supervisor is gone"))
        reason = Reason.of_exit(code) if code else None
        return RunStatus(state=RunnerState.FAILED if code else RunnerState.FINISHED, exit_code=code, reason=reason)

    def logs(self, handle: RunHandle, since: str = "") -> Iterator[LogLine]:
        if not (self.root / handle.id / "pid").exists():
            raise RunNotFoundError(f"there is no {handle.id} in {self.root}")
        places = [int(n) for n in (since or "0:0").split(":")]
        for index, stream in enumerate(("stdout", "stderr")):
            with suppress(FileNotFoundError), (self.root / handle.id / stream).open("rb") as file:
                file.seek(places[index])
                for data in iter(lambda: file.read(65536), b""):
                    places[index] += len(data)
                    yield LogLine(stream=stream, data=data, cursor=f"{places[0]}:{places[1]}")

    def stop(self, handle: RunHandle, grace: float) -> None:
        folder = self.root / handle.id
        if alive(folder) and not (folder / "exit").exists() and not (folder / "stop").exists():
            shell(STOP, folder, (folder / "pid").read_text().strip(), grace)

    def cleanup(self, handle: RunHandle) -> None:
        folder = self.root / handle.id
        while alive(folder):
            shell('kill -KILL -"$1"; sleep 0.01', folder, (folder / "pid").read_text().strip())
        shutil.rmtree(folder, ignore_errors=True)


def shell(script: str, *args: object, env: Mapping[str, str] | None = None) -> None:
    subprocess.run(["sh", "-c", script, *map(str, args)], env=env, check=True, start_new_session=True)


def alive(folder: Path) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        stat = Path("/proc", (folder / "pid").read_text().strip(), "stat").read_text()
        return stat.rpartition(")")[2].split()[0] not in "ZX"
    return False
