"""The contract of serializers: what goes in comes out, and what is damaged is refused."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from windlass.errors import SerializationError
from windlass.plugins.app import App
from windlass.plugins.types import SerializerPlugin
from windlass.serializers import Serializer
from windlass_testkit.base import Contract

__all__ = ["SerializerContract"]


class SerializerContract(Contract):
    """Subclass it, set `name`, and give the fixtures `sample` and `unfit`."""

    kind = "serializer"

    # -- what the subclass gives ------------------------------------------------------------------------------

    @pytest.fixture
    def sample(self) -> Any:
        """An object the format is made for, of some kilobytes at least."""
        raise NotImplementedError("give a fixture `sample`")

    @pytest.fixture
    def unfit(self) -> Any:
        """An object the format cannot hold."""
        raise NotImplementedError("give a fixture `unfit`")

    @pytest.fixture
    def same(self) -> Callable[[Any, Any], bool]:
        """Compares two objects."""
        return lambda one, other: type(one) is type(other) and bool(one == other)

    @pytest.fixture
    def exact(self) -> bool:
        """True when every truncation and any appended byte is noticed; False for formats that cannot tell."""
        return True

    # -- what the suite uses ----------------------------------------------------------------------------------

    @pytest.fixture
    def make(self, app: App, config: Mapping[str, Any]) -> Callable[[], Serializer]:
        """Makes serializers; one serves one dump or load."""
        return lambda: app.create_serializer(self.name, config)

    @pytest.fixture
    def written(self, make: Callable[[], Serializer], sample: Any, tmp_path: Path) -> Path:
        """A file with the sample."""
        path = tmp_path / "written"
        with path.open("wb") as file:
            make().dump(sample, file)
        return path

    # -- round trips ------------------------------------------------------------------------------------------

    def test_round_trip_through_a_file(
        self, make: Callable[[], Serializer], sample: Any, same: Callable[[Any, Any], bool], written: Path
    ) -> None:
        with written.open("rb") as file:
            assert same(make().load(file), sample)

    def test_round_trip_through_memory(
        self, make: Callable[[], Serializer], sample: Any, same: Callable[[Any, Any], bool]
    ) -> None:
        buffer = io.BytesIO()
        make().dump(sample, buffer)
        buffer.seek(0)
        assert same(make().load(buffer), sample)

    def test_the_object_outlives_the_file(
        self, make: Callable[[], Serializer], sample: Any, same: Callable[[Any, Any], bool], written: Path
    ) -> None:
        with written.open("rb") as file:
            found = make().load(file)
        written.unlink()
        assert same(found, sample)

    def test_dump_does_not_close_the_file(self, make: Callable[[], Serializer], sample: Any) -> None:
        buffer = io.BytesIO()
        make().dump(sample, buffer)
        assert not buffer.closed
        assert buffer.getvalue()

    # -- memory instead of files --------------------------------------------------------------------------------

    def test_buffers_are_what_is_dumped(self, make: Callable[[], Serializer], sample: Any, written: Path) -> None:
        buffers = make().dump_buffers(sample)
        assert buffers is None or b"".join(buffers) == written.read_bytes()

    def test_round_trip_in_memory(
        self, make: Callable[[], Serializer], sample: Any, same: Callable[[Any, Any], bool], written: Path
    ) -> None:
        if make().reads_memory:
            assert same(make().load_memory(memoryview(bytearray(written.read_bytes()))), sample)

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
    def test_truncated_memory(self, make: Callable[[], Serializer], written: Path, share: float) -> None:
        data = written.read_bytes()
        if make().reads_memory:
            with pytest.raises(SerializationError):
                make().load_memory(memoryview(bytearray(data[: int(len(data) * share)])))

    # -- what cannot be -----------------------------------------------------------------------------------------

    def test_unfit_object_is_named(self, make: Callable[[], Serializer], unfit: Any) -> None:
        with pytest.raises(SerializationError) as caught:
            make().dump(unfit, io.BytesIO())
        assert type(unfit).__name__ in str(caught.value)

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
    def test_truncated_file(self, make: Callable[[], Serializer], written: Path, share: float) -> None:
        data = written.read_bytes()
        written.write_bytes(data[: int(len(data) * share)])
        with written.open("rb") as file, pytest.raises(SerializationError):
            make().load(file)

    def test_last_byte_missing(self, make: Callable[[], Serializer], written: Path, exact: bool) -> None:
        written.write_bytes(written.read_bytes()[:-1])
        with written.open("rb") as file:
            if exact:
                with pytest.raises(SerializationError):
                    make().load(file)
            else:
                self._reads_or_refuses(make, file)

    @pytest.mark.parametrize("garbage", [b"garbage", bytes(1000), b"\xff" * 1000, b"\x80\x05." * 10])
    def test_garbage(self, make: Callable[[], Serializer], tmp_path: Path, garbage: bytes) -> None:
        path = tmp_path / "garbage"
        path.write_bytes(garbage)
        with path.open("rb") as file, pytest.raises(SerializationError):
            make().load(file)

    def test_flipped_bytes_never_crash(self, make: Callable[[], Serializer], written: Path) -> None:
        data = written.read_bytes()
        for place in range(0, len(data), max(len(data) // 16, 1)):
            written.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
            with written.open("rb") as file:
                self._reads_or_refuses(make, file)

    @staticmethod
    def _reads_or_refuses(make: Callable[[], Serializer], file: Any) -> None:
        with contextlib.suppress(SerializationError):
            make().load(file)

    # -- what is recorded ---------------------------------------------------------------------------------------

    def test_versions_are_text(self, make: Callable[[], Serializer]) -> None:
        for key, value in make().versions().items():
            assert isinstance(key, str)
            assert isinstance(value, str)
            assert value

    def test_extensions_begin_with_a_dot(self, descriptor: SerializerPlugin[Any]) -> None:
        assert descriptor.extensions
        assert all(extension.startswith(".") and len(extension) > 1 for extension in descriptor.extensions)

    def test_media_type(self, descriptor: SerializerPlugin[Any]) -> None:
        assert descriptor.media_type.count("/") == 1
