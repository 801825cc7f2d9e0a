import pickle
from typing import Any

import pytest

from windlass_testkit.serializers import SerializerContract


class TestPickle(SerializerContract):
    name = "pickle"

    @pytest.fixture
    def sample(self) -> Any:
        return {
            "numbers": list(range(1000)),
            "text": "ä" * 99,
            "bytes": bytes(range(256)) * 10,
            "nested": ({1, 2}, None),
        }

    @pytest.fixture
    def unfit(self) -> Any:
        return lambda: None


class TestPickleOfLargeBuffers(TestPickle):
    @pytest.fixture
    def sample(self) -> Any:
        return Holder(bytearray(range(256)) * 100)


class Holder:
    """Its buffer goes out of band, as those of NumPy arrays do."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: int) -> Any:
        return Holder, (pickle.PickleBuffer(self.data) if protocol >= 5 else bytes(self.data),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Holder) and bytes(self.data) == bytes(other.data)

    __hash__ = None  # type: ignore[assignment]
