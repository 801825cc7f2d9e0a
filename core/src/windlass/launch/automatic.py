"""Jobs that runs leave behind: any run whose code can be had again is a blueprint."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from windlass.errors import UsageError
from windlass.launch.entry import Entry, entry_of_process
from windlass.launch.inputs import inputs_of
from windlass.launch.names import default_job_name
from windlass.launch.notebook import notebook_command
from windlass.launch.schema import infer_types
from windlass.launch.uris import UriKind, classify
from windlass.models import JSON
from windlass.models.job import JobSource, JobSpec, SourceKind

__all__ = [
    "Entry",
    "GitState",
    "JobDraft",
    "automatic_job",
    "entry_of_process",
    "frozen_list",
    "git_state",
    "inputs_of",
]

_log = logging.getLogger("windlass")
_TIMEOUT = 10.0
_PATCH_LIMIT = 32 << 20
# Whatever the user's config says of how differences are shown, this is what `git apply` reads. What was changed within
# a submodule cannot be part of it.
_DIFF = ("diff", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "-U3", "--src-prefix=a/",
         "--dst-prefix=b/", "--submodule=short", "--ignore-submodules=dirty", "HEAD")  # fmt: skip
_SKIP = re.compile(r"(?:dagster-)?windlass(?:-.*)?|pip|setuptools|wheel|uv")


@frozen(kw_only=True)
class GitState:
    """A checkout that can be had again from its remote.

    Attributes:
        root: Top directory.
        remote: Without credentials.
        commit: Checked out.
        patch: Uncommitted changes; empty if there are none. Of files that git does not know yet, Python files and
            those that were asked for are in it.
    """

    root: str
    remote: str
    commit: str
    patch: bytes = b""


@frozen(kw_only=True)
class JobDraft:
    """A job that is not stored yet; its patch neither.

    Attributes:
        name: Of the job.
        spec: Content.
        patch: To be stored as `JobSource.patch`.
    """

    name: str
    spec: JobSpec
    patch: bytes = b""


def git_state(folder: str, files: Iterable[str] = ()) -> GitState | None:
    """The checkout around a directory.

    Args:
        folder: The directory.
        files: Paths, relative to it, of files that belong to the code even if git does not know them yet.

    Returns:
        None without one, without a commit, without a remote that others could fetch from, and when its uncommitted
        changes are too large to be kept.
    """
    from windlass.sdk.facts import without_credentials

    root, commit, remote = (
        _git(folder, *words).decode(errors="replace").strip()
        for words in (("rev-parse", "--show-toplevel"), ("rev-parse", "HEAD"), ("remote", "get-url", "origin"))
    )
    if not (root and commit and remote):
        return None
    remote = without_credentials(remote)
    try:
        location = classify(f"file://{remote}" if os.path.isabs(remote) else remote, local=True)
    except UsageError:
        return None
    if location.kind is not UriKind.GIT:
        return None
    patch = _changes(root, [os.path.join(folder, name) for name in files])
    if patch is None or len(patch) > _PATCH_LIMIT:
        what = "cannot be had from git" if patch is None else f"are {len(patch) >> 20} MB, too many to be kept"
        _log.warning("the uncommitted changes in %s %s: commit them to get a job from this run", root, what)
        return None
    return GitState(root=root, remote=location.remote, commit=commit, patch=patch)


def _changes(root: str, files: Iterable[str]) -> bytes | None:
    """Uncommitted changes; None when git does not tell them. New files are added to a copy of git's index, so the
    user's own stays as it is.
    """
    inside = [os.path.relpath(os.path.realpath(file), root) for file in files]
    wanted = [":(glob)**/*.py", *(f":(literal){path}" for path in inside if path.split(os.sep)[0] != os.pardir)]
    new = _ask(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *wanted)
    where = _ask(root, "rev-parse", "--git-path", "index")
    if not new or not where:
        return None if new is None or where is None else _ask(root, *_DIFF)
    with tempfile.TemporaryDirectory(prefix="windlass-index-") as scratch:
        copy = os.path.join(scratch, "index")
        index = os.path.join(root, os.fsdecode(where.rstrip(b"\n")))
        if os.path.exists(index):
            shutil.copy2(index, copy)
        names = [os.fsdecode(name) for name in new.rstrip(b"\0").split(b"\0")]
        added = _ask(root, "--literal-pathspecs", "add", "--intent-to-add", "--", *names, GIT_INDEX_FILE=copy)
        return None if added is None else _ask(root, *_DIFF, GIT_INDEX_FILE=copy)


def _git(folder: str, *words: str) -> bytes:
    return _ask(folder, *words) or b""


def _ask(folder: str, *words: str, **env: str) -> bytes | None:
    """What git prints; None if it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", folder, *words], capture_output=True, timeout=_TIMEOUT, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", **env},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def frozen_list() -> tuple[str, ...]:
    """What is installed here, pinned, without Windlass and what installs packages."""
    from importlib import metadata  # 35 ms that only a run with a checkout needs, at its end

    found = {}
    for dist in metadata.distributions():
        name = dist.metadata["Name"] or ""
        if name and dist.version and not _SKIP.fullmatch(re.sub(r"[-_.]+", "-", name).lower()):
            found[name.lower()] = f"{name}=={dist.version}"
    return tuple(found[name] for name in sorted(found))


def automatic_job(
    *,
    entry: Entry,
    git: GitState | None = None,
    code: str = "",
    image: str = "",
    name: str = "",
    config: Mapping[str, JSON],
    summary: Mapping[str, JSON],
    notes: Mapping[str, JSON],
    requirements: Iterable[str] = (),
) -> JobDraft | None:
    """The job that a run leaves behind, by its git checkout, else its logged code, else its image.

    Args:
        entry: How it was started.
        git: Its checkout.
        code: Path ``entity/project/name:v<N>`` of the code artifact it logged.
        image: Image it runs in.
        name: Name for the job; empty: by source.
        config: Of the run.
        summary: Of the run.
        notes: What the run recorded about itself; declared inputs are there.
        requirements: What was installed.

    Returns:
        None when its code cannot be had again.
    """
    python = f"3.{sys.version_info.minor}"
    patch = b""
    if git is not None and (command := _command(entry, Path(git.root))) is not None:
        context = Path(entry.folder).resolve().relative_to(Path(git.root).resolve()).as_posix()
        inside = "" if context == "." else context
        source = JobSource(
            kind=SourceKind.GIT, remote=git.remote, commit=git.commit, build_context=inside, entry_point=command,
            python=python,
        )  # fmt: skip
        patch = git.patch
        default = default_job_name(remote=git.remote, script="/".join(filter(None, (inside, command[-1]))))
    elif code and (command := _command(entry, Path(entry.folder))) is not None:
        source = JobSource(kind=SourceKind.CODE, artifact=code, entry_point=command, python=python)
        default = default_job_name(code=code.rpartition("/")[2].partition(":")[0])
    elif image:
        source = JobSource(kind=SourceKind.IMAGE, image=image)
        default = default_job_name(image=image)
    else:
        return None
    schemas, types = inputs_of(config, notes)
    spec = JobSpec(
        source=source,
        input_schemas=schemas,
        input_types=types,
        output_types=infer_types({key: value for key, value in summary.items() if not key.startswith("_")}),
        requirements=() if source.kind is SourceKind.IMAGE else tuple(requirements),
    )
    return JobDraft(name=name or default, spec=spec, patch=patch)


def _command(entry: Entry, root: Path) -> tuple[str, ...] | None:
    """The entry point, to be started in the directory in which it was; None when that lies outside of the source."""
    folder = Path(entry.folder).resolve()
    if not folder.is_relative_to(root.resolve()):
        return None
    if entry.module:
        return ("python", "-m", entry.module)
    script = Path(entry.script).resolve() if entry.script else None
    if script is None or not script.is_relative_to(folder):
        return None
    path = script.relative_to(folder).as_posix()
    return notebook_command(path) or ("python", path)
