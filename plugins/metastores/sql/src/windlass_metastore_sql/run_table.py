"""The table of runs."""

from __future__ import annotations

from attrs import evolve

from windlass.errors import RunNotFoundError
from windlass.models.run import Run
from windlass_metastore_sql.database import Tx
from windlass_metastore_sql.rows import Mapper

RUNS = Mapper(Run)


def get_run(tx: Tx, run_id: str, *, lock: bool = False) -> Run:
    """The run; locked until the end of the transaction with `lock`. Raises `RunNotFoundError`."""
    if lock and tx.locks:
        tx.row("SELECT status FROM items WHERE run_id = ? {lock}", run_id)
    row = tx.row(f"SELECT {RUNS.columns} FROM runs WHERE id = ?{' {lock}' if lock else ''}", run_id)
    if row is None:
        raise RunNotFoundError(f"there is no run '{run_id}'", hint="`windlass run list` shows the runs there are.")
    return RUNS.load(row)


def unpacked(tx: Tx, text: str) -> Run:
    """The run of a row that was selected as `RUNS.packed`."""
    run = RUNS.unpack(text)
    if run is None:  # its name, say, holds the mark between columns
        run = evolve(get_run(tx, RUNS.peek(text, "id")), fence=RUNS.peek(text, "fence"))
    return run
