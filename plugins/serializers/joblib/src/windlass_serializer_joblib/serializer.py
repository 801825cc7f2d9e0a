"""Joblib pickles."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from windlass.serializers import Serializer, reading, writing
from windlass_serializer_joblib.config import JoblibConfig, compression


class JoblibSerializer(Serializer):
    """Writes joblib's own format, which ``joblib.load`` reads too."""

    def __init__(self, config: JoblibConfig) -> None:
        self._config = config

    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write `obj`. Arrays go to the file in slices of 16 MiB. See `Serializer.dump`."""
        from windlass_serializer_joblib.compress import compressed
        from windlass_serializer_joblib.pickler import FunctionPickler

        how = compression(self._config.compress)
        with writing(obj, "joblib"):
            if how is None:
                FunctionPickler(file, self._config.protocol).dump(obj)
                return
            with compressed(file, *how) as target:
                FunctionPickler(target, self._config.protocol).dump(obj)

    def load(self, file: BinaryIO) -> Any:
        """Read an object; runs the code it names. See `Serializer.load`."""
        import joblib

        with reading("joblib"):
            if self._config.mmap_mode and (path := _path(file)):
                return joblib.load(path, mmap_mode=self._config.mmap_mode)
            return joblib.load(file)

    def versions(self) -> dict[str, str]:
        """Protocol and the version of joblib, cloudpickle."""
        import cloudpickle
        import joblib

        return {
            "protocol": str(self._config.protocol),
            "joblib": str(joblib.__version__),
            "cloudpickle": str(cloudpickle.__version__),
        }


def _path(file: BinaryIO) -> str:
    """The path of a real file, or an empty text; a name that has come to mean another file does not count."""
    name = getattr(file, "name", None)
    try:
        if isinstance(name, str) and os.path.samestat(os.stat(name), os.fstat(file.fileno())):
            return name
    except (OSError, ValueError, AttributeError):
        pass
    return ""
