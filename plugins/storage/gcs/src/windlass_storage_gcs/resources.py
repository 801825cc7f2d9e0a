"""What the JSON API answers, as far as it is read."""

from __future__ import annotations

import base64

import msgspec

__all__ = ["FIELDS", "Listing", "Resource", "listing_of", "resource_of"]

FIELDS = "name,size,generation,etag,crc32c,md5Hash,updated"


class Resource(msgspec.Struct, frozen=True, rename={"md5": "md5Hash"}):
    """An object."""

    name: str
    size: str = "0"
    generation: str = ""
    etag: str = ""
    crc32c: str = ""
    md5: str = ""
    updated: str = ""

    @property
    def checksum(self) -> str:
        """MD5 of the content, or its CRC-32C where the store has no MD5 (composed objects)."""
        name, value = ("md5", self.md5) if self.md5 else ("crc32c", self.crc32c)
        return f"{name}:{base64.b64decode(value).hex()}" if value else ""


class Listing(msgspec.Struct, frozen=True, rename={"token": "nextPageToken"}):
    """One page of a listing."""

    items: tuple[Resource, ...] = ()
    prefixes: tuple[str, ...] = ()
    token: str = ""


# Made here and not with the first answer, which several threads may get at once: see `windlass.wire.decoder`.
resource_of = msgspec.json.Decoder(Resource).decode
listing_of = msgspec.json.Decoder(Listing).decode
