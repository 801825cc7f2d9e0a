"""What a run could not send before its process ended: kept in a file, sent by the next run that reaches the store."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from attrs import frozen

from windlass import wire
from windlass.errors import ConflictError, NotFoundError, WindlassError
from windlass.metastore import MetadataStore
from windlass.models.run import MetricRow, RunUpdate
from windlass.sdk.sender import Sender
from windlass.sdk.spool import Spool
from windlass.settings import Settings

__all__ = ["keep", "new_spool", "send_all"]

_log = logging.getLogger("windlass")


@frozen(kw_only=True)
class _Header:
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
        claimed = path.with_suffix(".sending")
        try:
            path.rename(claimed)  # one process sends it
        except OSError:
            continue
        try:
            if _send(store, settings, claimed):
                claimed.unlink()
                done += 1
                continue
        except (ConflictError, NotFoundError) as error:
            _log.warning("%s is dropped: %s", path.name, error.message)
            claimed.unlink(missing_ok=True)
            continue
        except (WindlassError, OSError) as error:
            _log.debug("%s stays: %s", path.name, error)
        with contextlib.suppress(OSError):
            claimed.rename(path)
    return done


def _send(store: MetadataStore, settings: Settings, path: Path) -> bool:
    with path.open("rb") as file:
        header = wire.decode(file.readline(), _Header)
        if header.store != settings.store_url:
            return False
        rows = [wire.decode(line, MetricRow) for line in file if line.strip()]
    for start in range(0, len(rows), 500):
        store.runs.log_metrics(header.run, rows[start : start + 500], attempt=header.attempt)
    if header.update is not None:
        store.runs.update(header.run, header.update, attempt=header.attempt)
    return True
