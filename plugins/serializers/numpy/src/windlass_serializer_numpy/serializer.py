"""NumPy's own formats: ``.npy`` for an array, ``.npz`` for a dict of arrays."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from windlass.errors import SerializationError
from windlass.serializers import Serializer, reading, type_name, writing
from windlass_serializer_numpy.config import NumpyConfig

_HEADER = 10 + (1 << 16)  # the longest of format 1.0
_HINT = "Only plain arrays and dicts of them; use the serializer pickle for anything else."


class NumpySerializer(Serializer):
    """Writes arrays; never pickles, so that reading runs no code."""

    def __init__(self, config: NumpyConfig) -> None:
        self._config = config

    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write an array or a dict of arrays. See `Serializer.dump`."""
        from numpy.lib import format as npy

        with writing(obj, "numpy", hint=_HINT):
            if not isinstance(obj, Mapping):
                _check(obj, "$")
                npy.write_array(file, obj, allow_pickle=False)
                return
            for name, array in obj.items():
                _check_name(name)
                _check(array, f"$[{name!r}]")
            method = zipfile.ZIP_DEFLATED if self._config.compressed else zipfile.ZIP_STORED
            with zipfile.ZipFile(file, "w", method) as archive:
                for name, array in obj.items():
                    # Opened by name, a member gets a fixed date: equal arrays give equal bytes.
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        npy.write_array(member, array, allow_pickle=False)

    def dump_buffers(self, obj: Any) -> Sequence[memoryview | bytes] | None:
        """A header and the array's own memory. See `Serializer.dump_buffers`."""
        import numpy as np
        from numpy.lib import format as npy

        if isinstance(obj, Mapping):
            return None
        with writing(obj, "numpy", hint=_HINT):
            _check(obj, "$")
            flat = obj.reshape(-1, order="A") if obj.flags.forc else None
            if flat is None or not flat.nbytes:
                return None
            header = io.BytesIO()
            try:
                npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(obj))
            except ValueError:  # it does not fit into a header of this version
                return None
            return [header.getvalue(), flat.view(np.uint8).data]

    @property
    def reads_memory(self) -> bool:
        """True, unless a mapping of a file is asked for."""
        return not self._config.mmap_mode

    def load_memory(self, data: memoryview) -> Any:
        """Read an array, which lies in `data`, or a dict of arrays. See `Serializer.load_memory`."""
        import numpy as np
        from numpy.lib import format as npy

        head = io.BytesIO(data[:_HEADER])
        with reading("numpy"):
            if bytes(data[:4]) in (b"PK\x03\x04", b"PK\x05\x06") or npy.read_magic(head) != (1, 0):
                return self.load(io.BytesIO(data))
            shape, fortran, dtype = npy.read_array_header_1_0(head)
            count = math.prod(shape)
            if dtype.hasobject or not count or not dtype.itemsize:
                return self.load(io.BytesIO(data))
            if count * dtype.itemsize != len(data) - head.tell():
                raise SerializationError("the file does not have the size that its header says")
            flat = np.frombuffer(data, dtype, count, head.tell())
            return flat.reshape(shape, order="F" if fortran else "C")

    def load(self, file: BinaryIO) -> Any:
        """Read an array, or a dict of arrays. See `Serializer.load`."""
        with reading("numpy"):
            start = file.read(4)
            file.seek(0)
            if start in (b"PK\x03\x04", b"PK\x05\x06"):
                return _read_members(file)
            if self._config.mmap_mode and _is_real(file):
                return _mapped(file, self._config.mmap_mode)
            return _read_array(file)

    def versions(self) -> dict[str, str]:
        """The format, which every version of numpy reads."""
        return {"format": "npy"}


def _check(array: Any, where: str) -> None:
    import numpy as np

    if type(array) not in (np.ndarray, np.memmap):
        raise SerializationError(
            f"numpy cannot write a {type_name(array)}",
            where=where,
            hint=_HINT,
            context={"serializer": "numpy", "type": type_name(array)},
        )
    if array.dtype.hasobject:
        raise SerializationError(
            f"an array of Python objects (dtype {array.dtype}) would have to be pickled",
            where=where,
            hint="Give the array a dtype of its own, or use the serializer pickle.",
            context={"serializer": "numpy", "type": type_name(array)},
        )


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or "\0" in name:
        raise SerializationError(
            f"{name!r} cannot be the name of an array",
            hint="Names are texts without NUL.",
            context={"serializer": "numpy"},
        )


def _read_array(file: Any) -> Any:
    from numpy.lib import format as npy

    array = npy.read_array(file, allow_pickle=False)
    # Reading on to the end also makes a zip member compare its checksum.
    if file.read(1):
        raise SerializationError("there are bytes after the array", hint="One .npy file holds one array.")
    return array


def _read_members(file: BinaryIO) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename or name in arrays:
                raise SerializationError(
                    f"the member {info.filename!r} is no array, or is there twice", hint="This is not a .npz file."
                )
            with archive.open(info) as member:
                arrays[name] = _read_array(member)
    return arrays


def _is_real(file: BinaryIO) -> bool:
    try:
        return os.fstat(file.fileno()).st_size > 0
    except (OSError, AttributeError):
        return False


def _mapped(file: BinaryIO, mode: Any) -> Any:
    import numpy as np
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(file)
    else:
        file.seek(0)
        return _read_array(file)
    size = dtype.itemsize
    for length in shape:
        size *= length
    if dtype.hasobject or size != os.fstat(file.fileno()).st_size - file.tell():
        raise SerializationError("the file does not have the size that its header says")
    if size == 0:
        return np.empty(shape, dtype, "F" if fortran else "C")
    mapped = np.memmap(file, dtype, mode, file.tell(), shape, "F" if fortran else "C")
    return mapped.view(np.ndarray)
