"""Running git on repositories that are not trusted.

Fetching uses the host's own git config (credential helpers, proxies, certificates); reading what was fetched uses none,
so that no filter, hook or monitor of that config runs on foreign content. Hooks are switched off throughout, unknown
protocols are refused, nothing asks for a password, and secrets travel in the environment, never in arguments.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from windlass.config.secrets import Secret
from windlass.errors import AccessError, NotFoundError, StorageError, UsageError
from windlass.launch.uris import Location, check_ref

__all__ = ["GitAccess", "Mirror", "resolve_commit"]

_TIMEOUT = 900.0
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DENIED = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|terminal prompts disabled"
    r"|access denied|\b40[13]\b|host key verification failed|repository not found|invalid credentials",
    re.IGNORECASE,
)
_ABSENT = re.compile(r"does not appear to be a git repository|not found|does not exist|\b404\b", re.IGNORECASE)
_SAFE = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.sshCommand": "",
    "core.gitProxy": "",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "fetch.fsckObjects": "true",
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
    config = dict(_SAFE)
    if location is None:
        env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        env["GIT_ALLOW_PROTOCOL"] = ""
    else:
        env["GIT_ALLOW_PROTOCOL"] = location.protocol
        config[f"protocol.{location.protocol}.allow"] = "always"
        if location.protocol == "file":
            config["safe.directory"] = "*"
        ssh = os.environ.get("GIT_SSH_COMMAND") or "ssh"
        if access is not None and access.ssh_key:
            ssh += f" -i {shlex.quote(str(Path(access.ssh_key).expanduser()))} -oIdentitiesOnly=yes"
        env["GIT_SSH_COMMAND"] = f"{ssh} -oBatchMode=yes -oPermitLocalCommand=no"
        del config["core.sshCommand"]
        if access is not None and access.token is not None and location.protocol == "https":
            pair = base64.b64encode(f"{access.username}:{access.token.reveal()}".encode()).decode()
            config[f"http.{location.remote}.extraHeader"] = f"Authorization: Basic {pair}"
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
    for i, (key, value) in enumerate(config.items()):
        env[f"GIT_CONFIG_KEY_{i}"], env[f"GIT_CONFIG_VALUE_{i}"] = key, value
    return env


def run_git(
    *arguments: str,
    cwd: Path,
    location: Location | None = None,
    access: GitAccess | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = _TIMEOUT,
) -> bytes:
    """Run git and return its output.

    Raises:
        AccessError, NotFoundError, StorageError: What git's message says; `retryable` for network faults.
    """
    remote = location.remote if location is not None else str(cwd)
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            env={**_environment(location, access), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise StorageError("the program git is not installed", hint="Install git on this machine.") from None
    except subprocess.TimeoutExpired:
        raise StorageError(f"git did not end within {timeout:g} s", where=remote, retryable=True) from None
    if done.returncode == 0:
        return done.stdout
    text = re.sub(r"//[^/@\s]*@", "//***@", done.stderr.decode(errors="replace")).strip()
    short = text[-1500:] or f"git ended with code {done.returncode}"
    if _DENIED.search(text):
        hint = "Set up a git credential helper or an ssh key for the user who runs this."
        raise AccessError(f"git was refused: {short}", where=remote, hint=hint)
    if location is not None and _ABSENT.search(text):
        raise NotFoundError(f"git found nothing there: {short}", where=remote, hint="Check the URI and --git-hash.")
    raise StorageError(f"git failed: {short}", where=remote, retryable=location is not None)


def resolve_commit(location: Location, ref: str, cache_dir: Path, access: GitAccess | None = None) -> str:
    """The full commit that a branch, tag or (short) commit hash names now; the default branch when `ref` is empty.

    Raises:
        UsageError: `ref` could not be a name.
        NotFoundError: There is no such ref; names branches that there are.
        AccessError, StorageError: See `run_git`.
    """
    if ref:
        check_ref(ref)
    cache_dir.mkdir(parents=True, exist_ok=True)
    listing = run_git("ls-remote", "--", location.remote, cwd=cache_dir, location=location, access=access, timeout=120)
    refs: dict[str, str] = {}
    for line in listing.decode(errors="replace").splitlines():
        commit, _, name = line.partition("\t")
        if _COMMIT.fullmatch(commit):
            refs[name] = commit
    if not ref and "HEAD" in refs:
        return refs["HEAD"]
    for name in (f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", ref):
        if ref and name in refs:
            return refs[name]
    if re.fullmatch(r"[0-9a-fA-F]{7,64}", ref):
        found = {commit for commit in refs.values() if commit.startswith(ref.lower())}
        if len(found) == 1:
            return found.pop()
        if commit := Mirror(location, cache_dir, access).find_commit(ref.lower()):
            return commit
    branches = [name.removeprefix("refs/heads/") for name in refs if name.startswith("refs/heads/")]
    raise NotFoundError(
        f"the repository has no branch, tag or commit {ref!r}" if ref else "the repository is empty",
        where=location.remote,
        hint=f"Branches: {', '.join(sorted(branches)[:10])}." if branches else "Push a commit first.",
    )


class Mirror:
    """A cached bare repository of one remote. Several processes may use it."""

    def __init__(self, location: Location, cache_dir: Path, access: GitAccess | None = None) -> None:
        self._location = location
        self._access = access
        key = hashlib.sha256(location.remote.encode()).hexdigest()[:32]
        self.path = cache_dir / "git" / key

    def find_commit(self, short: str) -> str:
        """The commit that a shortened hash names, looked for in the whole history; empty if there is none."""
        with self._locked():
            self._fetch("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", shallow=False)
        return self._commit(short)

    def fetch(self, commit: str) -> None:
        """Make a commit with its files available, fetching no more than that where the server lets us.

        Raises:
            NotFoundError: The remote has no such commit.
        """
        if not _COMMIT.fullmatch(commit):
            raise UsageError(f"{commit!r} is not a full commit hash", where=self._location.remote)
        with self._locked():
            if self._kept(commit):
                return
            try:
                self._fetch(commit, shallow=True)
            except (NotFoundError, StorageError):
                self._fetch("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", shallow=False)
            if self._commit(commit) != commit:
                raise NotFoundError(
                    f"the repository has no commit {commit}",
                    where=self._location.remote,
                    hint="It may have been removed by a forced push; push it again or take another.",
                )
            # The ref keeps the commit from being collected, and marks that its files are complete.
            self.run("update-ref", f"refs/windlass/{commit}", commit)

    def checkout(self, commit: str, target: Path) -> None:
        """Write the files of a fetched commit into an empty directory. No filter of any config applies."""
        index = target.parent / f".{target.name}.index"
        env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(target), "GIT_DIR": str(self.path)}
        try:
            run_git("read-tree", commit, cwd=target, env=env)
            run_git("checkout-index", "--all", "--force", "--quiet", cwd=target, env=env)
        finally:
            index.unlink(missing_ok=True)

    def run(self, *arguments: str) -> bytes:
        """Run git in the mirror, off line."""
        return run_git(*arguments, cwd=self.path, env={"GIT_DIR": str(self.path)})

    def _commit(self, name: str) -> str:
        try:
            text = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except StorageError:
            return ""
        return text.decode().strip()

    def _kept(self, commit: str) -> bool:
        return self._commit(f"refs/windlass/{commit}") == commit

    def _fetch(self, *refs: str, shallow: bool) -> None:
        depth = ["--depth=1"] if shallow else (["--unshallow"] if (self.path / "shallow").exists() else [])
        run_git(
            "fetch", "--quiet", "--force", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", *depth,
            "--", self._location.remote, *refs,
            cwd=self.path, location=self._location, access=self._access, env={"GIT_DIR": str(self.path)},
        )  # fmt: skip

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{self.path}.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self.path / "HEAD").exists():
                self.path.mkdir(exist_ok=True)
                run_git("init", "--quiet", "--bare", "--template=", str(self.path), cwd=self.path.parent)
            yield
