"""The serializer interface: Python objects to bytes and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, BinaryIO

__all__ = ["Serializer"]


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

    def versions(self) -> dict[str, str]:
        """Versions that matter when reading back: ``{"protocol": "5", "joblib": "1.4.2"}``. Recorded, compared."""
        return {}
