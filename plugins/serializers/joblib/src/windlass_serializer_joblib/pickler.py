"""Joblib's pickler, with functions and classes that have no name to import stored by cloudpickle."""

from __future__ import annotations

import pickle
import sys
from types import FunctionType, ModuleType
from typing import Any, BinaryIO

import cloudpickle
from joblib.numpy_pickle import NumpyPickler


class FunctionPickler(NumpyPickler):  # type: ignore[misc]  # joblib has no type hints
    """Writes what ``joblib.dump`` writes; lambdas, closures and local classes as a cloudpickle inside.

    Joblib alone refuses those, and works by chance where another package has patched the standard pickler. Here
    nothing global is touched, and ``joblib.load`` reads the result wherever cloudpickle is installed.
    """

    def __init__(self, file: BinaryIO, protocol: int) -> None:
        super().__init__(file, protocol=protocol)
        self._protocol = protocol

    def reducer_override(self, obj: Any) -> Any:
        """Called by the pickler for every object before anything else."""
        if isinstance(obj, ModuleType) or (isinstance(obj, (FunctionType, type)) and not _importable(obj)):
            return cloudpickle.loads, (cloudpickle.dumps(obj, protocol=self._protocol),)
        return NotImplemented

    def save(self, obj: Any) -> None:
        """Joblib hands arrays of objects to a new plain pickler, which knows no lambdas; keep them in this one."""
        if self.np is not None and type(obj) is self.np.ndarray and obj.dtype.hasobject:
            pickle._Pickler.save(self, obj)  # type: ignore[attr-defined]
        else:
            super().save(obj)


def _importable(obj: Any) -> bool:
    """Whether another process finds `obj` under its name. ``__main__`` is another module there."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return False
    found: Any = module
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj
