# ruff: noqa: D102  (the methods are those of the machine; what each does is its opcode)
"""Reads a pickle as the unpickler does, with every import and call written down and none made.

The machine is the unpickler of the standard library; what would reach outside is replaced: imports give a `Thing` that
stands for the name, calls give a `Thing` that stands for the result. So positions, frames, the memo and joblib's raw
arrays between the opcodes are right, which a reader of opcodes alone cannot know.
"""

from __future__ import annotations

import math
import pickle
import reprlib
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

_Unpickler: Any = pickle._Unpickler
OPCODES = frozenset(getattr(pickle, name)[0] for name in pickle.__all__ if isinstance(getattr(pickle, name), bytes))
_WRAPPERS = ("joblib.numpy_pickle.NumpyArrayWrapper",)
_HAS_OBJECTS = 1  # flag of a dtype's state
_MAX_CALLS = 10_000


class CannotFollow(Exception):
    """The bytes are no pickle, or one that cannot be followed without running it."""


class Thing:
    """Stands for something the pickle would import or make."""

    __slots__ = ("arguments", "function", "name", "state")

    def __init__(self, name: str, function: Thing | None = None, arguments: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.function = function
        self.arguments = arguments
        self.state: Any = None

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Recorder(_Unpickler):  # type: ignore[misc]
    """Follows one pickle stream from the current position of a file.

    Args:
        file: Seekable.
        joblib: Pass over joblib's raw arrays. A plain unpickler does not: it would run what lies there.
        parent: Whose findings to go on with.

    Attributes:
        imports: (module, name) pairs in order, each once.
        calls: (function, arguments) texts in order.
        payloads: Byte strings given to calls: pickles may be nested in them.
        cuts: (begin, end) of raw data between the opcodes.
        inner: (begin, end) of the pickles of arrays of objects between the opcodes; they are followed, too.
        changed: Imported things whose attributes would be changed.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Unpickler.dispatch)

    def __init__(self, file: BinaryIO, *, joblib: bool = False, parent: Recorder | None = None) -> None:
        super().__init__(file, encoding="latin-1")
        self.file = file
        self.joblib = joblib
        self.imports: dict[tuple[str, str], None] = parent.imports if parent else {}
        self.calls: list[tuple[str, str]] = parent.calls if parent else []
        self.payloads: list[bytes | bytearray] = parent.payloads if parent else []
        self.changed: list[str] = parent.changed if parent else []
        self.cuts: list[tuple[int, int]] = []
        self.inner: list[tuple[int, int]] = []

    def follow(self) -> Any:
        """Read to the end of the stream.

        Raises:
            CannotFollow: See there.
        """
        try:
            return self.load()
        except CannotFollow:
            raise
        except OSError:
            raise
        except Exception as error:
            raise CannotFollow(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from None

    # -- what would reach outside --------------------------------------------------------------------------------

    def find_class(self, module: str, name: str) -> Thing:
        self.imports[(str(module), str(name))] = None
        return Thing(f"{module}.{name}")

    def get_extension(self, code: int) -> None:
        self.append(self.find_class("copyreg", f"extension-{code}"))

    def persistent_load(self, pid: Any) -> Thing:
        # Loaders of frameworks give the meaning; the id itself is data.
        return Thing("persistent", arguments=(pid,))

    def called(self, function: Any, arguments: Any, keywords: Any = None) -> Thing:
        args = tuple(arguments) if isinstance(arguments, (tuple, list)) else (arguments,)
        if keywords:
            args += (keywords,)
        name = function.name if isinstance(function, Thing) else f"<{type(function).__name__}>"
        if len(self.calls) < _MAX_CALLS:
            self.calls.append((name, ", ".join(map(_short.repr, args))))
        self.payloads += [
            arg for arg in args if isinstance(arg, (bytes, bytearray)) and len(arg) > 1 and arg[0] in OPCODES
        ]
        return Thing(name, function if isinstance(function, Thing) else None, args)

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self.called(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        self.stack.append(self.called(self.stack.pop(), arguments))

    def load_newobj_ex(self) -> None:
        keywords, arguments, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.append(self.called(kind, arguments, keywords))

    def _instantiate(self, kind: Any, arguments: Any) -> None:
        self.append(self.called(kind, arguments))

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Thing):
            target.state = state
            if target.function is None:
                self.changed.append(target.name)
            elif self.joblib and target.name in _WRAPPERS:
                self.stack[-1] = self._skip_array(target)

    def load_append(self) -> None:
        value = self.stack.pop()
        if isinstance(self.stack[-1], list):
            self.stack[-1].append(value)

    def load_appends(self) -> None:
        values = self.pop_mark()
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        if isinstance(self.stack[-1], dict):
            self.stack[-1][key] = value

    def load_setitems(self) -> None:
        values = self.pop_mark()
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def load_additems(self) -> None:
        values = self.pop_mark()
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(values)

    def load_next_buffer(self) -> None:
        self.append(Thing("buffer"))

    def load_readonly_buffer(self) -> None:
        """Changes nothing that matters here."""

    def load_bytearray8(self) -> None:
        # The one of the standard library makes room for as much as the pickle claims.
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    # -- joblib --------------------------------------------------------------------------------------------------

    def _skip_array(self, wrapper: Thing) -> Thing:
        """Pass over the raw items that joblib writes behind a wrapper."""
        state = wrapper.state if isinstance(wrapper.state, dict) else {}
        size, has_objects = _item(state.get("dtype"))
        begin = self.file.tell()
        if has_objects:
            Recorder(self.file, joblib=True, parent=self).follow()
            self.inner.append((begin, self.file.tell()))
            return Thing("numpy.ndarray")
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = self.file.read(1)
            self.file.seek(padding[0] if padding else 0, 1)
        shape = state.get("shape")
        if not isinstance(shape, tuple):
            raise CannotFollow("an array of joblib without a shape")
        lengths = [_number(length) for length in shape]
        self.file.seek(math.prod(lengths) * size, 1)
        self.cuts.append((begin, self.file.tell()))
        return Thing("numpy.ndarray")

    for _code, _method in (
        (pickle.REDUCE, load_reduce),
        (pickle.NEWOBJ, load_newobj),
        (pickle.NEWOBJ_EX, load_newobj_ex),
        (pickle.BUILD, load_build),
        (pickle.APPEND, load_append),
        (pickle.APPENDS, load_appends),
        (pickle.SETITEM, load_setitem),
        (pickle.SETITEMS, load_setitems),
        (pickle.ADDITEMS, load_additems),
        (pickle.NEXT_BUFFER, load_next_buffer),
        (pickle.READONLY_BUFFER, load_readonly_buffer),
        (pickle.BYTEARRAY8, load_bytearray8),
    ):
        dispatch[_code[0]] = _method
    del _code, _method


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self.maxlevel = 3

    def repr_bytes(self, value: bytes, _level: int) -> str:
        return repr(value) if len(value) <= 40 else f"<{len(value)} bytes>"

    repr_bytearray = repr_bytes


_short = _Short()


def _number(value: Any) -> int:
    if isinstance(value, Thing) and value.arguments:  # a numpy scalar: dtype and bytes
        raw = value.arguments[-1]
        value = int.from_bytes(raw, "little") if isinstance(raw, bytes) else raw
    if not isinstance(value, int) or value < 0:
        raise CannotFollow("an array of joblib with a length that is no number")
    return value


def _item(dtype: Any) -> tuple[int, bool]:
    """Bytes per item of a pickled dtype, and whether it holds objects."""
    code = dtype.arguments[0] if isinstance(dtype, Thing) and dtype.arguments else None
    if not isinstance(code, str) or not code:
        raise CannotFollow("an array of joblib whose type is unknown")
    state = dtype.state if isinstance(dtype.state, tuple) else ()
    flags = state[7] if len(state) > 7 and isinstance(state[7], int) else 0
    if code.lstrip("<>|=").startswith("O") or flags & _HAS_OBJECTS:
        return 0, True
    digits = code.lstrip("<>|=")[1:]
    if not digits.isdigit():
        raise CannotFollow(f"an array of joblib of the type {code!r}")
    return int(digits) * (4 if code.lstrip("<>|=")[0] == "U" else 1), False
