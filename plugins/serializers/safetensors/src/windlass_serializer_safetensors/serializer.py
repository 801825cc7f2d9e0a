"""Dicts of arrays as safetensors."""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

from windlass.errors import SerializationError, UnsupportedError
from windlass.serializers import Serializer, reading, type_name, writing
from windlass_serializer_safetensors.config import SafetensorsConfig
from windlass_serializer_safetensors.header import ITEM_SIZES, Place, decode, encode

_HINT = "Only dicts of NumPy arrays with text keys; tensors of a framework: {name: tensor.numpy()}."
_SLICE = 1 << 22  # items that a strided or foreign-endian array is copied by
_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "float16": "F16", "uint32": "U32",
    "int32": "I32", "float32": "F32", "uint64": "U64", "int64": "I64", "float64": "F64", "complex64": "C64",
    "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


class SafetensorsSerializer(Serializer):
    """Writes arrays one after the other and reads them as views of one buffer; runs no code."""

    def __init__(self, config: SafetensorsConfig) -> None:
        self._config = config

    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write a dict of arrays. See `Serializer.dump`."""
        with writing(obj, "safetensors", hint=_HINT):
            if not isinstance(obj, Mapping):
                raise TypeError("not a dict of arrays")
            types = {name: _type_of(name, array) for name, array in obj.items()}
            # Big items first keep every array aligned; this is the order of the format's own library.
            order = sorted(obj, key=lambda name: (-ITEM_SIZES[types[name]], name))
            places: dict[str, Place] = {}
            end = 0
            for name in order:
                begin, end = end, end + obj[name].nbytes
                places[name] = Place(dtype=types[name], shape=obj[name].shape, begin=begin, end=end)
            file.write(encode({name: places[name] for name in obj}, self._config.metadata))
            for name in order:
                _write(obj[name], file)

    def load(self, file: BinaryIO) -> Any:
        """Read a dict of arrays. See `Serializer.load`."""
        import numpy as np

        with reading("safetensors"):
            places, size = decode(file)
            buffer, start = self._buffer(file, size)
            return {
                name: np.frombuffer(
                    buffer,
                    _dtype(place.dtype),
                    (place.end - place.begin) // ITEM_SIZES[place.dtype],
                    start + place.begin,
                ).reshape(place.shape)
                if place.end > place.begin
                else np.empty(place.shape, _dtype(place.dtype))
                for name, place in places.items()
            }

    def versions(self) -> dict[str, str]:
        """The format has one version."""
        return {"format": "1"}

    def _buffer(self, file: BinaryIO, size: int) -> tuple[Any, int]:
        """A writable buffer with the data, and where in it they begin."""
        import numpy as np

        start = file.tell() if file.seekable() else -1
        if start < 0:
            return _checked(bytearray(file.read()), size), 0
        _check_size(file.seek(0, os.SEEK_END) - start, size)
        file.seek(start)
        if self._config.mmap and size and (number := _fileno(file)) >= 0:
            # The mapping outlives the file object; arrays keep it alive.
            return mmap.mmap(number, 0, access=mmap.ACCESS_COPY), start
        buffer: Any = np.empty(size, np.uint8)  # a bytearray would be filled with zeros first
        view, done = memoryview(buffer), 0
        while done < size and (count := file.readinto(view[done:])):  # type: ignore[attr-defined]
            done += count
        _check_size(done, size)
        return buffer, 0


def _type_of(name: Any, array: Any) -> str:
    import numpy as np

    if not isinstance(name, str) or name == "__metadata__":
        raise SerializationError(f"{name!r} cannot be the name of an array", hint=_HINT)
    found = _NAMES.get(array.dtype.name) if type(array) in (np.ndarray, np.memmap) else None
    if found is None:
        what = f"{type_name(array)} of dtype {array.dtype}" if isinstance(array, np.ndarray) else type_name(array)
        raise SerializationError(
            f"safetensors cannot write a {what}",
            where=f"$[{name!r}]",
            hint=_HINT,
            context={"serializer": "safetensors", "type": type_name(array)},
        )
    return found


def _dtype(name: str) -> Any:
    import numpy as np

    wanted = _DTYPES[name]
    if name not in ("BF16", "F8_E4M3", "F8_E5M2"):
        return np.dtype(wanted).newbyteorder("<")
    try:
        import ml_dtypes
    except ImportError:
        raise UnsupportedError(
            f"arrays of {wanted} need the package ml_dtypes",
            hint="pip install 'windlass-serializer-safetensors[ml-dtypes]'",
        ) from None
    return np.dtype(getattr(ml_dtypes, wanted))


def _write(array: Any, file: BinaryIO) -> None:
    import numpy as np

    if not array.size:
        return
    if array.dtype.isbuiltin == 2:  # a type of ml_dtypes: write its bits
        array = array.view(f"u{array.dtype.itemsize}")
    little = array.dtype.newbyteorder("<")
    if array.flags.c_contiguous and array.dtype == little:
        file.write(memoryview(array.reshape(-1)).cast("B"))
        return
    slices = cast(Any, np.nditer)(
        array,
        ["external_loop", "buffered", "zerosize_ok"],
        [["readonly"]],
        [little],
        order="C",
        casting="equiv",
        buffersize=_SLICE,
    )
    file.writelines(part.tobytes() for part in slices)


def _fileno(file: BinaryIO) -> int:
    try:
        return file.fileno()
    except (io.UnsupportedOperation, AttributeError):
        return -1


def _checked(data: bytearray, size: int) -> bytearray:
    _check_size(len(data), size)
    return data


def _check_size(found: int, expected: int) -> None:
    if found != expected:
        raise SerializationError(
            f"not readable as safetensors: {expected} bytes of data expected, found {found}",
            hint="The file is cut off, or something was appended to it.",
            context={"serializer": "safetensors"},
        )
