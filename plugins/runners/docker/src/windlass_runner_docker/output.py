"""Reading a container's output: frames of the engine's log, and cursors that survive equal timestamps."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache

from windlass.models.run import LogLine

__all__ = ["entries", "parse_cursor", "read"]

_STREAMS = {1: "stdout", 2: "stderr"}
_SLACK = 500_000_000
"""Nanoseconds by which entries of the two streams may be out of order in the engine's log."""


_PIECE = 16 * 1024
"""Bytes of a piece of a longer line in the engine's log."""


def parse_cursor(cursor: str) -> tuple[int, int]:
    """A cursor ``<anchor in nanoseconds>/<entries read since then>`` in its parts."""
    anchor, _, count = cursor.partition("/")
    return (int(anchor), int(count)) if cursor else (0, 0)


def entries(chunks: Iterable[bytes]) -> Iterator[tuple[str, int, bytes]]:
    """Stream, time in nanoseconds and bytes of each log entry, from the engine's multiplexed answer."""
    buffer = bytearray()
    cut: set[int] = set()
    for chunk in chunks:
        buffer += chunk
        start = 0
        while len(buffer) - start >= 8:
            size = int.from_bytes(buffer[start + 4 : start + 8], "big")
            if len(buffer) - start < 8 + size:
                break
            frame = bytes(buffer[start + 8 : start + 8 + size])
            stamp, _, data = frame.partition(b" ")
            whole = data.endswith(b"\n")
            if buffer[start] in cut and len(data) < _PIECE and not whole:
                data += b"\n"  # log drivers differ: that of `local` drops the end of a line that was cut in pieces
            (cut.add if len(data) >= _PIECE and not whole else cut.discard)(buffer[start])
            yield _STREAMS.get(buffer[start], "stdout"), _nanoseconds(stamp.decode("ascii")), data
            start += 8 + size
        del buffer[:start]


def read(found: Iterable[tuple[str, int, bytes]], cursor: str) -> Iterator[LogLine]:
    """Log lines behind a cursor.

    The engine can only be asked for entries from a time on. Several may bear the same time, and those of stdout and
    stderr may stand a little out of order. So a cursor names a time in the past, the anchor, and how many entries
    from then on were read: in the order of the engine's file that count never changes.

    Args:
        found: Entries from the cursor's anchor on.
        cursor: Where to go on.
    """
    anchor, skip = parse_cursor(cursor)
    window: list[int] = []
    newest = anchor
    for stream, stamp, data in found:
        if stamp < anchor:
            continue
        window.append(stamp)
        newest = max(newest, stamp)
        if len(window) <= skip:
            continue
        if newest - anchor > 2 * _SLACK:
            anchor = newest - _SLACK
            window = [seen for seen in window if seen >= anchor]
            skip = 0
        yield LogLine(stream=stream, data=data, cursor=f"{anchor}/{len(window)}", time=stamp / 1e9)


def _nanoseconds(stamp: str) -> int:
    return _seconds(stamp[:19]) * 1_000_000_000 + int(stamp[20:29].rstrip("Z").ljust(9, "0"))


@lru_cache(maxsize=64)
def _seconds(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
