"""The scanner: what it finds, what it lets pass, and that it runs nothing."""

from __future__ import annotations

import bz2
import collections
import datetime as dt
import gzip
import io
import lzma
import pickle
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from windlass import wire
from windlass.errors import UsageError
from windlass.trust.scan import ScanReport, Verdict, render, scan_path
from windlass.trust.scan.allow import judge

RAN: list[str] = []


def explode(text: str) -> None:
    RAN.append(text)


class Bomb:
    """Would run `explode` when read."""

    def __reduce__(self) -> Any:
        return explode, ("boom",)


def system(command: str = "touch /nonexistent-windlass/x") -> bytes:
    """A pickle of protocol 2 that would run a command."""
    return b"\x80\x02cposix\nsystem\nX" + struct.pack("<I", len(command)) + command.encode() + b"\x85R."


def scan(tmp_path: Path, data: bytes, name: str = "value.pkl", **kwargs: Any) -> ScanReport:
    path = tmp_path / name
    path.write_bytes(data)
    report = scan_path(path, **kwargs)
    assert not RAN
    return report


DATA = {
    "plain": {"a": [1, 2.5, None, True, b"x" * 300], "t": (1, "é")},
    "standard library": [collections.OrderedDict(a=1), {1, 2}, frozenset([3]), dt.datetime(2026, 1, 1)],
    "deep": __import__("functools").reduce(lambda inner, _: [inner], range(150), []),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", DATA.values(), ids=DATA)
def test_data_are_safe(tmp_path: Path, value: Any, protocol: int) -> None:
    report = scan(tmp_path, pickle.dumps(value, protocol))
    assert report.verdict is Verdict.SAFE, list(render(report))
    assert len(report.pickles) == 1


@pytest.mark.parametrize("protocol", range(6))
def test_imports_and_calls_are_named(tmp_path: Path, protocol: int) -> None:
    report = scan(tmp_path, pickle.dumps({"x": Bomb()}, protocol))
    (found,) = report.pickles
    assert report.verdict is Verdict.REVIEW
    assert [i.name for i in found.imports if i.verdict is not Verdict.SAFE] == [f"{__name__}.explode"]
    assert [(c.function, c.arguments) for c in found.calls] == [(f"{__name__}.explode", "'boom'")]


DANGEROUS = {
    "reduce": system(),
    "protocol 0": b"cposix\nsystem\n(S'true'\ntR.",
    "inst": b"(S'true'\niposix\nsystem\n.",
    "obj": b"(cposix\nsystem\nS'true'\no.",
    "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    "newobj": b"\x80\x02csubprocess\nPopen\nX\x04\x00\x00\x00true\x85\x81.",
    "changes a class": b"\x80\x02cdatetime\ndate\n}X\x01\x00\x00\x00xK\x01sb.",
    "second": pickle.dumps(1) + system(),
    "nested": b"\x80\x02c_pickle\nloads\nB" + struct.pack("<I", len(system())) + system() + b"\x85R.",
    "then broken": system()[:-1] + b"\x00",
    "eval": b"c__builtin__\neval\n(S'1'\ntR.",
}


@pytest.mark.parametrize("data", DANGEROUS.values(), ids=DANGEROUS)
@pytest.mark.parametrize("name", ["a.pkl", "weights.bin", "notes.txt", "a.joblib"])
def test_danger_is_found_whatever_the_file_is_called(tmp_path: Path, data: bytes, name: str) -> None:
    if data == DANGEROUS["then broken"] and name.endswith(("bin", "txt")):
        data = b"\x80\x02" + data[2:]
    report = scan(tmp_path, data, name)
    assert report.verdict is Verdict.DANGEROUS, list(render(report))


def zipped(data: bytes, name: str = "archive/data.pkl") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "nothing")
        archive.writestr(name, data)
    return file.getvalue()


def tarred(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in (("readme.txt", b"nothing"), ("model/weights", data)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


PACKED = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zip": zipped,
    "tar": tarred,
    "tar in xz": lambda data: lzma.compress(tarred(data)),
    "zip in gzip": lambda data: gzip.compress(zipped(data), mtime=0),
}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("name", ["a.pkl", "a.bin"])
def test_packed_pickles_are_found(tmp_path: Path, pack: Any, name: str) -> None:
    assert scan(tmp_path, pack(system()), name).verdict is Verdict.DANGEROUS
    assert scan(tmp_path, pack(pickle.dumps([1])), name).verdict is Verdict.SAFE


def test_an_archive_behind_a_pickle_does_not_hide_it(tmp_path: Path) -> None:
    assert scan(tmp_path, system() + zipped(pickle.dumps(1)), "a.npz").verdict is Verdict.DANGEROUS


def container(stream: bytes, claimed: int | None = None) -> bytes:
    buffer = b"\x00" * 64
    row = struct.pack("<QQ", len(stream), len(buffer))
    tail = struct.pack("<QQ16s", len(stream) if claimed is None else claimed, 1, b"windlass-pickle1")
    return stream + buffer + row + tail


def test_the_container_with_buffers(tmp_path: Path) -> None:
    report = scan(tmp_path, container(pickle.dumps([1])))
    assert (report.verdict, len(report.pickles)) == (Verdict.SAFE, 1)
    assert "1 buffers out of band" in report.pickles[0].findings
    assert scan(tmp_path, container(system())).verdict is Verdict.DANGEROUS
    for claimed in (0, 5):
        assert scan(tmp_path, container(system(), claimed)).verdict is Verdict.DANGEROUS


def test_the_container_of_the_plugin(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    plugin = pytest.importorskip("windlass_serializer_pickle.serializer")
    file = io.BytesIO()
    plugin.PickleSerializer().dump({"a": np.arange(10_000)}, file)
    report = scan(tmp_path, file.getvalue())
    assert report.verdict is Verdict.SAFE, list(render(report))
    assert report.pickles[0].findings[0] == "1 buffers out of band"


def test_joblib(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    joblib = pytest.importorskip("joblib")
    arrays = {
        "f8": np.arange(1000.0).reshape(10, 100),
        "text": np.array(["a", "bcd"]),
        "fields": np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]),
        "time": np.array(["2026-01-01"], dtype="M8[D]"),
        "scalar": np.array(5),
        "empty": np.empty((0, 3)),
        "objects": np.array([1, "x", None], dtype=object),
    }
    for compress in (0, 3, "gzip"):
        for extra, verdict in (({}, Verdict.SAFE), ({"bomb": Bomb()}, Verdict.REVIEW)):
            path = tmp_path / "a.joblib"
            joblib.dump({**arrays, **extra}, path, compress=compress)
            report = scan_path(path)
            assert report.verdict is verdict, list(render(report))
            assert any("6 raw arrays" in finding for found in report.pickles for finding in found.findings)
    arrays["objects"][0] = Bomb()
    joblib.dump(arrays, tmp_path / "b.joblib")
    report = scan_path(tmp_path / "b.joblib")
    assert report.verdict is Verdict.REVIEW
    opinions = [text for pickle in report.pickles for text in pickle.findings if text.startswith("fickling: ")]
    assert all("malicious" not in text or "does not decide" in text for text in opinions)
    assert any("does not decide" in text for text in opinions)
    assert not RAN


def test_arrays_of_joblib_hide_nothing_from_a_plain_unpickler(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    joblib = pytest.importorskip("joblib")
    # Behind the wrapper joblib writes a length and padding; a plain unpickler would take all of it for opcodes.
    file = io.BytesIO()
    joblib.dump([np.zeros(200, dtype="u1"), 1], file)
    data = bytearray(file.getvalue())
    start = data.index(bytes(100))
    begin = data.rindex(b"b", 0, start) + 1
    payload = b"0" + system()
    data[begin : begin + len(payload)] = payload
    assert scan(tmp_path, bytes(data), "a.pkl").verdict is Verdict.DANGEROUS
    assert scan(tmp_path, bytes(data), "a.joblib", serializer="pickle").verdict is Verdict.DANGEROUS


def test_npy(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    for value, verdict, count in (
        (np.arange(10), Verdict.SAFE, 0),
        (np.array([1, "x"], dtype=object), Verdict.SAFE, 1),
        (np.array([Bomb()]), Verdict.REVIEW, 1),
        (np.array([(1, Bomb())], dtype=[("a", "i4"), ("b", "O")]), Verdict.REVIEW, 1),
    ):
        file, archive = io.BytesIO(), io.BytesIO()
        np.save(file, value)
        np.savez(archive, a=value)
        for data, name in ((file.getvalue(), "a.npy"), (archive.getvalue(), "a.npz")):
            report = scan(tmp_path, data, name)
            assert (report.verdict, len(report.pickles)) == (verdict, count), list(render(report))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"col1\nvalue\n1\n"),
        ("a.csv", b"c1,c2\nx,y\n"),
        ("a.json", b'{"a": 1}'),
        ("a.txt", b""),
        ("a.txt", b"Nothing to see.\n"),
        ("a.txt", b"x^2 + y^2 = 1, which begins as zlib does\n"),
        ("a.safetensors", b"\x80\x05" + bytes(6) + b"{" + b" " * 1407),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(50)),
    ],
)
def test_other_files_give_no_alarm(tmp_path: Path, name: str, data: bytes) -> None:
    report = scan(tmp_path, data, name)
    assert report.verdict is Verdict.SAFE, list(render(report))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        pickle.dumps(list(range(1000)))[:-10],
        pickle.dumps(1) + b"trailing",
        gzip.compress(pickle.dumps("x" * 1000), mtime=0)[:-9],
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7fx",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7fx",
    ],
)
def test_what_cannot_be_read_is_not_safe(tmp_path: Path, data: bytes) -> None:
    assert scan(tmp_path, data).verdict is Verdict.UNREADABLE


def test_a_bomb_of_zeros_is_not_unpacked(tmp_path: Path) -> None:
    data = gzip.compress(pickle.dumps(bytes(5_000_000)))
    report = scan(tmp_path, data, limit=1_000_000)
    assert report.verdict is Verdict.UNREADABLE
    assert "larger than" in report.pickles[0].findings[0]


def test_names_can_be_allowed_one_module_at_a_time() -> None:
    assert judge("mine.models", "Tree") is Verdict.REVIEW
    assert judge("mine.models", "Tree", ["mine.models.*"]) is Verdict.SAFE
    assert judge("mine.models", "Tree", ["mine.models.Tree"]) is Verdict.SAFE
    for module, name in (("mine.models", "os.system"), ("mine.models.deep", "x"), ("mine", "models.Tree.x")):
        assert judge(module, name, ["mine.models.*"]) is not Verdict.SAFE
    assert judge("collections", "OrderedDict.__init__") is not Verdict.SAFE


def test_a_directory_and_json(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(1))
    (tmp_path / "deep" / "b.pkl").write_bytes(system())
    report = scan_path(tmp_path)
    assert (report.files, report.verdict) == (2, Verdict.DANGEROUS)
    assert [found.place for found in report.pickles] == ["a.pkl", "deep/b.pkl"]
    assert wire.decode(wire.encode(report), ScanReport) == report
    text = "\n".join(render(report))
    assert "import posix.system  [dangerous]" in text
    assert "call   posix.system('touch" in text
    with pytest.raises(UsageError):
        scan_path(tmp_path / "none")


def test_fickling_gives_a_second_opinion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fickling")
    data = system()
    report = scan(tmp_path, data)
    assert report.scanners[1].startswith("fickling ")
    assert any(finding == "fickling: likely overtly malicious" for finding in report.pickles[0].findings)
    monkeypatch.setitem(sys.modules, "fickling.analysis", None)
    report = scan(tmp_path, data)
    assert report.verdict is Verdict.DANGEROUS
    assert any("fickling gave up" in finding for finding in report.pickles[0].findings)


def _tar(*members: tuple[str, bytes, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def test_the_name_of_a_member_may_be_a_pickle(tmp_path: Path) -> None:
    data = _tar(("cos\nsystem\n(S'id'\ntR.", tarfile.REGTYPE, b""))
    assert scan(tmp_path, data, "model.pkl").verdict is Verdict.DANGEROUS
    assert scan(tmp_path, data, "model.bin").verdict is Verdict.DANGEROUS


def test_members_of_a_type_that_nobody_knows_are_files(tmp_path: Path) -> None:
    assert scan(tmp_path, _tar(("a.pkl", b"Z", system())), "a.tar").verdict is Verdict.DANGEROUS


def test_what_lies_behind_the_members_is_not_safe(tmp_path: Path) -> None:
    good, bad = _tar(("a.txt", tarfile.REGTYPE, b"x")), bytearray(_tar(("a.txt", b"0", b"x"), ("b", b"0", system())))
    bad[1024 + 3] ^= 1  # in the header of the second member
    for data in (bytes(bad), good + _tar(("b.pkl", tarfile.REGTYPE, system()))):
        assert scan(tmp_path, data, "a.tar").verdict is not Verdict.SAFE
    assert scan(tmp_path, good, "a.tar").verdict is Verdict.SAFE


PACKED_DAMAGED = {
    "gzip with a wrong checksum": gzip.compress(system())[:-8] + b"\0" * 8,
    "gzip cut off": gzip.compress(system() + bytes(99))[:-9],
    "zlib cut off": zlib.compress(system())[:-4],
    "zstd": b"\x28\xb5\x2f\xfd" + b"\0" * 30,
}


@pytest.mark.parametrize("data", PACKED_DAMAGED.values(), ids=PACKED_DAMAGED)
def test_damage_behind_a_pickle_does_not_hide_it(tmp_path: Path, data: bytes) -> None:
    """`pickle.load(gzip.open(path))` has run the pickle before it comes to the checksum."""
    for name in ("weights.gz", "weights.bin", "weights.pkl.gz"):
        assert scan(tmp_path, data, name).verdict is Verdict.UNREADABLE


def test_an_archive_without_its_list_is_not_safe(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", system())
    assert scan(tmp_path, file.getvalue()[:-10], "model.pt").verdict is Verdict.UNREADABLE
