"""What a run could not send before its process ended: kept in a file, sent by the next run that reaches the store."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from windlass import wire
from windlass.errors import ConflictError, NotFoundError, WindlassError
from windlass.metastore import MetadataStore
from windlass.models.run import RunUpdate
from windlass.sdk.sender import Sender
from windlass.sdk.spool import Spool
from windlass.settings import Settings

__all__ = ["keep", "new_spool", "send_all"]

_log = logging.getLogger("windlass")


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    store: str
    run: str
    attempt: int | None = None
    update: RunUpdate | None = None


def new_spool(settings: Settings, run_id: str) -> Spool:
    """The queue of a run's unsent rows."""
    return Spool(settings.home / "spool" / f"{run_id}-{os.getpid()}.part")


def keep(settings: Settings, run_id: str, attempt: int | None, sender: Sender) -> None:
    """Write what is left to a file and say so; what was refused for good is dropped."""
    if sender.fenced or sender.failed:
        sender.spool.close()
        return
    header = _Header(store=settings.store_url, run=run_id, attempt=attempt, update=sender.leftovers())
    try:
        sender.spool.save(wire.encode(header))
    except OSError as error:
        _log.error("run %s: its last metrics are lost: they could not be sent nor written: %s", run_id, error)
        return
    _log.warning(
        "run %s: the store is out of reach; what is left is kept in %s and sent by the next run",
        run_id,
        sender.spool.path.with_suffix(".jsonl"),
    )


def send_all(store: MetadataStore, settings: Settings) -> int:
    """Send what earlier runs have left for this store; returns how many files that was. Never raises."""
    done = 0
    folder = settings.home / "spool"
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one process sends it; a lock ends with its process
                if path.exists() and _send(store, settings, file, path.with_suffix(".part")):
                    path.unlink()
                    done += 1
        except (WindlassError, OSError) as error:
            _log.debug("%s stays: %s", path.name, error)
    return done


def _send(store: MetadataStore, settings: Settings, file: BinaryIO, part: Path) -> bool:
    header = wire.decode(file.readline(), _Header)
    if header.store != settings.store_url:
        return False
    spool = Spool(part)
    for line in file:
        spool.append(line.rstrip(b"\n"))
    try:
        Sender(store, header.run, header.attempt, spool, update=header.update).drain()
    except (ConflictError, NotFoundError) as error:
        _log.warning("%s is dropped: %s", file.name, error.message)
    finally:
        spool.close()
    return True
