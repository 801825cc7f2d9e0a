"""The supervisor: one small process per attempt that outlives the agent. Not imported, run as a script.

``python -I -S supervisor.py FOLDER LOCK_FD READY_FD [key=value …] -- COMMAND…`` with the job's environment.

It holds the lock of the folder as long as it lives, starts the job in a session of its own, passes on a stop request,
kills whatever the job left behind, and then writes how it ended. Files in FOLDER, each written whole or not at all:

* ``record``: supervisor pid, its start time, boot id, job pid, wall clock, one line.
* ``stop``: seconds of grace, written by the runner before it sends SIGTERM here.
* ``exit``: JSON with code, error, stopped, oom, cpu_seconds, max_rss, started_at, finished_at. ``oom``: ``kernel`` when
  the kernel killed it for want of memory, ``limit`` when its own limit refused it memory, else empty.
* ``stdout``, ``stderr``: output of the job, written by the job itself.

Start-up time is the launch latency of every job, so imports are few: the public modules `signal` and `ctypes` would
cost 5 ms each, hence `_signal` and `_ctypes`, the modules below them.
"""

from __future__ import annotations

import _ctypes
import _signal as signal  # type: ignore[import-not-found,unused-ignore]
import os
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
DEFAULT_GRACE = 10.0
RESERVED = 1024
LATE = b"late"
"""Told to the agent when ``not_after`` has passed, and nothing was started."""
REFUSED = (b"MemoryError", b"std::bad_alloc", b"Cannot allocate memory", b"out of memory", b"OutOfMemory")
"""How programs end their last words when they are refused memory."""


def main(argv: list[str]) -> None:
    """Detach, start the job, wait for its end."""
    folder, lock_fd, ready_fd = argv[1], int(argv[2]), int(argv[3])
    split = argv.index("--")
    options = dict(item.split("=", 1) for item in argv[4:split])
    if os.fork():
        os._exit(0)  # the agent collects this one at once; the other one belongs to init
    os.setsid()
    os.set_inheritable(lock_fd, False)
    os.set_inheritable(ready_fd, False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    watched = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    started = time.time()
    kills = kernel_kills()
    gate_read, gate_write = os.pipe()
    error_read, error_write = os.pipe()
    job = os.fork()
    if job == 0:
        os.close(gate_write)
        os.close(error_read)
        _become_job(folder, gate_read, error_write, old_mask, options, argv[split + 1 :])
    os.close(gate_read)
    os.close(error_write)
    if "not_after" in options and lease_clock() > float(options["not_after"]):
        # The agent was frozen for so long that a successor may have run the attempt and removed it.
        os.close(gate_write)
        os.waitpid(job, 0)
        _tell(ready_fd, LATE)
        return
    # The record is on disk before the job's first instruction: who finds no record may start the attempt again.
    pid = os.getpid()
    try:
        reserve(f"{folder}/exit")
        write_whole(f"{folder}/record", f"{pid} {start_time(pid)} {boot_id()} {job} {started!r}\n")
    except OSError as refused:
        os.close(gate_write)
        os.waitpid(job, 0)
        _tell(ready_fd, f"{folder}: {refused.strerror}".encode())
        return
    os.write(gate_write, b"go")
    os.close(gate_write)
    error = os.read(error_read, 4096).decode("utf-8", "replace")
    os.close(error_read)
    if not error:
        _tell(ready_fd, b"ok")
    end = _Watch(folder, job).run()
    oom = "" if error or end.stopped else out_of_memory(folder, end.code or 0, kernel_kills() > kills, options)
    text = (
        f'{{"code": {end.code}, "error": "{_escape(error)}", "stopped": {str(end.stopped).lower()}, "oom": "{oom}", '
        f'"cpu_seconds": {end.cpu!r}, "max_rss": {end.rss}, "started_at": {started!r}, "finished_at": {time.time()!r}}}'
    )
    write_reserved(f"{folder}/exit", text)
    if error:
        _tell(ready_fd, error.encode())


def _become_job(
    folder: str, gate: int, errors: int, old_mask: set[int], options: dict[str, str], command: list[str]
) -> None:
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))  # a job never outlives its supervisor
        if not os.read(gate, 2):
            os._exit(127)
        for number in range(1, signal.NSIG):
            try:
                signal.signal(number, signal.SIG_DFL)  # Python ignores SIGPIPE, nohup SIGHUP; jobs expect neither
            except (OSError, ValueError):
                continue
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(os.open(f"{folder}/stdout", flags, 0o600), 1)
        os.dup2(os.open(f"{folder}/stderr", flags, 0o600), 2)
        _apply(options)
        os.execvpe(command[0], command, os.environ)  # noqa: S606 - no shell is the point
    except BaseException as error:
        number = getattr(error, "errno", None) or 0
        what = os.fsdecode(getattr(error, "filename", None) or command[0])
        if os.path.basename(what) == command[0]:  # the last place of PATH that it was looked for in
            what = command[0]
        os.write(errors, f"{what}: {os.strerror(number) if number else error}".encode()[:4000])
    os._exit(127)


def _apply(options: dict[str, str]) -> None:
    os.chdir(options["cwd"])
    if "nice" in options:
        os.nice(int(options["nice"]))
    if "memory" in options:
        import resource

        limit = int(options["memory"])
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if "cpus" in options:
        os.sched_setaffinity(0, {int(n) for n in options["cpus"].split(",")})


class _Watch:
    """Waits for the end of the job and of everything it started."""

    def __init__(self, folder: str, job: int) -> None:
        self.folder = folder
        self.job = job
        self.code: int | None = None
        self.stopped = False
        self.kill_at = 0.0
        self.cpu = 0.0
        self.rss = 0

    def run(self) -> _Watch:
        if os.path.exists(f"{self.folder}/stop"):
            self._stop()
        while self._reap():
            if self.code is not None:
                self._kill()
                signal.sigtimedwait({signal.SIGCHLD}, 0.01)
                continue
            wait = 3600.0
            if self.kill_at:
                wait = max(0.0, self.kill_at - time.monotonic())
                if not wait:
                    self._kill()
                    wait = 0.05
            info = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}, wait)
            if info is not None and info.si_signo != signal.SIGCHLD:
                self._stop()
        return self

    def _reap(self) -> bool:
        """Collect who has ended; False when nobody is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.cpu += usage.ru_utime + usage.ru_stime
            self.rss = max(self.rss, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
            if pid == self.job:
                self.code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _stop(self) -> None:
        try:
            with open(f"{self.folder}/stop") as file:
                grace = float(file.read())
        except (OSError, ValueError):
            grace = DEFAULT_GRACE
        until = time.monotonic() + grace
        self.kill_at = min(self.kill_at or until, until)
        if not self.stopped:
            self.stopped = True
            _send(os.killpg, self.job, signal.SIGTERM)
            _send(os.killpg, self.job, signal.SIGCONT)

    def _kill(self) -> None:
        if self.code is None:
            _send(os.killpg, self.job, signal.SIGKILL)
        for pid in children():
            _send(os.kill, pid, signal.SIGKILL)


def out_of_memory(folder: str, code: int, killed: bool, options: dict[str, str]) -> str:
    """Whether a job that ended with `code` ran out of memory, see ``exit``.

    `killed`: the kernel has killed some process of this machine for want of memory meanwhile.
    """
    if code == 128 + signal.SIGKILL and killed:
        return "kernel"
    if code == 0 or "memory" not in options:
        return ""
    try:
        with open(f"{folder}/stderr", "rb") as file:
            file.seek(max(os.path.getsize(f"{folder}/stderr") - 2048, 0))
            words = file.read()
    except OSError:
        return ""
    return "limit" if any(word in words for word in REFUSED) else ""


def kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory since boot; 0 where it does not say."""
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def children() -> list[int]:
    """Direct children of this process; orphans of the job are among them, for it is their reaper."""
    me = os.getpid()
    try:
        with open(f"/proc/self/task/{me}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        pass
    names = os.listdir("/proc") if os.path.isdir("/proc") else []
    return [int(name) for name in names if name.isdigit() and _stat(int(name))[1:2] == [str(me)]]


def _stat(pid: int) -> list[str]:
    """Fields of ``/proc/<pid>/stat`` behind the name (which may hold anything); empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []


def start_time(pid: int) -> str:
    """When the process started, in clock ticks since boot: with the pid it names a process for good."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else "0"


def lease_clock() -> float:
    """As `windlass.clock.lease_clock`, which is not imported here."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Id of this boot of the machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return "-"


def write_whole(path: str, text: str) -> None:
    """Write a file so that it is seen whole or not at all.

    Without fsync: it has to outlive processes only. When the machine goes down the attempt is lost anyway.
    """
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


def reserve(path: str) -> None:
    """Take the space for a file that has to be written when the job may have filled the disk."""
    with open(f"{path}.new", "w") as file:
        file.write(" " * RESERVED)


def write_reserved(path: str, text: str) -> None:
    """As `write_whole`, in the space that was taken."""
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode())
    os.ftruncate(descriptor, len(text.encode()))
    os.close(descriptor)
    os.rename(f"{path}.new", path)


def _send(how, whom, number) -> None:  # type: ignore[no-untyped-def]
    try:
        how(whom, number)
    except (ProcessLookupError, PermissionError):
        pass


def _prctl(option: int, value: int) -> None:
    try:
        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type,unused-ignore]
        _ctypes.call_cdeclfunction(address, (option, value, 0, 0, 0))
    except (OSError, AttributeError):
        pass  # not Linux: what escapes the process group is not followed


def _tell(fd: int, data: bytes) -> None:
    try:
        os.write(fd, data)
    except OSError:
        pass  # the agent is gone; the files tell its successor
    os.close(fd)


def _escape(text: str) -> str:
    return "".join(c if c >= " " and c not in '"\\' else "?" for c in text)


if __name__ == "__main__":
    main(sys.argv)
