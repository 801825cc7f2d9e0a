"""The process runner: jobs as processes of this machine, each below a supervisor that outlives the agent."""

from __future__ import annotations

import fcntl
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from windlass.config.converter import structure
from windlass.errors import ConfigError, RunnerError, RunNotFoundError, SubmitError
from windlass.models.reason import Reason
from windlass.plugins import Context
from windlass.runners import LogLine, ResourceUsage, RunHandle, Runner, RunnerState, RunSpec, RunStatus, env_entries
from windlass_runner_process import supervisor
from windlass_runner_process.config import ProcessArgs, ProcessConfig
from windlass_runner_process.folder import Folder, kill_session, usage_of

__all__ = ["ProcessRunner"]

_ALWAYS = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "CUDA_*", "NVIDIA_*", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
)  # fmt: skip
_START_LIMIT = 30.0
_USAGE_EVERY = 2.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class ProcessRunner(Runner):
    """Starts jobs as supervised processes; all it knows lies in ``<home>/runs/<attempt id>/``."""

    def __init__(self, config: ProcessConfig, context: Context) -> None:
        self._config = config
        self._root = Path(context.settings.home) / "runs"
        self._usage: dict[str, tuple[float, ResourceUsage | None]] = {}

    def submit(self, spec: RunSpec) -> RunHandle:
        """Start the job below a supervisor. See `Runner.submit`."""
        args = structure(dict(spec.resource_args), ProcessArgs, where="$.resource_args")
        if not spec.command:
            raise ConfigError(
                "there is no command to run", where="$.entry_point", hint="Give the job an entry point: -E 'python …'."
            )
        if spec.mounts:
            raise ConfigError("processes see the machine's own paths; nothing can be mounted", where="$.mounts")
        env = self._env(spec, args)
        folder = self._folder(spec.attempt_id)
        limit = time.monotonic() + _START_LIMIT
        while time.monotonic() < limit:
            if folder.record() or folder.exit():
                return self._handle(spec.attempt_id)
            lock = self._lock(folder, make=True)
            if lock is None:
                time.sleep(0.005)  # another agent starts it at this moment
                continue
            try:
                if not folder.record() and not folder.exit():
                    self._start(spec, args, env, folder, lock)
            finally:
                os.close(lock)
            return self._handle(spec.attempt_id)
        raise SubmitError(f"the supervisor of {spec.attempt_id} did not start in {_START_LIMIT:g} s", retryable=True)

    def find(self, attempt_id: str) -> RunHandle | None:
        """The handle of an attempt whose folder is here. See `Runner.find`."""
        folder = self._folder(attempt_id)
        limit = time.monotonic() + _START_LIMIT
        while folder.path.is_dir() and time.monotonic() < limit:
            if folder.record() or folder.exit():
                return self._handle(attempt_id)
            with suppress(OSError):
                folder.path.rmdir()  # only one without a lock: its agent died even before that
            lock = self._lock(folder)
            if lock is not None:
                try:
                    if folder.record() or folder.exit():
                        return self._handle(attempt_id)
                    # Nobody starts it, so its agent died before the job's first instruction.
                    shutil.rmtree(folder.path, ignore_errors=True)
                finally:
                    os.close(lock)
                return None
            time.sleep(0.005)
        return None

    def poll(self, handles: Sequence[RunHandle]) -> Mapping[RunHandle, RunStatus]:
        """State of many attempts, from their folders. See `Runner.poll`."""
        return {handle: self._status(handle) for handle in handles}

    def logs(self, handle: RunHandle, since: str = "") -> Iterator[LogLine]:
        """Output behind a cursor. See `Runner.logs`."""
        folder = self._folder(handle.id)
        if not folder.path.is_dir():
            raise RunNotFoundError(f"the folder of {handle.id} is gone", where=str(folder.path))
        return folder.logs(since)

    def stop(self, handle: RunHandle, grace: float) -> None:
        """Ask the supervisor to end the job. See `Runner.stop`."""
        self._folder(handle.id).stop(max(0.0, grace))

    def cleanup(self, handle: RunHandle) -> None:
        """End what runs and remove the folder. See `Runner.cleanup`."""
        folder = self._folder(handle.id)
        record = folder.record()
        if record is not None and folder.exit() is None:
            folder.stop(0.0)
            limit = time.monotonic() + 5.0 + supervisor.DEFAULT_GRACE
            while record.alive() and time.monotonic() < limit:
                time.sleep(0.01)
            if record.alive():
                raise RunnerError(f"{handle.id} does not end", hint=f"See pid {record.job}.", retryable=True)
            if record.boot == supervisor.boot_id():
                kill_session(record)
        self._usage.pop(handle.id, None)
        shutil.rmtree(folder.path, ignore_errors=True)

    def check(self) -> None:
        """See whether folders can be made. See `Runner.check`."""
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self._root / f".check-{os.getpid()}-{threading.get_ident()}"
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            raise RunnerError(
                f"cannot make a folder for runs: {error.strerror}",
                where=str(self._root),
                hint="Set WINDLASS_HOME to a directory that the agent may write.",
            ) from None

    # -- inside -----------------------------------------------------------------------------------------------

    def _folder(self, attempt_id: str) -> Folder:
        if not _NAME.fullmatch(attempt_id):
            raise RunnerError(f"{attempt_id!r} is no attempt id", hint="Letters, digits, '_', '.' and '-'.")
        return Folder(self._root / attempt_id)

    def _handle(self, attempt_id: str) -> RunHandle:
        return RunHandle(runner="process", id=attempt_id, data={"host": socket.gethostname()})

    def _lock(self, folder: Folder, *, make: bool = False) -> int | None:
        """The folder's lock, None when a starting or running supervisor (or another submit) has it, or there is none.

        Only who starts the job makes a folder: others would bring back one that is being removed.
        """
        if make:
            folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            fd = os.open(folder.path / "lock", os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(folder.path / "lock").st_ino == os.fstat(fd).st_ino:
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(fd)
        return None

    def _start(self, spec: RunSpec, args: ProcessArgs, env: Mapping[str, str], folder: Folder, lock: int) -> None:
        work = Path(spec.work_dir) if spec.work_dir else folder.path / "work"
        if not spec.work_dir:
            work.mkdir(exist_ok=True)
        read, write = os.pipe()
        command = [
            getattr(sys, "_base_executable", "") or sys.executable, "-I", "-S", supervisor.__file__,
            str(folder.path), str(lock), str(write), *_options(spec, args, work), "--", *spec.command,
        ]  # fmt: skip
        try:
            with subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(lock, write),
                start_new_session=True,
            ):
                os.close(write)
                write = -1
                answer = os.read(read, 4096)
                while answer != b"ok" and os.read(read, 4096):
                    pass  # until the supervisor is gone: a refused submission leaves nothing
        except (OSError, ValueError) as error:
            shutil.rmtree(folder.path, ignore_errors=True)
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            raise SubmitError(f"the supervisor cannot be started: {reason}", retryable=True) from None
        finally:
            os.close(read)
            if write >= 0:
                os.close(write)
        if answer != b"ok":
            shutil.rmtree(folder.path, ignore_errors=True)
            if answer == supervisor.LATE:
                spec.check_in_time()
            text = answer.decode("utf-8", "replace")
            raise SubmitError(
                f"cannot be started: {text}" if text else "the supervisor ended before it had started the job",
                where=spec.command[0],
                hint="Check the entry point, and that its program is on the job's PATH." if text else "",
                retryable=not text,
            )

    def _env(self, spec: RunSpec, args: ProcessArgs) -> dict[str, str]:
        passed = (*_ALWAYS, *self._config.pass_env)
        env = {k: v for k, v in os.environ.items() if any(fnmatchcase(k, glob) for glob in passed)}
        # The first `python` on the path is the agent's, so that jobs find the packages installed beside it.
        env["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), env.get("PATH", os.defpath)])
        env |= env_entries(args.env, self._config.allow_env, os.environ)
        if (gpus := _gpus(spec, args)) is not None:
            env["CUDA_VISIBLE_DEVICES"] = gpus
        if "PYTHONPATH" in env and "PYTHONPATH" in spec.env:  # the queue's come behind the code's own packages
            own = {"PYTHONPATH": os.pathsep.join([spec.env["PYTHONPATH"], env["PYTHONPATH"]])}
        else:
            own = {}
        return {**env, **spec.env, **own, **spec.secret_env}

    def _status(self, handle: RunHandle) -> RunStatus:
        folder = self._folder(handle.id)
        record = folder.record()
        end = folder.exit()
        if end is None and record is not None and record.alive():
            return RunStatus(
                state=RunnerState.RUNNING,
                started_at=record.started_at,
                usage=self._running_usage(handle.id, record.job),
            )
        end = end or folder.exit()  # it may have ended between the two looks
        if end is None:
            return _lost(folder, rebooted=record is not None and record.boot != supervisor.boot_id())
        return _ended(end)

    def _running_usage(self, attempt_id: str, job: int) -> ResourceUsage | None:
        now = time.monotonic()
        seen, usage = self._usage.get(attempt_id, (0.0, None))
        if now - seen >= _USAGE_EVERY or not seen:
            usage = usage_of(job)
            self._usage[attempt_id] = (now, usage)
        return usage


def _gpus(spec: RunSpec, args: ProcessArgs) -> str | None:
    """Value of CUDA_VISIBLE_DEVICES; None leaves the agent's. An empty one hides all devices."""
    if spec.gpus is not None:
        return ",".join(spec.gpus)
    text = "" if args.gpus is None else str(args.gpus)
    if text in ("", "all"):
        return None
    if text.isdigit():
        return ",".join(map(str, range(int(text))))
    if not re.fullmatch(r"device=[\w-]+(,[\w-]+)*", text):
        raise ConfigError(f"{text!r} names no GPUs", where="$.resource_args.gpus", hint="Write 2, all or device=0,1.")
    return text.removeprefix("device=")


def _lost(folder: Folder, rebooted: bool) -> RunStatus:
    if rebooted:
        message = "the machine was restarted while the job ran"
    elif folder.path.is_dir():
        message = "the job's supervisor was killed, and the job with it"
    else:
        message = f"the folder {folder.path} was removed"
    return RunStatus(state=RunnerState.LOST, reason=Reason(code="lost", message=message))


def _ended(end: Mapping[str, object]) -> RunStatus:
    code = int(str(end["code"]))
    state, reason = RunnerState.FAILED, None
    if end["stopped"]:
        state, reason = RunnerState.STOPPED, Reason(code="stopped", message="it was asked to stop")
    elif end["error"]:
        reason = Reason(code="not-started", message=f"it cannot be started: {end['error']}")
    elif oom := end.get("oom"):
        told = "its limit refused it more memory" if oom == "limit" else "the kernel killed it because memory ran out"
        hint = "Raise the queue's memory option." if oom == "limit" else "Give it a machine with more memory."
        reason = Reason(code="out-of-memory", message=told, hint=hint, context={"exit_code": code})
    elif code == 0:
        state = RunnerState.FINISHED
    else:
        reason = Reason.of_exit(code)
    return RunStatus(
        state=state,
        exit_code=code,
        reason=reason,
        usage=ResourceUsage(cpu_seconds=float(str(end["cpu_seconds"])), max_rss=int(str(end["max_rss"]))),
        started_at=float(str(end["started_at"])),
        finished_at=float(str(end["finished_at"])),
    )


def _options(spec: RunSpec, args: ProcessArgs, work: Path) -> Iterator[str]:
    yield f"cwd={work / args.cwd}"
    if math.isfinite(spec.not_after):
        yield f"not_after={spec.not_after!r}"
    if args.nice:
        yield f"nice={args.nice}"
    if args.memory:
        number, unit = re.fullmatch(r"([\d.]+)\s*([a-z]?)i?b?", args.memory.lower()).groups()  # type: ignore[union-attr]
        yield f"memory={int(float(number) * 1024 ** _UNITS[unit])}"
    if args.cpus is not None and hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        count = min(len(cores), math.ceil(args.cpus))
        first = sum(spec.attempt_id.encode()) % len(cores)  # spread jobs over the cores
        yield "cpus=" + ",".join(str(cores[(first + i) % len(cores)]) for i in range(count))
