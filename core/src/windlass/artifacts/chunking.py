"""Where large files are cut: at boundaries that depend on the content, so that an insertion moves few of them."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CHUNK_MAX", "Cutter", "cutter"]

CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX = 1 << 20, 2 << 20, 8 << 20

Cutter = Callable[[memoryview, bool], list[int]]
"""Gives the lengths of the chunks at the beginning of a buffer; with True the buffer is the end of the file."""


def cutter() -> Cutter:
    """The best cutter that is installed: FastCDC (``pip install windlass-core[chunking]``), else fixed lengths."""
    try:
        from pyfastcdc import FastCDC
    except ImportError:
        return _fixed
    chunker = FastCDC(avg_size=CHUNK_AVERAGE, min_size=CHUNK_MIN, max_size=CHUNK_MAX)

    def cut(data: memoryview, last: bool) -> list[int]:
        return _complete([chunk.length for chunk in chunker.cut_buf(data)], last)

    return cut


def _fixed(data: memoryview, last: bool) -> list[int]:
    lengths = [CHUNK_AVERAGE] * (len(data) // CHUNK_AVERAGE)
    rest = len(data) % CHUNK_AVERAGE
    return [*lengths, rest] if last and rest else lengths


def _complete(lengths: list[int], last: bool) -> list[int]:
    # the chunk that the end of the buffer has cut goes on in the next one, unless it has the greatest length
    if not last and lengths and lengths[-1] < CHUNK_MAX:
        lengths = lengths[:-1]
    return lengths
