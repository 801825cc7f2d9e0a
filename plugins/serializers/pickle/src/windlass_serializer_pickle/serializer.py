"""Pickle files whose large buffers lie behind the stream, where they can be memory-mapped.

The format, all numbers little-endian::

    pickle stream                     a plain pickle; when there are no large buffers this is the whole file
    padding                           zeros up to a multiple of 64
    buffer 0, padding, buffer 1, …    each begins at a multiple of 64
    table                             per buffer: offset (u64), length (u64)
    length of the pickle stream       u64
    number of buffers                 u64
    mark                              b"windlass-pickle1"
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import pickle
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from windlass.errors import NoSpaceError, SerializationError, StorageError
from windlass.serializers import Serializer
from windlass_serializer_pickle.config import PickleSerializerConfig

__all__ = ["PickleSerializer"]

_MARK = b"windlass-pickle1"
_TAIL = struct.Struct("<QQ16s")
_ROW = struct.Struct("<QQ")
_ALIGN = 64
_LARGE = 4096  # smaller buffers stay in the stream
_HELD = 64 << 20  # a longer stream is written to a file


class PickleSerializer(Serializer):
    """Python objects as pickles.

    Args:
        config: Parameters of the dump.
    """

    def __init__(self, config: PickleSerializerConfig | None = None) -> None:
        self._config = config or PickleSerializerConfig()

    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write `obj`; its large buffers are written from where they are, without a copy."""
        counted = _Counted(file)
        with self._explained(obj):
            buffers = self._pickle(obj, counted)
            for piece in _behind(counted.position, buffers):
                counted.write(piece)

    def dump_buffers(self, obj: Any) -> Sequence[memoryview | bytes] | None:
        """The same as buffers; None when much would have to be copied, because the object has no buffers of its own."""
        stream = _Bounded()
        with self._explained(obj):
            try:
                buffers = self._pickle(obj, stream)
            except _TooMuchError:
                return None
            return [stream.getbuffer(), *_behind(stream.tell(), buffers)]

    def _pickle(self, obj: Any, file: Any) -> list[memoryview]:
        """Write the stream; returns the buffers that are not in it."""
        buffers: list[memoryview] = []

        def keep(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes < _LARGE:
                return True  # stays in the stream
            buffers.append(raw)
            return False

        pickle.Pickler(
            file,
            self._config.protocol,
            fix_imports=self._config.fix_imports,
            buffer_callback=keep if self._config.protocol >= 5 else None,
        ).dump(obj)
        return buffers

    @contextmanager
    def _explained(self, obj: Any) -> Iterator[None]:
        try:
            with _disk_full():
                yield
        except (StorageError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise SerializationError(
                f"a {_name(obj)} cannot be pickled: {error}",
                hint="Objects of local classes, lambdas and open files need another serializer (cloudpickle, dill), "
                "or must be turned into data first.",
            ) from error

    @property
    def reads_memory(self) -> bool:
        """True: buffers need not be mapped from a file."""
        return True

    def load_memory(self, data: memoryview) -> Any:
        """Read the object; large buffers stay where they are."""
        return self.load(_Memory(data))

    def load(self, file: BinaryIO) -> Any:
        """Read the object; large buffers of a real file are mapped, not read, and private to this process."""
        end = file.seek(0, os.SEEK_END)
        table, stream_size = _read_table(file, end)
        file.seek(0)
        try:
            if not table:
                value = pickle.load(file)
                used = file.tell()
            else:
                window = _Window(file, stream_size)
                value = pickle.Unpickler(io.BufferedReader(window), buffers=_map(file, end, table)).load()
                used = end
        except (
            pickle.UnpicklingError,
            EOFError,
            ValueError,
            IndexError,
            KeyError,
            OverflowError,
            MemoryError,
        ) as error:
            raise SerializationError(
                f"the bytes are no pickle, or are cut off: {error or type(error).__name__}",
                hint="The file is damaged, or was written by another serializer.",
            ) from error
        except (ImportError, AttributeError) as error:
            raise SerializationError(
                f"the pickle needs code that is not here: {error}",
                hint="Install the packages the object was made with, in the same versions.",
            ) from error
        except Exception as error:
            raise SerializationError(f"the pickle cannot be read: {type(error).__name__}: {error}") from error
        if used != end:
            raise SerializationError(f"{end - used} bytes follow the end of the pickle", hint="The file is damaged.")
        return value

    def versions(self) -> dict[str, str]:
        """The protocol."""
        return {"protocol": str(self._config.protocol)}


class _Counted:
    """What the pickler writes to; knows the position also when the file cannot tell."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.position = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        size = view.nbytes
        while view.nbytes:
            done = self._file.write(view)
            view = view[done:] if done is not None and done < view.nbytes else view[view.nbytes :]
        self.position += size
        return size


class _TooMuchError(BaseException):
    """The stream is too large to be held. Passes by what catches `Exception`."""


class _Bounded(io.BytesIO):
    """A stream in memory that does not grow without end."""

    def write(self, data: Any) -> int:
        if self.tell() + memoryview(data).nbytes > _HELD:
            raise _TooMuchError
        return super().write(data)


class _Memory(io.BufferedReader):
    """A file over memory that can be used in place.

    Attributes:
        view: All of it.
    """

    def __init__(self, view: memoryview) -> None:
        self.view = view
        super().__init__(_Bytes(view), 1 << 14)


class _Bytes(io.RawIOBase):
    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._view)}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._view[self._position : self._position + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class _Window(io.RawIOBase):
    """The first bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _behind(stream_size: int, buffers: list[memoryview]) -> Iterator[memoryview | bytes]:
    """What follows the stream: nothing when there are no buffers."""
    if not buffers:
        return
    position, table = stream_size, b""
    for buffer in buffers:
        padding = bytes(-position % _ALIGN)
        yield padding
        position += len(padding)
        table += _ROW.pack(position, buffer.nbytes)
        yield buffer
        position += buffer.nbytes
    yield table
    yield _TAIL.pack(stream_size, len(buffers), _MARK)


def _read_table(file: BinaryIO, end: int) -> tuple[list[tuple[int, int]], int]:
    """Offsets and lengths of the buffers, and the length of the stream; no buffers when it is a plain pickle."""
    if end < _TAIL.size:
        return [], end
    file.seek(end - _TAIL.size)
    stream_size, count, mark = _TAIL.unpack(file.read(_TAIL.size))
    if mark != _MARK:
        return [], end
    start = end - _TAIL.size - count * _ROW.size
    if start < stream_size or not count:
        raise SerializationError("the table of buffers does not fit the file", hint="The file is damaged.")
    file.seek(start)
    rows = list(_ROW.iter_unpack(file.read(count * _ROW.size)))
    position = stream_size
    for offset, length in rows:
        if offset < position or offset + length > start:
            raise SerializationError("a buffer does not fit the file", hint="The file is damaged.")
        position = offset + length
    return rows, stream_size


def _map(file: BinaryIO, end: int, table: list[tuple[int, int]]) -> list[Any]:
    if isinstance(file, _Memory):
        return [file.view[offset : offset + length] for offset, length in table]
    try:
        mapped: Any = mmap.mmap(file.fileno(), end, access=mmap.ACCESS_COPY)
    except (OSError, ValueError, AttributeError):  # no real file
        buffers = []
        for offset, length in table:
            file.seek(offset)
            buffers.append(bytearray(file.read(length)))
        file.seek(0)
        return buffers
    view = memoryview(mapped)
    return [view[offset : offset + length] for offset, length in table]


@contextmanager
def _disk_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError("the disk is full", hint="Free some space and try again.") from error
        raise


def _name(obj: Any) -> str:
    return f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")
