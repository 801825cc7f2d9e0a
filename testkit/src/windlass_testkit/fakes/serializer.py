"""A format that notices every damage: JSON behind a head with its length and checksum."""

from __future__ import annotations

import hashlib
import json
from typing import Any, BinaryIO

from attrs import frozen

from windlass.errors import SerializationError
from windlass.serializers import Serializer, reading, writing
from windlass_testkit.fakes.faults import Faults, faulty

__all__ = ["FakeSerializer", "FakeSerializerConfig"]

_HEAD = b"fake1"


@frozen(kw_only=True)
class FakeSerializerConfig:
    """Parameters of the fake serializer: none."""


@faulty
class FakeSerializer(Serializer):
    """Writes and reads JSON values.

    Attributes:
        faults: Calls so far, and what shall go wrong.
    """

    def __init__(self) -> None:
        self.faults = Faults()

    def dump(self, obj: Any, file: BinaryIO) -> None:
        with writing(obj, "fake"):
            data = json.dumps(obj).encode()
            file.write(b"%s %d %s\n%s" % (_HEAD, len(data), hashlib.sha256(data).hexdigest().encode(), data))

    def load(self, file: BinaryIO) -> Any:
        with reading("fake"):
            head, _, data = file.read().partition(b"\n")
            mark, length, digest = head.split()
            if (mark, int(length), digest.decode()) != (_HEAD, len(data), hashlib.sha256(data).hexdigest()):
                raise SerializationError("not readable as fake: the checksum does not match", hint="Write it again.")
            return json.loads(data)

    def versions(self) -> dict[str, str]:
        return {"fake": "1"}
