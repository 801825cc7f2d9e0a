"""Which names a pickle may import. An allow-list: what nobody has looked at is not safe."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.trust.scan.report import Verdict

# Names that only build data, whatever their arguments are.
_SAFE = {
    "builtins": "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple",
    "collections": "ChainMap Counter OrderedDict defaultdict deque",
    "copyreg": "_reconstructor __newobj__",
    "_codecs": "encode",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "types": "SimpleNamespace",
    "uuid": "UUID SafeUUID",
    "zoneinfo": "ZoneInfo._unpickle",
    "array": "_array_reconstructor array",
    "numpy": "dtype ndarray matrix bool_ bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 "
    "float64 complex64 complex128 str_ bytes_ datetime64 timedelta64",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "numpy.ma.core": "MaskedArray _mareconstruct",
    "joblib.numpy_pickle": "NumpyArrayWrapper",
    "scipy.sparse._csr": "csr_matrix csr_array",
    "scipy.sparse._csc": "csc_matrix csc_array",
    "scipy.sparse._coo": "coo_matrix coo_array",
    "torch._utils": "_rebuild_tensor_v2 _rebuild_parameter",
    "torch": "FloatStorage DoubleStorage HalfStorage BFloat16Storage IntStorage LongStorage ByteStorage BoolStorage "
    "Size",
}

# Sharpens the words for what is not allowed anyway; nothing is allowed because it is missing here.
_DANGEROUS_MODULES = frozenset(
    {
        *("os", "posix", "nt", "subprocess", "sys", "shutil", "socket", "pty", "runpy", "importlib", "imp", "code"),
        *("codeop", "commands", "ctypes", "webbrowser", "multiprocessing", "signal", "threading", "asyncio", "pip"),
        *("pdb", "timeit", "cProfile", "profile", "trace", "bdb", "platform", "http", "urllib", "ftplib", "smtplib"),
    }
)
_DANGEROUS = {
    "builtins": "eval exec compile open __import__ getattr setattr delattr globals locals vars input breakpoint",
    "operator": "attrgetter methodcaller itemgetter",
    "functools": "reduce partial",
    "io": "open FileIO",
    "_io": "open FileIO",
    "types": "FunctionType CodeType",
    "numpy": "load",
    "torch": "load",
    "torch.hub": "load",
    "joblib": "load",
    "pickle": "load",
    "_pickle": "load",
}


def judge(module: str, name: str, allow: Iterable[str] = ()) -> Verdict:
    """What to think of an import.

    Args:
        module: As the pickle names it.
        name: As the pickle names it; may have dots.
        allow: More allowed names: ``module.name``, or ``module.*`` for each name of that one module. The star
            stands for no dots, since ``package.*`` would else allow ``package.os.system``.
    """
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
    if name in _SAFE.get(module, "").split():
        return Verdict.SAFE
    for pattern in allow:
        if pattern == f"{module}.{name}" or (pattern == f"{module}.*" and "." not in name):
            return Verdict.SAFE
    if name in _DANGEROUS.get(module, "").split() or module.partition(".")[0] in _DANGEROUS_MODULES:
        return Verdict.DANGEROUS
    return Verdict.REVIEW
