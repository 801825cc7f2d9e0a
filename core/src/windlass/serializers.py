"""The serializer interface: Python objects to bytes and back."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from windlass.errors import NoSpaceError, SerializationError, StorageError, WindlassError

__all__ = ["Serializer", "reading", "type_name", "writing"]


class Serializer(ABC):
    """Writes and reads objects of one format. Made with the parameters of one call; not shared by threads."""

    @abstractmethod
    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write `obj` to a binary file opened for writing. Streams; makes no second copy of large buffers.

        Raises:
            SerializationError: This format cannot hold the object. Names its type.
        """

    @abstractmethod
    def load(self, file: BinaryIO) -> Any:
        """Read the object from a binary file at its beginning. A real file may be memory-mapped.

        Raises:
            SerializationError: The bytes are not of this format, or are cut off.
        """

    def dump_buffers(self, obj: Any) -> Sequence[memoryview | bytes] | None:
        """What `dump` would write, as contiguous buffers; large ones are the object's own memory.

        None when there is no such form of this object (or of any), so that `dump` has to write it.

        Raises:
            SerializationError: As `dump`.
        """
        return None

    @property
    def reads_memory(self) -> bool:
        """Whether `load_memory` is there, and better than `load` for content that fits into memory."""
        return False

    def load_memory(self, data: memoryview) -> Any:
        """Read the object from all its bytes. The memory is writable and nobody else's: the object may keep it.

        Raises:
            SerializationError: As `load`.
        """
        raise NotImplementedError

    def versions(self) -> dict[str, str]:
        """Versions that matter when reading back: ``{"protocol": "5", "joblib": "1.4.2"}``. Recorded, compared."""
        return {}


def type_name(value: Any) -> str:
    """Qualified name of a value's type, as in `SerializerPlugin.handles`: ``numpy.ndarray``."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def writing(obj: Any, format: str, *, hint: str = "") -> Iterator[None]:
    """Give what a library raises while it writes `obj` the class and the words of Windlass.

    Args:
        obj: What is written; the message names its type.
        format: Name of the serializer.
        hint: What to do when the object does not fit.

    Raises:
        SerializationError: For everything that is neither a `WindlassError` nor an `OSError`.
        NoSpaceError, StorageError: For an `OSError` of the file.
    """
    try:
        yield
    except WindlassError:
        raise
    except OSError as error:
        raise _file_error(error, "written") from error
    except Exception as error:
        raise SerializationError(
            f"{format} cannot write a {type_name(obj)}: {_reason(error)}",
            hint=hint or "Use another serializer, or reduce the object to what this one holds.",
            context={"serializer": format, "type": type_name(obj)},
        ) from error


@contextmanager
def reading(format: str, *, hint: str = "") -> Iterator[None]:
    """Give what a library raises while it reads the class and the words of Windlass.

    Raises:
        SerializationError: For everything that is neither a `WindlassError` nor an `OSError` of the file.
        StorageError: For an `OSError` with a number, which comes from the file and not from its content.
    """
    try:
        yield
    except WindlassError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _file_error(error, "read") from error
        missing = isinstance(error, ModuleNotFoundError) and error.name
        default = (
            f"Install the module '{missing}'." if missing else "The bytes are damaged, cut off or of another format."
        )
        raise SerializationError(
            f"not readable as {format}: {_reason(error)}", hint=hint or default, context={"serializer": format}
        ) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _file_error(error: OSError, done: str) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError("the disk is full", where=str(error.filename or ""), hint="Free some space and try again.")
    return StorageError(f"the file cannot be {done}: {error.strerror or error}", where=str(error.filename or ""))
