"""The ways to write a blob's address, taken apart and put together."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from attrs import frozen

from windlass.errors import UsageError

__all__ = ["Address", "parse"]

_HTTPS = re.compile(
    r"(https?://[^/]+)/(?P<container>[^/?#]+)(?:/(?P<name>[^?#]*))?(?:\?versionId=(?P<version>[^&#]+))?"
)
_AZ = re.compile(
    r"(?P<scheme>az|abfss?)://(?:(?P<user>[^@/]+)@(?P<host>[^/]+)|(?P<container>[^/?#]+))"
    r"(?:/(?P<name>.*?))?(?:\?versionId=(?P<version>[^?&]+))?",
    re.DOTALL,
)


@frozen
class Address:
    """Where a blob is.

    Attributes:
        root: Address as far as the container, as the user wrote it.
        account: Storage account, or empty for the configured one.
        quoted: Names are percent-encoded in the address (``https`` only).
    """

    root: str
    account: str
    container: str
    name: str
    version: str = ""
    quoted: bool = False

    @property
    def folder(self) -> str:
        """The name as a prefix that ends in ``/``, or empty for the whole container."""
        return self.name if not self.name or self.name.endswith("/") else f"{self.name}/"

    def uri(self, name: str) -> str:
        """Address of another blob of the container."""
        return f"{self.root}/{quote(name, safe='/~!$&()*+,;=:@') if self.quoted else name}"


def parse(uri: str) -> Address:
    """Take an address apart. Raises `UsageError`."""
    match = _HTTPS.fullmatch(uri)
    if match is not None:
        account = match[1].partition("//")[2].partition(".")[0]
        container = match["container"]
        name, version = unquote(match["name"] or ""), unquote(match["version"] or "")
        return Address(f"{match[1]}/{container}", account, container, name, version, quoted=True)
    match = _AZ.fullmatch(uri)
    if match is None:
        raise UsageError(
            "not an address of Azure Blob Storage",
            where=uri,
            hint="Write https://<account>.blob.core.windows.net/<container>/<blob> or az://<container>/<blob>.",
        )
    container = match["user"] or match["container"]
    account = (match["host"] or "").partition(".")[0]
    root = f"{match['scheme']}://" + (f"{container}@{match['host']}" if match["user"] else container)
    return Address(root, account, container, match["name"] or "", unquote(match["version"] or ""))
