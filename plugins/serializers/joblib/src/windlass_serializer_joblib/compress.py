"""Compressed writing, in the formats that ``joblib.load`` recognises by their first bytes."""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO, cast

from windlass.errors import UnsupportedError

_BUFFER = 1 << 20


class _ZlibWriter(io.RawIOBase):
    """A zlib stream: the standard library has files for the other formats, and none for this one."""

    def __init__(self, file: BinaryIO, level: int) -> None:
        self._file = file
        self._compressor = zlib.compressobj(level)
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            self._file.write(self._compressor.compress(view))
            self._position += view.nbytes
            return view.nbytes

    def close(self) -> None:
        if not self.closed:
            self._file.write(self._compressor.flush())
            super().close()


def compressed(file: BinaryIO, method: str, level: int | None) -> BinaryIO:
    """A file that writes compressed bytes into `file`. Closing it ends the stream and leaves `file` open.

    Args:
        file: Where the compressed bytes go.
        method: One of `config.METHODS`.
        level: 1 (fast) to 9 (small), or None for the method's default.

    Raises:
        UnsupportedError: The package that `method` needs is not installed.
    """
    return cast(BinaryIO, io.BufferedWriter(_raw(file, method, level), buffer_size=_BUFFER))


def _raw(file: BinaryIO, method: str, level: int | None) -> Any:
    if method == "zlib":
        return _ZlibWriter(file, 3 if level is None else level)
    if method == "gzip":
        import gzip

        # Neither name nor time: equal objects give equal bytes.
        return gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=level or 3, mtime=0)
    if method == "bz2":
        import bz2

        return bz2.BZ2File(file, "wb", compresslevel=level or 9)
    if method in ("lzma", "xz"):
        import lzma

        format = lzma.FORMAT_ALONE if method == "lzma" else lzma.FORMAT_XZ
        return lzma.LZMAFile(file, "wb", format=format, preset=level)
    try:
        from lz4.frame import LZ4FrameFile
    except ImportError:
        raise UnsupportedError("compressing with lz4 needs the package lz4", hint="pip install lz4") from None
    return LZ4FrameFile(file, "wb", compression_level=level or 0)
