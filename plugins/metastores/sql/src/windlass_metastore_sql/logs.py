"""Stored output of runs: chunks of pieces, cursors that make appending exactly-once, and the size cap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from windlass.models.run import LogLine, LogPage
from windlass_metastore_sql.database import Tx

CAP = 64 * 1024 * 1024
"""Bytes kept of one run's output."""
HEAD = 16 * 1024 * 1024
"""Bytes of `CAP` that belong to the beginning."""

_CHUNK_BYTES = 256 * 1024
_CHUNK_LINES = 2000
_PAGE_BYTES = 8 * 1024 * 1024
_Piece = tuple[str, bytes, str, float]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Piece]).decode


def cursor(tx: Tx, run_id: str, source: str) -> str:
    """The stored cursor of a source."""
    row = tx.row("SELECT cursor FROM log_cursors WHERE run_id = ? AND source = ?", run_id, source)
    return str(row[0]) if row else ""


def append(tx: Tx, run_id: str, lines: Sequence[LogLine], source: str, before: str, after: str) -> bool:
    """Add pieces if the cursor of `source` is `before`. The run is locked by the caller."""
    if cursor(tx, run_id, source) != before:
        return False
    tx.run(
        "INSERT INTO log_cursors (run_id, source, cursor) VALUES (?, ?, ?) "
        "ON CONFLICT (run_id, source) DO UPDATE SET cursor = excluded.cursor",
        run_id,
        source,
        after,
    )
    if not lines:
        return True
    head = tx.row("SELECT next_pos, size, dropped, dropped_from, dropped_to FROM logs WHERE run_id = ?", run_id)
    next_pos, size, dropped, first, last = head or (0, 0, 0, -1, -1)
    for chunk, chunk_size in _chunks(lines):
        tx.run(
            "INSERT INTO log_chunks (run_id, pos, count, size, data) VALUES (?, ?, ?, ?, ?)",
            run_id,
            next_pos,
            len(chunk),
            chunk_size,
            _encode(chunk),
        )
        next_pos += len(chunk)
        size += chunk_size
    if size > CAP:
        first, last, removed = _drop(tx, run_id, first, last, size - CAP)
        size -= removed
        dropped += removed
    tx.run(
        "INSERT INTO logs (run_id, next_pos, size, dropped, dropped_from, dropped_to) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (run_id) DO UPDATE SET next_pos = excluded.next_pos, size = excluded.size, "
        "dropped = excluded.dropped, dropped_from = excluded.dropped_from, dropped_to = excluded.dropped_to",
        run_id,
        next_pos,
        size,
        dropped,
        first,
        last,
    )
    return True


def _chunks(lines: Sequence[LogLine]) -> Iterator[tuple[list[_Piece], int]]:
    chunk: list[_Piece] = []
    size = 0
    for line in lines:
        chunk.append((line.stream, line.data, line.cursor, line.time))
        size += len(line.data)
        if size >= _CHUNK_BYTES or len(chunk) >= _CHUNK_LINES:
            yield chunk, size
            chunk, size = [], 0
    if chunk:
        yield chunk, size


def _drop(tx: Tx, run_id: str, first: int, last: int, excess: int) -> tuple[int, int, int]:
    """Remove the oldest chunks behind the head until `excess` bytes are gone."""
    kept = 0
    removed = 0
    start = max(last, 0)
    rows = tx.rows("SELECT pos, count, size FROM log_chunks WHERE run_id = ? AND pos >= ? ORDER BY pos", run_id, start)
    for pos, count, size in rows[:-1]:  # the newest chunk always stays
        if first < 0 and kept < HEAD:
            kept += size
            continue
        if removed >= excess:
            break
        first = pos if first < 0 else first
        last = pos + count
        removed += size
        tx.run("DELETE FROM log_chunks WHERE run_id = ? AND pos = ?", run_id, pos)
    return first, last, removed


def read(tx: Tx, run_id: str, start: int, limit: int, *, over: bool) -> LogPage:
    """Pieces from position `start`."""
    head = tx.row("SELECT next_pos, dropped, dropped_from, dropped_to FROM logs WHERE run_id = ?", run_id)
    next_pos, dropped, first, last = head or (0, 0, -1, -1)
    position = max(start, 0)
    found: list[LogLine] = []
    size = 0
    while len(found) < limit and size < _PAGE_BYTES and position < next_pos:
        if first <= position < last:
            mark = f"[windlass: {dropped} bytes of output were left out here]\n"
            found.append(LogLine(stream="agent", data=mark.encode()))
            position = last
            continue
        row = tx.row(
            "SELECT pos, size, data FROM log_chunks WHERE run_id = ? AND pos <= ? ORDER BY pos DESC LIMIT 1",
            run_id,
            position,
        )
        if row is None:
            break
        pieces = _decode(row[2])[position - row[0] :][: limit - len(found)]
        found.extend(LogLine(stream=s, data=d, cursor=c, time=t) for s, d, c, t in pieces)
        position += len(pieces)
        size += row[1]
    return LogPage(lines=tuple(found), next=position, ended=over and position >= next_pos)
