"""``s3://bucket/key`` taken apart and put together."""

from __future__ import annotations

import re

from attrs import frozen

from windlass.errors import UsageError

__all__ = ["Address", "is_plain", "parse"]

_URI = re.compile(
    r"(?P<scheme>s3a?)://(?P<bucket>[^/?#]+)(?:/(?P<key>.*?))?(?:\?versionId=(?P<version>[^?&]+))?", re.DOTALL
)
_ODD = re.compile(r"(^|/)(\.{0,2})(/|$)|[\x00-\x1f\x7f]")


@frozen
class Address:
    """Where an object is. The key is taken literally: nothing in it is percent-decoded."""

    scheme: str
    bucket: str
    key: str
    version: str = ""

    @property
    def folder(self) -> str:
        """The key as a prefix that ends in ``/``, or empty for the whole bucket."""
        return self.key if not self.key or self.key.endswith("/") else f"{self.key}/"

    def uri(self, key: str) -> str:
        """Address of another key of the bucket."""
        return f"{self.scheme}://{self.bucket}/{key}"


def parse(uri: str) -> Address:
    """Take an address apart. Raises `UsageError`."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise UsageError("not an S3 address", where=uri, hint="Write s3://bucket/key.")
    return Address(match["scheme"], match["bucket"], match["key"] or "", match["version"] or "")


def is_plain(key: str) -> bool:
    """False for keys that obstore refuses: empty, ``.`` and ``..`` segments, control characters."""
    return _ODD.search(key) is None
