"""What a ``--uri`` means: a directory here, or a git repository. Nothing in it can become an option or a command."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from attrs import frozen

from windlass.errors import UsageError

__all__ = ["Location", "UriKind", "check_ref", "classify", "resolve_relative"]

_SCP = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):(?P<path>[^:].*)"
)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.%+-]*")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@=-]{0,250}")
_FORMS = (
    "Give an existing directory or script, https://host/repo.git, ssh://user@host/repo.git, user@host:repo.git or "
    "file:///path."
)


class UriKind(StrEnum):
    """What a URI names."""

    FILE = "file"
    DIRECTORY = "directory"
    GIT = "git"


@frozen(kw_only=True)
class Location:
    """A classified URI.

    Attributes:
        kind: See `UriKind`.
        path: The directory or file, for those kinds.
        remote: The git remote as it is given to git, for ``git``.
        protocol: ``https``, ``ssh`` or ``file``, for ``git``.
        host: Host of the remote, empty for ``file``.
    """

    kind: UriKind
    path: Path | None = None
    remote: str = ""
    protocol: str = ""
    host: str = ""


def classify(uri: str, *, local: bool = True) -> Location:
    """Tell what a URI means.

    An existing directory or file wins. Then only these are git remotes: ``https://``, ``ssh://``,
    ``[user@]host:path`` and ``file:///absolute/path``.

    Args:
        uri: As typed.
        local: Paths of this machine are allowed; False for what comes from others (submodules, job files).

    Raises:
        UsageError: It is neither; says why and what is.
    """

    def wrong(what: str, hint: str = _FORMS) -> UsageError:
        shown = re.sub(r"//[^/@\s]*@", "//***@", uri)
        return UsageError(f"{shown!r} is not a source of code: {what}", where="--uri", hint=hint)

    if not uri:
        raise wrong("it is empty")
    if any(ord(char) < 33 or ord(char) == 127 for char in uri if char != " "):
        raise wrong("it holds control characters")
    if uri.startswith("-"):
        raise wrong("it starts with '-'")
    if local and "://" not in uri:
        path = Path(uri).expanduser()
        if path.is_dir():
            return Location(kind=UriKind.DIRECTORY, path=path.resolve())
        if path.is_file():
            return Location(kind=UriKind.FILE, path=path.resolve())
    uri = uri.removeprefix("git+")
    if " " in uri:
        raise wrong("it holds white space")
    if re.match(r"[A-Za-z0-9+.-]*::", uri):
        raise wrong("remote helpers run programs")
    if "://" in uri:
        return _from_url(uri, local, wrong)
    if uri.startswith((".", "/", "~")):
        raise wrong("there is no such file or directory")
    match = _SCP.fullmatch(uri)
    if match is None:
        raise wrong("there is no such file or directory, and it is not a git remote")
    path_part = match["path"]
    if path_part.startswith(("-", "~-")) or not re.fullmatch(r"[^\s'\"`$\\;&|<>*?\[\](){}!#]+", path_part):
        raise wrong("the path holds characters that are not allowed")
    return Location(kind=UriKind.GIT, remote=uri, protocol="ssh", host=match["host"])


def _from_url(uri: str, local: bool, wrong: Callable[..., UsageError]) -> Location:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise wrong("the URL is not well formed") from None
    scheme = parts.scheme.lower()
    if parts.query or parts.fragment or "#" in uri or "?" in uri:
        raise wrong("it holds '?' or '#'", "Give the branch, tag or commit with --git-hash.")
    if scheme == "file":
        path = unquote(parts.path)
        if not local:
            raise wrong("only https and ssh remotes are allowed here")
        if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\x00" in path:
            raise wrong("a file URL holds an absolute path", "Write file:///absolute/path.")
        return Location(kind=UriKind.GIT, remote=f"file://{path}", protocol="file")
    if scheme == "http":
        raise wrong("plain http lets others change the code on its way", "Use https:// or ssh://.")
    if scheme not in ("https", "ssh"):
        raise wrong(f"the protocol '{scheme}' is not allowed")
    if parts.password is not None or (scheme == "https" and parts.username and len(parts.username) > 39):
        raise wrong("it holds a password", "Leave it out, and use a git credential helper or an ssh key.")
    host = parts.netloc.rpartition("@")[2]
    host = re.sub(r":[0-9]*$", "", host)
    if not _HOST.fullmatch(host):
        raise wrong(f"{host!r} is no host name")
    if parts.username is not None and not _USER.fullmatch(parts.username):
        raise wrong("the user name holds characters that are not allowed")
    if port == 0 or len(parts.path) < 2 or parts.path.startswith("/-"):
        raise wrong("there is no repository path in it")
    if re.search(r"[\s'\"`$\\;&|<>*{}!\x00]", unquote(parts.path)):
        raise wrong("the path holds characters that are not allowed")
    return Location(kind=UriKind.GIT, remote=uri, protocol=scheme, host=host)


def check_ref(ref: str, where: str = "--git-hash") -> str:
    """Return a branch, tag or commit name if it is safe to give to git. Raises `UsageError`."""
    if not _REF.fullmatch(ref) or ".." in ref or "@{" in ref or "//" in ref or ref.endswith((".lock", "/", ".")):
        raise UsageError(
            f"{ref!r} is not the name of a branch, tag or commit", where=where, hint="e.g. main, v1.2 or a commit hash."
        )
    return ref


def resolve_relative(parent: str, url: str) -> str:
    """A submodule's URL, relative ones (``../other.git``) resolved against its parent's remote."""
    if not url.startswith(("./", "../")):
        return url
    head, sep, path = parent.rstrip("/").partition("://")
    if sep:
        host, _, rest = path.partition("/")
        prefix, segments = f"{head}://{host}/", rest.split("/")
    else:
        host, _, rest = parent.rstrip("/").partition(":")
        prefix, segments = f"{host}:", rest.split("/")
    for part in url.rstrip("/").split("/"):
        if part == "..":
            if not segments or segments == [""]:
                raise UsageError(f"the submodule URL {url!r} leads out of {parent}", where=".gitmodules")
            segments.pop()
        elif part not in (".", ""):
            segments.append(part)
    return prefix + "/".join(segments)
