"""Getting a job's code onto this machine. No code of the job runs here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.errors import ConfigError, UsageError
from windlass.launch.git import GitAccess, Mirror, run_git
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
) -> Path:
    """Put the code of a job into a directory.

    Args:
        source: From the job or launch spec.
        target: Directory that is made here, or is there and empty.
        engine: For code artifacts and patches.
        cache_dir: Git mirrors are kept below it.
        access: How to sign in, by git host; others use the host's own git config.

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
        _checkout(location, source.commit, target, cache_dir, dict(access or {}), 0)
        if source.patch:
            _apply_patch(source.patch, target, engine)
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


def _checkout(
    location: Location, commit: str, target: Path, cache: Path, access: dict[str, GitAccess], depth: int
) -> None:
    mirror = Mirror(location, cache, access.get(location.host))
    mirror.fetch(commit)
    mirror.checkout(commit, target)
    for path, url, pinned in _submodules(mirror, commit, location.remote):
        if depth >= _SUBMODULE_DEPTH:
            raise ConfigError(
                f"submodules are nested deeper than {_SUBMODULE_DEPTH}", where=f"{location.remote}: {path}"
            )
        try:
            below = classify(url, local=False)
        except UsageError as error:
            raise ConfigError(
                f"the submodule '{path}': {error.message}", where=".gitmodules", hint="Only https and ssh are allowed."
            ) from None
        folder = target / path
        if folder.is_symlink() or target.resolve() not in folder.resolve().parents:
            raise ConfigError(f"the submodule '{path}' lies behind a link", where=".gitmodules")
        folder.mkdir(parents=True, exist_ok=True)
        _checkout(below, pinned, folder, cache, access, depth + 1)


def _submodules(mirror: Mirror, commit: str, remote: str) -> list[tuple[str, str, str]]:
    """Path, URL and commit of the submodules of a commit; gitlinks without a ``.gitmodules`` entry are left empty."""
    links, listed = {}, False
    for record in mirror.run("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
        head, tab, path = record.partition(b"\t")
        words = head.split()
        listed = listed or path == b".gitmodules"
        if tab and words[0] == b"160000":
            links[os.fsdecode(path)] = words[2].decode()
    if not links or not listed:
        return []
    listing = mirror.run("config", "--blob", f"{commit}:.gitmodules", "--null", "--list")
    values: dict[str, dict[str, str]] = {}
    for setting in listing.decode(errors="replace").split("\0"):
        key, _, value = setting.partition("\n")
        match = re.fullmatch(r"submodule\.(.+)\.(path|url)", key, re.DOTALL)
        if match:
            values.setdefault(match[1], {})[match[2]] = value
    urls = {entry["path"]: entry["url"] for entry in values.values() if {"path", "url"} <= set(entry)}
    return [(path, resolve_relative(remote, urls[path]), commit) for path, commit in links.items() if path in urls]


def _apply_patch(artifact: str, target: Path, engine: ArtifactEngine) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        engine.get(artifact, type="code-patch").download(root=folder)
        patch = Path(folder, PATCH_FILE)
        # Outside a repository git applies to files as they are; it refuses paths that lead out or through links.
        run_git(
            "apply", "--whitespace=nowarn", str(patch),
            cwd=target, env={"GIT_CEILING_DIRECTORIES": str(target.resolve().parent)},
        )  # fmt: skip
