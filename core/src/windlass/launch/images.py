"""Container image references: ``[host[:port]/]name[:tag][@digest]``, with Docker Hub's defaults."""

from __future__ import annotations

import re

from attrs import evolve, frozen

from windlass.errors import UsageError

__all__ = ["ImageRef", "parse_image"]

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?"
)
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HUB = "docker.io"


@frozen(kw_only=True)
class ImageRef:
    """A parsed reference.

    Attributes:
        host: Registry host with port (``docker.io`` when none was written).
        path: Repository on that host (``library/python`` for Docker Hub's own images).
        tag: Tag, or empty.
        digest: ``sha256:…``, or empty.
        name: Repository as it was written, without tag and digest.
    """

    host: str
    path: str
    tag: str = ""
    digest: str = ""
    name: str = ""

    @property
    def target(self) -> str:
        """What to ask the registry for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    @property
    def is_loopback(self) -> bool:
        """The registry is on this machine, so plain HTTP harms nobody."""
        name = self.host.rsplit(":", 1)[0] if not self.host.endswith("]") else self.host
        return name in ("localhost", "[::1]") or bool(re.fullmatch(r"127(?:\.[0-9]{1,3}){3}", name))

    def with_tag(self, tag: str) -> ImageRef:
        """The same repository under another tag."""
        if not _TAG.fullmatch(tag):
            raise UsageError(f"{tag!r} is not an image tag", hint="At most 128 characters of A-Z a-z 0-9 _ . -")
        return evolve(self, tag=tag, digest="")

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_image(text: str, where: str = "") -> ImageRef:
    """Parse a reference.

    Raises:
        UsageError: It is none; says which part is wrong.
    """

    def wrong(what: str, hint: str = "Write [host[:port]/]name[:tag][@sha256:…].") -> UsageError:
        return UsageError(f"{text!r} is not an image reference: {what}", where=where, hint=hint)

    if not text:
        raise wrong("it is empty")
    if text != text.strip() or any(c.isspace() or ord(c) < 32 for c in text):
        raise wrong("it holds white space")
    if "://" in text:
        raise wrong("it starts with a URL scheme", "Leave the scheme out: registry.example.com/name:tag.")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise wrong("what follows @ is no digest", "A digest is sha256: and 64 hexadecimal digits.")
    head, slash, tail = rest.partition("/")
    has_host = bool(slash) and (("." in head) or (":" in head) or head == "localhost" or head != head.lower())
    host, path = (head, tail) if has_host else (_HUB, rest)
    if has_host and not _HOST.fullmatch(host):
        raise wrong(f"{host!r} is no host")
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise wrong(f"{tag!r} is no tag")
    for part in path.split("/"):
        if not _COMPONENT.fullmatch(part):
            what = "upper-case letters are not allowed in names" if part != part.lower() else f"{part!r} is no name"
            raise wrong(what)
    if len(path) > 255:
        raise wrong("the name is longer than 255 characters")
    name = f"{host}/{path}" if has_host else path
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = _HUB
    if host == _HUB and "/" not in path:
        path = f"library/{path}"
    return ImageRef(host=host, path=path, tag=tag, digest=digest, name=name)
