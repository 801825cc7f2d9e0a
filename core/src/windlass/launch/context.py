"""The build context: the directory that a builder turns into an image."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from blake3 import blake3

from windlass.errors import ConfigError
from windlass.launch.dockerfile import CODE_FOLDER, SUPPORT_FOLDER, ImagePlan, generate
from windlass.launch.ignore import DockerIgnore
from windlass.launch.plan import base_image, command_of
from windlass.launch.requirements import Requirements, find_requirements, import_folder, python_version
from windlass.launch.safe import inside, read_text
from windlass.launch.start_script import check_script
from windlass.launch.wheels import job_requirements, pack_wheels
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Queue
from windlass.models.run import Run

__all__ = ["OWN_DOCKERFILE", "UNASKED_DOCKERFILES", "PreparedContext", "context_digest", "make_context"]

OWN_DOCKERFILE = "Dockerfile.windlass"
"""The first name of a Dockerfile that is looked for at the root of the build context, and that of a generated one."""
UNASKED_DOCKERFILES = (OWN_DOCKERFILE, "Dockerfile")
_OURS = "windlass.txt"


@frozen(kw_only=True)
class PreparedContext:
    """A build context.

    Attributes:
        context: Directory.
        dockerfile: Path of the Dockerfile relative to it.
        name: Image name, for images that are not pushed.
        generated: The Dockerfile was generated.
        notes: What was chosen and why, a line each; for the build log.
        requirements: Dependencies that a generated Dockerfile installs.
    """

    context: Path
    dockerfile: str
    name: str
    generated: bool = False
    notes: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()


def make_context(
    run: Run, source_dir: Path, target: Path, *, queue: Queue, cache_dir: Path | None = None
) -> PreparedContext:
    """Make the build context of a run.

    The Dockerfile is, in this order: the one asked for at the launch, the job's, ``Dockerfile.windlass`` and then
    ``Dockerfile`` at the root of the build context, a generated one. Its path is relative to the build context, the
    build context's to the source. ``.dockerignore`` (or ``<Dockerfile>.dockerignore``) is obeyed.

    A Dockerfile of the user's own finds what brings windlass into the image in ``.windlass/`` if it copies from there:
    ``windlass.txt`` (requirements) and ``wheels/`` (for versions that no index has).

    Args:
        run: With its spec.
        source_dir: The code (`windlass.launch.sources.fetch_source`); not changed.
        target: Directory that is made.
        queue: May name a base image.
        cache_dir: For packed wheels; the settings' by default.

    Raises:
        ConfigError: No such directory, script or Dockerfile, or a file of the source does not fit.
        UsageError: The base image is no image reference.
    """
    spec = run.spec
    if spec is None:
        raise ConfigError("the run has no launch spec", where=run.id)
    wanted = spec.build_context or spec.source.build_context
    root = inside(source_dir, wanted, "build_context")
    if not root.is_dir():
        raise ConfigError(
            f"the source has no directory {wanted!r}", where="build_context", hint="It is relative to the source."
        )
    target.mkdir(parents=True, exist_ok=True)
    name = _image_name(spec, run)
    dockerfile = spec.dockerfile or spec.source.dockerfile
    if dockerfile and not inside(root, dockerfile, "dockerfile").is_file():
        raise ConfigError(
            f"the build context has no file {dockerfile!r}", where="dockerfile",
            hint=f"It is relative to the build context{f' {wanted!r}' if wanted else ''}.",
        )  # fmt: skip
    found = "" if dockerfile else next((file for file in UNASKED_DOCKERFILES if (root / file).is_file()), "")
    if dockerfile or found:
        dockerfile = dockerfile or found
        note = f"Dockerfile: {dockerfile}, {'found in the build context' if found else 'as asked for'}"
        _copy(root, target, dockerfile)
        text = (target / dockerfile).read_text(encoding="utf-8", errors="replace")
        if f"{SUPPORT_FOLDER}/" in text:
            _support_windlass(target / SUPPORT_FOLDER, cache_dir)
        return PreparedContext(context=target, dockerfile=dockerfile, name=name, notes=(note,))
    command = command_of(spec)[0]
    check_script(command, root, "entry_point")
    needs = find_requirements(root, spec.requirements, command)
    base = base_image(spec, queue)
    ours, unreleased = job_requirements()
    plan = ImagePlan(
        python=python_version(root, spec.source.python, command),
        base_image=base.ref,
        accelerator=base.accelerator,
        requirements=bool(needs.lines),
        requirements_need_code=needs.needs_code,
        windlass=ours,
        wheels=unreleased,
        command=command,
        import_from=import_folder(root),
    )
    _copy(root, target / CODE_FOLDER, "")
    _write_requirements(root, target / SUPPORT_FOLDER / "requirements", needs)
    if unreleased:
        pack_wheels(target / SUPPORT_FOLDER / "wheels", _cache(cache_dir))
    (target / OWN_DOCKERFILE).write_text(generate(plan), encoding="utf-8")
    notes = (
        f"Dockerfile: generated, for there is none in the build context; Python {plan.python}",
        f"dependencies: {needs.origin or 'none'}",
        *((f"PYTHONPATH: the project's {plan.import_from}",) if plan.import_from else ()),
        *needs.notes,
    )
    return PreparedContext(
        context=target, dockerfile=OWN_DOCKERFILE, name=name, generated=True, notes=notes, requirements=needs.lines
    )


def _cache(given: Path | None) -> Path:
    if given is not None:
        return given
    from windlass.settings import Settings

    return Settings.from_env().cache_dir


def _support_windlass(folder: Path, cache_dir: Path | None) -> None:
    """What a user's own Dockerfile may install windlass from. The names do not depend on whether it is released."""
    ours, unreleased = job_requirements()
    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    if unreleased:
        pack_wheels(wheels, _cache(cache_dir))
    (folder / _OURS).write_text("".join(f"{line}\n" for line in ours), encoding="utf-8")


def _image_name(spec: LaunchSpec, run: Run) -> str:
    job = (spec.job or run.job or "job").rpartition("/")[2].partition(":")[0]
    return "windlass/" + (re.sub(r"[^a-z0-9]+", "-", job.lower()).strip("-") or "job")


def _write_requirements(root: Path, target: Path, needs: Requirements) -> None:
    if not needs.lines:
        return
    target.mkdir(parents=True)
    (target / "requirements.txt").write_text("".join(f"{line}\n" for line in needs.lines), encoding="utf-8")
    for name in needs.includes:
        text = read_text(root, name)
        assert text is not None
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")


def _copy(root: Path, target: Path, dockerfile: str) -> None:
    """Copy a tree without what its ignore file names. Links stay links, so nothing outside is read."""
    lines = None
    if dockerfile:
        lines = read_text(root, f"{dockerfile}.dockerignore")
    if lines is None:
        lines = read_text(root, ".dockerignore")
    ignore = DockerIgnore((lines or "").splitlines())
    always = {dockerfile} - {""}
    target.mkdir(parents=True, exist_ok=True)
    for relative, path in _tree(root, "", ignore):
        if relative not in always and ignore.ignored(relative):
            continue
        copy = target / relative
        if path.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(os.readlink(path))
        elif path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        elif path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    for name in always:
        if not (target / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(inside(root, name, "dockerfile"), target / name)


def _tree(root: Path, prefix: str, ignore: DockerIgnore) -> Iterator[tuple[str, Path]]:
    for entry in sorted(os.scandir(root / prefix), key=lambda entry: entry.name):
        relative = prefix + entry.name
        if relative == ".git" or relative == ".dockerignore":
            continue
        yield relative, root / relative
        if entry.is_dir(follow_symlinks=False) and (ignore.has_exceptions or not ignore.ignored(relative)):
            yield from _tree(root, f"{relative}/", ignore)


def context_digest(context: Path) -> str:
    """The digest of a build context: paths, contents, link targets and executable bits; not times and owners.

    Returns:
        ``blake3:<64 hex>``.
    """
    total = blake3()
    for relative, path in _tree(context, "", DockerIgnore(())):
        if path.is_symlink():
            kind, content = b"link", os.fsencode(os.readlink(path))
        elif path.is_dir():
            kind, content = b"dir", b""
        else:
            kind = b"exec" if path.stat().st_mode & 0o100 else b"file"
            content = blake3(max_threads=blake3.AUTO).update_mmap(path).digest()
        for part in (kind, os.fsencode(relative), content):
            total.update(len(part).to_bytes(8, "big") + part)
    return f"blake3:{total.hexdigest()}"
