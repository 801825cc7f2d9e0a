"""The folder of one attempt as the runner sees it. The supervisor writes it (`supervisor.py` lists the files)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from windlass.runners import LogLine, ResourceUsage
from windlass_runner_process.supervisor import boot_id, start_time, write_whole

_CHUNK = 256 * 1024
_SOON = 30
"""Seconds within which a supervisor starts its job."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@frozen(kw_only=True)
class Record:
    """Who supervises the attempt."""

    pid: int
    start: str
    boot: str
    job: int
    started_at: float

    def alive(self) -> bool:
        """True while the supervisor lives: same boot, same pid, same start time, and no zombie."""
        return self.boot == boot_id() and self.start == start_time(self.pid) != "0" and _state(self.pid) != "Z"


class Folder:
    """One attempt's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self) -> Record | None:
        """Who supervises it, None if the job has not been started."""
        try:
            pid, start, boot, job, started = (self.path / "record").read_text().split()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return Record(pid=int(pid), start=start, boot=boot, job=int(job), started_at=float(started))

    def exit(self) -> dict[str, Any] | None:
        """How it ended, None if it has not."""
        try:
            found: dict[str, Any] = json.loads((self.path / "exit").read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return found

    def stop(self, grace: float) -> None:
        """Ask the supervisor to end the job."""
        if not self.path.is_dir() or self.exit() is not None:
            return
        record = self.record()
        if record is not None and not record.alive():
            return  # whoever clears up after it may have no space to write anything
        try:
            write_whole(str(self.path / "stop"), repr(float(grace)))
        except FileNotFoundError:
            return  # removed at this moment
        except OSError:
            pass  # the disk is full: then its own grace has to do
        record = self.record()
        if record is None:
            return  # it looks for the request itself before it waits
        try:
            fd = os.pidfd_open(record.pid)
        except (ProcessLookupError, AttributeError, OSError):
            return
        try:
            if record.alive():  # asked after the pidfd was opened, so the pid cannot be another process by now
                signal.pidfd_send_signal(fd, signal.SIGTERM)
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)

    def logs(self, since: str) -> Iterator[LogLine]:
        """Output behind a cursor ``<stdout offset>:<stderr offset>``, as far as it is there."""
        parts = since.split(":") if since else ["0", "0"]
        offsets = {"stdout": int(parts[0]), "stderr": int(parts[1])}
        more = True
        while more:
            more = False
            for stream in ("stdout", "stderr"):
                block = _read(self.path / stream, offsets[stream])
                more = more or len(block) == _CHUNK
                for piece in _lines(block):
                    offsets[stream] += len(piece)
                    yield LogLine(
                        stream=stream, data=piece, cursor=f"{offsets['stdout']}:{offsets['stderr']}", time=0.0
                    )


def usage_of(job: int) -> ResourceUsage | None:
    """What a running job and its children use now; None when it is gone."""
    ticks, rss, todo, seen = 0, 0, [job], 0
    while todo and seen < 1000:
        pid = todo.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))
            rss += int(fields[21]) * _PAGE
            todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split())
            seen += 1
        except (OSError, IndexError):
            continue
    return ResourceUsage(cpu_seconds=ticks / _TICKS, max_rss=rss) if seen else None


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(_CHUNK) or b""
    except FileNotFoundError:
        return b""


def _lines(block: bytes) -> list[bytes]:
    """Split at line feeds only: a carriage return redraws a line, it does not end it."""
    lines = [line + b"\n" for line in block.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return "Z"


def kill_session(record: Record) -> None:
    """Kill what is left of a job whose supervisor was killed: processes that still are in its session."""
    session = record.job
    # While one of them lives the number is nobody else's. If its first process is younger, none of them does.
    if int(start_time(session)) > int(record.start) + _SOON * _TICKS:
        return
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not name.isdigit():
            continue
        try:
            if int(Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()[3]) == session:
                os.kill(int(name), signal.SIGKILL)
        except (OSError, IndexError):
            continue
