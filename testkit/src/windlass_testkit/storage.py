"""The contract of storage schemes: what the artifact engine relies on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from windlass.errors import NotFoundError, ObjectChangedError, ObjectNotFoundError, StorageError, UnsupportedError
from windlass.plugins.app import App
from windlass.plugins.types import StoragePlugin
from windlass.storage import ObjectInfo, ObjectRef, Storage, StorageCapabilities
from windlass_testkit.base import Contract

__all__ = ["StorageContract"]

HOSTILE = (
    "with space.txt",
    "per%20cent%41.txt",
    "hash#and?question.txt",
    "plus+and&amp=.txt",
    "ünïcödé-日本.txt",
    "quote'\"s.txt",
    "semi;colon,comma.txt",
    "deep/er/and/deeper/x",
    "x" * 200,
)
"""Names that break careless address handling."""

_BIG = 9 << 20


class StorageContract(Contract):
    """Subclass it, set `name`, and give the fixture `root`; a read-only scheme also gives `seed`."""

    kind = "storage"

    # -- what the subclass gives ------------------------------------------------------------------------------

    @pytest.fixture
    def root(self) -> str:
        """Address of an empty folder, without ``/`` at its end."""
        raise NotImplementedError("give a fixture `root`")

    @pytest.fixture
    def seed(self, storage: Storage) -> Callable[[str, bytes], None]:
        """Write an object, replacing what is there; past the storage, where that cannot write."""
        return lambda uri, data: _ignore(storage.put(uri, data, if_absent=False))

    @pytest.fixture
    def address(self, root: str) -> Callable[[str], str]:
        """The address of a name below the root; replace it where names are escaped in addresses."""
        return lambda name: f"{root}/{name}"

    # -- what the suite uses ----------------------------------------------------------------------------------

    @pytest.fixture
    def storage(self, app: App, config: Mapping[str, object]) -> Iterator[Storage]:
        """The storage under test."""
        made: Storage = app.create("storage", self.name, config)
        yield made
        made.close()

    @pytest.fixture
    def can(self, descriptor: StoragePlugin[object]) -> StorageCapabilities:
        """The declared capabilities."""
        return descriptor.capabilities

    # -- reading ----------------------------------------------------------------------------------------------

    def test_stat(self, storage: Storage, root: str, seed: Callable[[str, bytes], None]) -> None:
        seed(f"{root}/a.txt", b"hello")
        info = storage.stat(f"{root}/a.txt")
        assert isinstance(info, ObjectInfo)
        assert (info.uri, info.size) == (f"{root}/a.txt", 5)
        assert not info.etag.startswith('"')

    def test_missing_object(self, storage: Storage, root: str) -> None:
        with pytest.raises(ObjectNotFoundError) as caught:
            storage.stat(f"{root}/nothing")
        assert "nothing" in str(caught.value)
        with pytest.raises(ObjectNotFoundError), storage.open(ObjectRef(uri=f"{root}/nothing")) as stream:
            stream.read()

    def test_a_folder_is_not_an_object(self, storage: Storage, root: str, seed: Callable[[str, bytes], None]) -> None:
        seed(f"{root}/folder/a", b"1")
        with pytest.raises(ObjectNotFoundError):
            storage.stat(f"{root}/folder")

    def test_read(self, storage: Storage, root: str, seed: Callable[[str, bytes], None]) -> None:
        data = bytes(range(256)) * 64
        seed(f"{root}/a", data)
        with storage.open(storage.stat(f"{root}/a").ref) as stream:
            assert stream.read() == data
        with storage.open(ObjectRef(uri=f"{root}/a")) as stream:
            assert b"".join(iter(lambda: stream.read(1000), b"")) == data

    def test_streams_read_into_buffers(self, storage: Storage, root: str, seed: Callable[[str, bytes], None]) -> None:
        seed(f"{root}/a", b"0123456789" * 100)
        buffer, got = bytearray(300), b""
        with storage.open(ObjectRef(uri=f"{root}/a")) as stream:
            while count := stream.readinto(buffer):  # type: ignore[attr-defined]
                got += buffer[:count]
        assert got == b"0123456789" * 100

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [(0, 3, b"012"), (3, 4, b"3456"), (7, -1, b"789"), (5, 100, b"56789"), (0, 0, b""), (9, 1, b"9")],
    )
    def test_ranges(
        self,
        storage: Storage,
        root: str,
        seed: Callable[[str, bytes], None],
        start: int,
        length: int,
        expected: bytes,
    ) -> None:
        seed(f"{root}/a", b"0123456789")
        with storage.open(ObjectRef(uri=f"{root}/a"), start, length) as stream:
            assert stream.read() == expected

    def test_empty_object(
        self, storage: Storage, can: StorageCapabilities, root: str, seed: Callable[[str, bytes], None]
    ) -> None:
        seed(f"{root}/folder/empty", b"")
        assert storage.stat(f"{root}/folder/empty").size == 0
        if can.listing:
            assert [info.size for info in storage.list(f"{root}/folder")] == [0]
        with storage.open(storage.stat(f"{root}/folder/empty").ref) as stream:
            assert stream.read() == b""

    def test_changed_object(
        self, storage: Storage, can: StorageCapabilities, root: str, seed: Callable[[str, bytes], None]
    ) -> None:
        seed(f"{root}/a", b"first")
        before = storage.stat(f"{root}/a").ref
        seed(f"{root}/a", b"second one")
        if can.versions and before.version:
            with storage.open(before) as stream:
                assert stream.read() == b"first"
            return
        with pytest.raises(ObjectChangedError) as caught, storage.open(before) as stream:
            stream.read()
        assert "expected" in str(caught.value)

    def test_checksum_is_of_the_content(
        self, storage: Storage, can: StorageCapabilities, root: str, seed: Callable[[str, bytes], None]
    ) -> None:
        seed(f"{root}/a", b"same")
        seed(f"{root}/b", b"same")
        one, other = storage.stat(f"{root}/a").checksum, storage.stat(f"{root}/b").checksum
        assert one == other
        if one:
            assert can.checksums
            assert ":" in one

    # -- listing ----------------------------------------------------------------------------------------------

    def test_list_is_exact_and_in_order(
        self, storage: Storage, can: StorageCapabilities, root: str, seed: Callable[[str, bytes], None]
    ) -> None:
        if not can.listing:
            with pytest.raises(UnsupportedError):
                list(storage.list(f"{root}/foo"))
            return
        for name in ("foo/b", "foo/a/z", "foo/a-b", "foo/a.b", "foobar/x", "foo.txt", "fo"):
            seed(f"{root}/{name}", name.encode())
        found = list(storage.list(f"{root}/foo"))
        assert [info.uri for info in found] == [f"{root}/foo/{name}" for name in ("a-b", "a.b", "a/z", "b")]
        assert [info.size for info in found] == [7, 7, 7, 5]
        assert [info.uri for info in storage.list(f"{root}/foo/")] == [info.uri for info in found]

    def test_list_of_nothing(
        self, storage: Storage, can: StorageCapabilities, root: str, seed: Callable[[str, bytes], None]
    ) -> None:
        if not can.listing:
            return
        assert list(storage.list(f"{root}/nothing")) == []
        seed(f"{root}/object", b"1")
        assert list(storage.list(f"{root}/object")) == []

    def test_listing_tells_what_stat_tells(
        self, storage: Storage, can: StorageCapabilities, root: str, seed: Callable[[str, bytes], None]
    ) -> None:
        if not can.listing:
            return
        seed(f"{root}/folder/a", b"12345")
        (listed,) = storage.list(f"{root}/folder")
        seen = storage.stat(f"{root}/folder/a")
        assert (listed.uri, listed.size, listed.etag, listed.version) == (seen.uri, seen.size, seen.etag, seen.version)

    def test_many_objects(
        self, storage: Storage, can: StorageCapabilities, root: str, seed: Callable[[str, bytes], None]
    ) -> None:
        if not can.listing:
            return
        names = [f"{root}/many/{index:05}" for index in range(1201)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda uri: seed(uri, b"x"), names))
        assert [info.uri for info in storage.list(f"{root}/many")] == names

    @pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_names(
        self,
        storage: Storage,
        can: StorageCapabilities,
        address: Callable[[str], str],
        seed: Callable[[str, bytes], None],
        name: str,
    ) -> None:
        uri = address(f"hostile/{name}")
        seed(uri, name.encode())
        seed(address("hostile-other"), b"")
        assert storage.stat(uri).size == len(name.encode())
        if can.listing:
            (info,) = storage.list(address("hostile"))
            with storage.open(info.ref) as stream:
                assert stream.read() == name.encode()
        with storage.open(ObjectRef(uri=uri)) as stream:
            assert stream.read() == name.encode()

    # -- writing ----------------------------------------------------------------------------------------------

    def test_put_bytes_and_files(self, storage: Storage, can: StorageCapabilities, root: str, tmp_path: Path) -> None:
        if not can.writable:
            with pytest.raises(UnsupportedError):
                storage.put(f"{root}/a", b"1")
            return
        (tmp_path / "source").write_bytes(b"from a file")
        assert storage.put(f"{root}/new/folder/a", b"from memory").size == 11
        assert storage.put(f"{root}/b", str(tmp_path / "source")).size == 11
        for name, data in (("new/folder/a", b"from memory"), ("b", b"from a file")):
            with storage.open(ObjectRef(uri=f"{root}/{name}")) as stream:
                assert stream.read() == data
        assert (tmp_path / "source").read_bytes() == b"from a file"

    def test_put_of_a_large_file(self, storage: Storage, can: StorageCapabilities, root: str, tmp_path: Path) -> None:
        if not can.writable:
            return
        data = bytes(range(251)) * (_BIG // 251)
        (tmp_path / "big").write_bytes(data)
        assert storage.put(f"{root}/big", str(tmp_path / "big")).size == len(data)
        with storage.open(storage.stat(f"{root}/big").ref) as stream:
            assert stream.read() == data

    def test_put_never_overwrites_unless_told(self, storage: Storage, can: StorageCapabilities, root: str) -> None:
        if not can.writable:
            return
        storage.put(f"{root}/a", b"first")
        assert storage.put(f"{root}/a", b"another").size == 5
        with storage.open(ObjectRef(uri=f"{root}/a")) as stream:
            assert stream.read() == b"first"
        assert storage.put(f"{root}/a", b"another", if_absent=False).size == 7

    def test_of_many_puts_one_wins(self, storage: Storage, can: StorageCapabilities, root: str) -> None:
        if not (can.writable and can.conditional_put):
            return
        contents = [bytes([65 + index]) * 100_000 for index in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda data: storage.put(f"{root}/race", data), contents))
        with storage.open(ObjectRef(uri=f"{root}/race")) as stream:
            found = stream.read()
        assert found in contents
        storage.put(f"{root}/race", b"later")
        with storage.open(ObjectRef(uri=f"{root}/race")) as stream:
            assert stream.read() == found

    def test_put_of_a_missing_file(self, storage: Storage, can: StorageCapabilities, root: str, tmp_path: Path) -> None:
        if not can.writable:
            return
        with pytest.raises((StorageError, NotFoundError)):
            storage.put(f"{root}/a", str(tmp_path / "nothing"))
        assert list(storage.list(root)) == []

    def test_delete(self, storage: Storage, can: StorageCapabilities, root: str) -> None:
        if not can.writable:
            with pytest.raises(UnsupportedError):
                storage.delete([f"{root}/a"])
            return
        storage.put(f"{root}/a", b"1")
        storage.put(f"{root}/ab", b"1")
        storage.delete([f"{root}/a", f"{root}/never-was"])
        storage.delete([f"{root}/a"])
        assert [info.uri for info in storage.list(root)] == [f"{root}/ab"]

    # -- the rest ---------------------------------------------------------------------------------------------

    def test_presigned_urls(
        self, storage: Storage, can: StorageCapabilities, root: str, seed: Callable[[str, bytes], None]
    ) -> None:
        from urllib.request import urlopen

        if not can.presign:
            with pytest.raises(UnsupportedError):
                storage.presign(f"{root}/a", "GET", 60)
            return
        seed(f"{root}/a", b"signed")
        with urlopen(storage.presign(f"{root}/a", "GET", 60)) as answer:
            assert answer.read() == b"signed"

    def test_local_paths(
        self, storage: Storage, can: StorageCapabilities, root: str, seed: Callable[[str, bytes], None]
    ) -> None:
        seed(f"{root}/a", b"here")
        path = storage.local_path(f"{root}/a")
        assert (path is not None) == can.links
        if path is not None:
            assert Path(path).read_bytes() == b"here"

    def test_serves_threads(self, storage: Storage, root: str, seed: Callable[[str, bytes], None]) -> None:
        for index in range(16):
            seed(f"{root}/t/{index:02}", bytes([index]) * 1000)

        def read(index: int) -> bytes:
            with storage.open(ObjectRef(uri=f"{root}/t/{index:02}")) as stream:
                return stream.read()

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(read, range(16))) == [bytes([index]) * 1000 for index in range(16)]

    def test_close_may_be_repeated(self, storage: Storage) -> None:
        storage.close()
        storage.close()


def _ignore(_: object) -> None:
    """Drop a result."""
