"""Git repositories: the commit that a name stands for, and its files from a mirror that is kept."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import frozen

from windlass.errors import NotFoundError, StorageError, UsageError
from windlass.launch.git_process import GitAccess, interrupted, is_cut_off, run_git
from windlass.launch.uris import Location, check_ref

__all__ = ["Checkout", "GitAccess", "Mirror", "resolve_commit"]

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PAUSES = (1.0, 4.0)
"""Seconds before a fetch that the network broke off is tried again."""


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
    missing = f"the repository has no branch, tag or commit {ref!r}" if ref else "the repository is empty"
    hint = f"Branches: {', '.join(sorted(branches)[:10])}." if branches else "Push a commit first."
    if branches and not ref:
        missing, hint = "the repository's default branch does not exist", f"Name one with --git-hash. {hint}"
    raise NotFoundError(missing, where=location.remote, hint=hint)


@frozen(kw_only=True)
class Checkout:
    """What was written.

    Attributes:
        gitlinks: Pinned commit of each submodule, by path.
        modules: Path and URL of the submodules that ``.gitmodules`` names, a mapping for each.
        pointers: Files that hold the address of a content kept by Git LFS instead of it.
    """

    gitlinks: Mapping[str, str]
    modules: tuple[Mapping[str, str], ...] = ()
    pointers: tuple[str, ...] = ()


class Mirror:
    """A cached bare repository of one remote. Several processes may use it.

    Args:
        location: The remote.
        cache_dir: Mirrors are kept below it.
        access: How to sign in.
        cancelled: Asked while the remote is waited for; True ends that.
    """

    def __init__(
        self,
        location: Location,
        cache_dir: Path,
        access: GitAccess | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._location = location
        self._access = access
        self._cancelled = cancelled
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
            except (NotFoundError, StorageError) as error:
                if is_cut_off(error) or self._cancelled():
                    raise  # the whole history would not come through either
                self._fetch("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", shallow=False)
            if self._commit(commit) != commit:
                raise NotFoundError(
                    f"the repository has no commit {commit}",
                    where=self._location.remote,
                    hint="It may have been removed by a forced push; push it again or take another.",
                )
            # The ref keeps the commit from being collected, and marks that its files are complete.
            self.run("update-ref", f"refs/windlass/{commit}", commit)

    def checkout(self, commit: str, target: Path, patch: Path | None = None) -> Checkout:
        """Write the files of a fetched commit into an empty directory. No filter of any config applies.

        Args:
            commit: That was fetched.
            target: The directory.
            patch: Changes of the commit, as ``git diff --binary`` writes them. They are made to the commit's own
                content, so line ends and links are as git would write them.

        Raises:
            StorageError: The patch does not fit.
        """
        index = target.parent / f".{target.name}.index"
        env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(target), "GIT_DIR": str(self.path)}
        try:
            run_git("read-tree", commit, cwd=target, env=env)
            if patch is not None:
                run_git("apply", "--cached", "--whitespace=nowarn", str(patch), cwd=target, env=env)
            run_git("checkout-index", "--all", "--force", "--quiet", cwd=target, env=env)
            return self._described(run_git("ls-files", "--stage", "-z", cwd=target, env=env), target)
        finally:
            index.unlink(missing_ok=True)

    def _described(self, listing: bytes, target: Path) -> Checkout:
        links: dict[str, str] = {}
        files: list[str] = []
        modules: tuple[Mapping[str, str], ...] = ()
        for record in listing.split(b"\0"):
            head, tab, path = record.partition(b"\t")
            if not tab:
                continue
            mode, blob, _ = head.decode().split()
            name = os.fsdecode(path)
            if mode == "160000":
                links[name] = blob
            elif mode.startswith("100"):
                files.append(name)
                if name == ".gitmodules":
                    modules = self._modules(blob)
        pointed = any(_of_lfs(target / name) for name in files if name.rpartition("/")[2] == ".gitattributes")
        pointers = tuple(name for name in files if _is_pointer(target / name)) if pointed else ()
        return Checkout(gitlinks=links, modules=modules, pointers=pointers)

    def _modules(self, blob: str) -> tuple[Mapping[str, str], ...]:
        values: dict[str, dict[str, str]] = {}
        for setting in self.run("config", "--blob", blob, "--null", "--list").decode(errors="replace").split("\0"):
            key, _, value = setting.partition("\n")
            match = re.fullmatch(r"submodule\.(.+)\.(path|url)", key, re.DOTALL)
            if match:
                values.setdefault(match[1], {})[match[2]] = value
        return tuple(values.values())

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
        for pause in (*_PAUSES, None):
            try:
                run_git(
                    "fetch", "--quiet", "--force", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
                    *depth, "--", self._location.remote, *refs, cwd=self.path, location=self._location,
                    access=self._access, env={"GIT_DIR": str(self.path)}, cancelled=self._cancelled,
                )  # fmt: skip
                return
            except StorageError as error:
                if pause is None or not is_cut_off(error) or self._cancelled():
                    raise
                time.sleep(pause)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{self.path}.lock", "a", encoding="utf-8") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:  # somebody fetches, for as long as that takes
                    if self._cancelled():
                        raise interrupted(self._location.remote) from None
                    time.sleep(0.1)
            if not (self.path / "HEAD").exists():
                self.path.mkdir(exist_ok=True)
                run_git("init", "--quiet", "--bare", "--template=", str(self.path), cwd=self.path.parent)
            # We are alone, so these are of a git that was killed; it would never work here again.
            for left in (*self.path.glob("*.lock"), *(self.path / "refs").rglob("*.lock"),
                         *(self.path / "objects" / "pack").glob("tmp_*")):  # fmt: skip
                left.unlink(missing_ok=True)
            yield


def _of_lfs(attributes: Path) -> bool:
    return b"filter=lfs" in attributes.read_bytes()


def _is_pointer(path: Path) -> bool:
    if path.is_symlink() or path.stat().st_size > 1024:
        return False
    return path.read_bytes().startswith(b"version https://git-lfs.github.com/spec/")
