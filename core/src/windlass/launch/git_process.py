"""Running git on repositories that are not trusted.

Fetching uses the host's own git config (credential helpers, proxies, certificates); reading what was fetched uses none,
so that no filter, hook or monitor of that config runs on foreign content. Hooks are switched off throughout, unknown
protocols are refused, nothing asks for a password, and secrets travel in the environment, never in arguments.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen

from windlass.config.secrets import Secret
from windlass.errors import AccessError, NotFoundError, StorageError, WindlassError
from windlass.launch.uris import Location

__all__ = ["GitAccess", "interrupted", "is_cut_off", "run_git"]

_TIMEOUT = 900.0
_DENIED = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|terminal prompts disabled"
    r"|access denied|\b40[13]\b|host key verification failed|repository not found|invalid credentials",
    re.IGNORECASE,
)
_UNKNOWN_HOST = re.compile(r"host key verification failed", re.IGNORECASE)
_ABSENT = re.compile(r"does not appear to be a git repository|not found|does not exist|\b404\b", re.IGNORECASE)
_REFUSED = re.compile(r"not our ref|unadvertised object|couldn't find remote ref", re.IGNORECASE)
_CUT_OFF = re.compile(
    r"could not resolve host|failed to connect|couldn't connect|connection (reset|refused|closed|timed out)|timed out"
    r"|network is unreachable|no route to host|hung up|early EOF|RPC failed|unexpected disconnect|operation too slow"
    r"|TLS connection|recv error|returned error: (429|5\d\d)|did not end within",
    re.IGNORECASE,
)
_LOOK_EVERY = 0.2
_SAFE = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.sshCommand": "",
    "core.gitProxy": "",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "fetch.fsckObjects": "true",
    # What old tools wrote into many repositories; it makes no fetched file harmful.
    "fetch.fsck.badTimezone": "warn",
    "fetch.fsck.missingSpaceBeforeDate": "warn",
    "fetch.fsck.missingSpaceBeforeEmail": "warn",
    "fetch.fsck.zeroPaddedFilemode": "warn",
    "fetch.recurseSubmodules": "no",
    "gc.auto": "0",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "submodule.recurse": "false",
    "transfer.credentialsInUrl": "die",
    "uploadpack.packObjectsHook": "",
    "advice.detachedHead": "false",
}
_VARIABLE = "WINDLASS_GIT_VARIABLE"
_HELPER = f'!f() {{ test "$1" != get || printf "password=%s\\n" "${_VARIABLE}"; }}; f'


@frozen(kw_only=True)
class GitAccess:
    """How to sign in at a git host when the host's own helpers do not know.

    Attributes:
        username: For https with a token; any name will do at most hosts.
        token: Token or password.
        ssh_key: Path of a private key.
    """

    username: str = "windlass"
    token: Secret | None = field(default=None, repr=False)
    ssh_key: str = ""


def _environment(location: Location | None, access: GitAccess | None) -> dict[str, str]:
    """The environment for one call; `location` is None for calls that stay on this machine."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO",
            "GIT_SSL_CAPATH", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "XDG_CONFIG_HOME",
            "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # fmt: skip
    env = {name: os.environ[name] for name in kept if name in os.environ}
    config = list(_SAFE.items())
    if location is None:
        env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        env["GIT_ALLOW_PROTOCOL"] = ""
    else:
        env["GIT_ALLOW_PROTOCOL"] = location.protocol
        config.append((f"protocol.{location.protocol}.allow", "always"))
        if location.protocol == "file":
            config.append(("safe.directory", "*"))
        ssh = os.environ.get("GIT_SSH_COMMAND") or "ssh"
        if access is not None and access.ssh_key:
            ssh += f" -i {shlex.quote(str(Path(access.ssh_key).expanduser()))} -oIdentitiesOnly=yes"
        env["GIT_SSH_COMMAND"] = f"{ssh} -oBatchMode=yes -oPermitLocalCommand=no"
        config.remove(("core.sshCommand", ""))
        if access is not None and access.token is not None and location.protocol == "https":
            # A helper for this host alone: a header would follow when the host sends git elsewhere.
            host = f"credential.https://{urlsplit(location.remote).netloc.rpartition('@')[2]}"
            config += [(f"{host}.helper", ""), (f"{host}.helper", _HELPER), (f"{host}.username", access.username)]
            env[_VARIABLE] = access.token.reveal()
    env |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ATTR_NOSYSTEM": "1",
        "LC_ALL": "C",
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for i, (key, value) in enumerate(config):
        env[f"GIT_CONFIG_KEY_{i}"], env[f"GIT_CONFIG_VALUE_{i}"] = key, value
    return env


def is_cut_off(error: WindlassError) -> bool:
    """Whether the network or the host broke git off, rather than the repository: it may go well the next time."""
    return bool(_CUT_OFF.search(error.message)) and not _REFUSED.search(error.message)


def interrupted(remote: str) -> StorageError:
    """The error of a git that nobody waits for any more."""
    return StorageError("git was stopped", where=remote, retryable=True)


def run_git(
    *arguments: str,
    cwd: Path,
    location: Location | None = None,
    access: GitAccess | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = _TIMEOUT,
    cancelled: Callable[[], bool] = lambda: False,
) -> bytes:
    """Run git and return its output.

    Raises:
        AccessError, NotFoundError, StorageError: What git's message says; `retryable` for network faults, and when
            `cancelled` says that nobody waits for it any more.
    """
    remote = location.remote if location is not None else str(cwd)
    try:
        # A session of its own: what git starts ends with it.
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=cwd,
            env={**_environment(location, access), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise StorageError("the program git is not installed", hint="Install git on this machine.") from None
    until = time.monotonic() + timeout
    with process:
        try:
            while True:
                try:
                    output, said = process.communicate(timeout=_LOOK_EVERY)
                    break
                except subprocess.TimeoutExpired:
                    if cancelled():
                        raise interrupted(remote) from None
                    if time.monotonic() > until:
                        raise StorageError(
                            f"git did not end within {timeout:g} s", where=remote, retryable=True
                        ) from None
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode == 0:
        return output
    text = re.sub(r"//[^/@\s]*@", "//***@", said.decode(errors="replace")).strip()
    raise _error(text[-1500:] or f"git ended with code {process.returncode}", remote, location, access)


def _error(text: str, remote: str, location: Location | None, access: GitAccess | None) -> WindlassError:
    if _DENIED.search(text):
        return AccessError(f"git was refused: {text}", where=remote, hint=_how_to_sign_in(text, location, access))
    if location is not None and _ABSENT.search(text):
        return NotFoundError(f"git found nothing there: {text}", where=remote, hint="Check the URI and --git-hash.")
    error = StorageError(f"git failed: {text}", where=remote, retryable=location is not None)
    if location is not None and is_cut_off(error):
        error.hint = "Check the address and the network, and try again."
    return error


def _how_to_sign_in(text: str, location: Location | None, access: GitAccess | None) -> str:
    if _UNKNOWN_HOST.search(text):
        return "Add the host's key to ~/.ssh/known_hosts of the user who runs this."
    host = location.host if location is not None else ""
    if access is not None and (access.token is not None or access.ssh_key):
        what = "token" if access.token is not None else "ssh-key"
        return f"Check git.{host}.{what} in launch-config.yaml: is it valid, and may it read this repository?"
    own = "Set up a git credential helper or an ssh key for the user who runs this"
    if not host:
        return f"{own}."
    given = "ssh-key: PATH" if location is not None and location.protocol == "ssh" else "token: {secret: env/NAME}"
    return f"{own}, or write git: {{{host}: {{{given}}}}} in launch-config.yaml."
