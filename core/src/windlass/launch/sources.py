"""Getting a job's code onto this machine. No code of the job runs here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.errors import ConfigError, UsageError, WindlassError
from windlass.launch.git import Checkout, GitAccess, Mirror
from windlass.launch.ignore import LeftOut, code_files
from windlass.launch.safe import inside
from windlass.launch.uris import Location, UriKind, classify, resolve_relative
from windlass.models.job import JobSource, SourceKind

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.engine import ArtifactEngine

__all__ = ["EXECUTABLES", "PATCH_FILE", "code_artifact", "fetch_source", "patch_artifact"]

EXECUTABLES = ".windlass-executables"
"""Entry of a code artifact that lists the executable files, as artifacts keep no modes. Removed when it is fetched."""
PATCH_FILE = "diff.patch"
_SUBMODULE_DEPTH = 8


def code_artifact(directory: Path, name: str, *, skip: tuple[Path, ...] = ()) -> Artifact:
    """A code artifact, not logged yet, with the files of a directory that belong to its code.

    Raises:
        ConfigError: No directory, or nothing in it belongs to the code.
    """
    from windlass.artifacts.artifact import Artifact

    artifact = Artifact.internal(name, "code")
    executables, count, left_out = [], 0, LeftOut()
    for file in code_files(directory, skip, left_out):
        artifact.add_file(str(file.source), name=file.path)
        count += 1
        if file.executable:
            executables.append(file.path)
    left_out.say(directory)
    if not count:
        raise ConfigError(
            "the directory holds no code", where=str(directory), hint="Everything in it is empty or ignored."
        )
    if executables:
        with artifact.new_file(EXECUTABLES) as out:
            out.write("".join(f"{path}\n" for path in executables))
    return artifact


def patch_artifact(patch: bytes, name: str) -> Artifact:
    """An artifact, not logged yet, with uncommitted changes (``git diff --binary HEAD``); see `JobSource.patch`."""
    from windlass.artifacts.artifact import Artifact

    artifact = Artifact.internal(name, "code-patch")
    with artifact.new_file(PATCH_FILE, mode="xb") as out:
        out.write(patch)
    return artifact


def fetch_source(
    source: JobSource,
    target: Path,
    *,
    engine: ArtifactEngine,
    cache_dir: Path,
    access: Mapping[str, GitAccess] | None = None,
    note: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Put the code of a job into a directory.

    Args:
        source: From the job or launch spec.
        target: Directory that is made here, or is there and empty.
        engine: For code artifacts and patches.
        cache_dir: Git mirrors are kept below it.
        access: How to sign in, by git host; others use the host's own git config.
        note: Takes what is worth knowing about the code, a line each.
        cancelled: Asked while a git host is waited for; True ends that.

    Returns:
        `target`; it stays empty for image jobs.

    Raises:
        AccessError, NotFoundError, StorageError, ArtifactNotFoundError: The code cannot be had.
        ConfigError, UsageError: The source does not fit.
    """
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise UsageError("the target directory is not empty", where=str(target))
    if source.kind is SourceKind.CODE:
        engine.get(source.artifact, type="code").download(root=str(target))
        _restore_modes(target)
    elif source.kind is SourceKind.GIT:
        location = classify(source.remote)
        if location.kind is not UriKind.GIT:
            raise UsageError(f"{source.remote!r} is not a git remote", where="source.remote")
        with tempfile.TemporaryDirectory(prefix="windlass-patch-") as folder:
            patch = None
            if source.patch:
                engine.get(source.patch, type="code-patch").download(root=folder)
                patch = Path(folder, PATCH_FILE)
            _Fetch(cache_dir, dict(access or {}), note, cancelled).checkout(location, source.commit, target, patch)
    return target


def _restore_modes(target: Path) -> None:
    listing = target / EXECUTABLES
    if not listing.is_file():
        return
    for line in listing.read_text(encoding="utf-8").splitlines():
        path = inside(target, line, EXECUTABLES)
        if path.is_file():
            path.chmod(path.stat().st_mode | 0o111)
    listing.unlink()


class _Fetch:
    """A repository with its submodules."""

    def __init__(
        self,
        cache: Path,
        access: dict[str, GitAccess],
        note: Callable[[str], None] | None,
        cancelled: Callable[[], bool],
    ) -> None:
        self._cache = cache
        self._access = access
        self._note = note
        self._cancelled = cancelled

    def checkout(
        self, location: Location, commit: str, target: Path, patch: Path | None = None, *, depth: int = 0
    ) -> None:
        mirror = Mirror(location, self._cache, self._access.get(location.host), self._cancelled)
        mirror.fetch(commit)
        done = mirror.checkout(commit, target, patch)
        if done.pointers and self._note is not None:
            names = ", ".join(done.pointers[:5]) + (" …" if len(done.pointers) > 5 else "")
            self._note(
                f"WARNING: {len(done.pointers)} files of {location.remote} are pointers of Git LFS, not the contents,"
                f" which Windlass does not fetch: {names}. Keep large files in artifacts."
            )
        for path, url, pinned in _submodules(done, location.remote):
            if depth >= _SUBMODULE_DEPTH:
                raise ConfigError(
                    f"submodules are nested deeper than {_SUBMODULE_DEPTH}", where=f"{location.remote}: {path}"
                )
            try:
                below = classify(url, local=False)
            except UsageError as error:
                raise ConfigError(
                    f"the submodule '{path}': {error.message}", where=".gitmodules",
                    hint="Only https and ssh are allowed.",
                ) from None  # fmt: skip
            folder = target / path
            if folder.is_symlink() or target.resolve() not in folder.resolve().parents:
                raise ConfigError(f"the submodule '{path}' lies behind a link", where=".gitmodules")
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self.checkout(below, pinned, folder, depth=depth + 1)
            except WindlassError as error:
                error.hint = f"It is the submodule '{path}' of {location.remote}. {error.hint}".rstrip()
                raise


def _submodules(done: Checkout, remote: str) -> list[tuple[str, str, str]]:
    """Path, URL and commit of the submodules; gitlinks without a ``.gitmodules`` entry are left empty."""
    urls = {entry["path"]: entry["url"] for entry in done.modules if {"path", "url"} <= set(entry)}
    known = {path: pinned for path, pinned in done.gitlinks.items() if path in urls}
    return [(path, resolve_relative(remote, urls[path]), pinned) for path, pinned in known.items()]
