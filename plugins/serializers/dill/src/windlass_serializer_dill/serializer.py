"""Dill pickles."""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any, BinaryIO

from windlass.serializers import Serializer, reading, writing
from windlass_serializer_dill.config import DillConfig

_import_lock = threading.Lock()


class DillSerializer(Serializer):
    """Writes plain dill pickles, which ``dill.load`` reads too."""

    def __init__(self, config: DillConfig) -> None:
        self._config = config

    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write `obj`. See `Serializer.dump`."""
        config = self._config
        with writing(obj, "dill"):
            _dill().dump(
                obj, file, protocol=config.protocol, byref=config.byref, recurse=config.recurse, fmode=config.fmode
            )

    def load(self, file: BinaryIO) -> Any:
        """Read an object; runs the code it names. See `Serializer.load`."""
        with reading("dill"):
            return _dill().load(file, ignore=self._config.ignore)

    def versions(self) -> dict[str, str]:
        """Protocol and the version of dill."""
        return {
            "protocol": str(self._config.protocol),
            "dill": str(_dill().__version__),
        }


def _dill() -> Any:
    """The module. Its first import adds dill's types to the pickler of the standard library, for everybody in the
    process; that is taken back unless somebody else had imported dill before, who may count on it.
    """
    with _import_lock:
        known: ModuleType | None = sys.modules.get("dill")
        if known is not None:
            return known
        import dill

        dill.extend(use_dill=False)
        return dill
