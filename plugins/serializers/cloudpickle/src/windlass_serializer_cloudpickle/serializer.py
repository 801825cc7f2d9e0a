"""Cloudpickles."""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO

from windlass.serializers import Serializer, reading, writing
from windlass_serializer_cloudpickle.config import CloudpickleConfig


class CloudpickleSerializer(Serializer):
    """Writes cloudpickles as plain pickle streams, which ``pickle.load`` reads where cloudpickle is installed."""

    def __init__(self, config: CloudpickleConfig) -> None:
        self._config = config

    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write `obj`. See `Serializer.dump`."""
        import cloudpickle

        with writing(obj, "cloudpickle"):
            cloudpickle.dump(obj, file, protocol=self._config.protocol)

    def load(self, file: BinaryIO) -> Any:
        """Read an object; runs the code it names. See `Serializer.load`."""
        with reading("cloudpickle"):
            return pickle.load(file)

    def versions(self) -> dict[str, str]:
        """Protocol and the version of cloudpickle."""
        import cloudpickle

        return {
            "protocol": str(self._config.protocol),
            "cloudpickle": str(cloudpickle.__version__),
        }
