"""Wheels of the installed Windlass, for images that cannot get this version from an index.

They are packed from what is installed: offline, without a build tool, and always with the same bytes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import windlass

__all__ = ["JOB_DISTRIBUTIONS", "job_requirements", "pack_wheels"]

JOB_DISTRIBUTIONS = ("windlass-core", "windlass-metastore-http", "windlass-serializer-pickle")
"""What code in an image needs to talk to the store."""
_BESIDE = "tomlkit"
"""Writes the launch's values into TOML files; in any version, for the job may want one of its own."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SKIP = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json", "WHEEL")
_MARKER = re.compile(r";.*\bextra\b")


def job_requirements() -> tuple[tuple[str, ...], bool]:
    """Requirements that bring Windlass into an image, at the version installed here.

    Returns:
        The requirements, and whether they must come from `pack_wheels` because this version is not released.
    """
    versions = {}
    for name in JOB_DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    unreleased = "dev" in windlass.__version__ or any("dev" in v or "+" in v for v in versions.values())
    beside = [_BESIDE] if find_spec(_BESIDE) else []
    return (*(f"{name}=={version}" for name, version in versions.items()), *beside), unreleased


def pack_wheels(target: Path, cache_dir: Path) -> tuple[str, ...]:
    """Put wheels of `JOB_DISTRIBUTIONS` and of all they depend on into a directory; returns their file names."""
    target.mkdir(parents=True, exist_ok=True)
    names = []
    for dist in _closure():
        wheel = _wheel(dist, cache_dir)
        if wheel is not None:
            with contextlib.suppress(FileExistsError):
                _link(wheel, target / wheel.name)
            names.append(wheel.name)
    return tuple(sorted(names))


def _link(source: Path, target: Path) -> None:
    import shutil

    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _closure() -> list[metadata.Distribution]:
    todo, found = [*JOB_DISTRIBUTIONS, _BESIDE], dict[str, metadata.Distribution]()
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        try:
            dist = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an optional dependency, or one for another platform
        found[name] = dist
        for line in dist.requires or ():
            match = re.match(r"[A-Za-z0-9._-]+", line)
            if match and not _MARKER.search(line):
                todo.append(match.group())
    return [found[name] for name in sorted(found)]


def _wheel(dist: metadata.Distribution, cache_dir: Path) -> Path | None:
    files = sorted(_files(dist).items())
    if not files:
        return None
    name = re.sub(r"[-_.]+", "_", dist.metadata["Name"])
    # Installers keep the spelling that the wheel had (PyYAML, pyyaml), which need not be that of the name.
    folders = (path.partition("/")[0] for path, _ in files)
    info = next((folder for folder in folders if folder.endswith(".dist-info")), f"{name}-{dist.version}.dist-info")
    name = info.removesuffix(f"-{dist.version}.dist-info")
    wheel_text, tag = _wheel_file(dist)
    key = hashlib.sha256()
    hashes = {}
    for path, source in files:
        data = source.read_bytes()
        hashes[path] = (hashlib.sha256(data).digest(), len(data))
        key.update(f"{path}\0".encode() + hashes[path][0])
    folder = cache_dir / "wheels" / key.hexdigest()[:24]
    wheel = folder / f"{name}-{dist.version}-{tag}.whl"
    if wheel.exists():
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    hashes[f"{info}/WHEEL"] = (hashlib.sha256(wheel_text.encode()).digest(), len(wheel_text.encode()))
    record = "".join(f"{path},sha256={_b64(digest)},{size}\n" for path, (digest, size) in hashes.items())
    handle, partial = tempfile.mkstemp(dir=folder, suffix=".part")
    with os.fdopen(handle, "wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        for path, source in files:
            mode = 0o755 if path.endswith(".so") else 0o644
            _write(out, path, source.read_bytes(), mode)
        _write(out, f"{info}/WHEEL", wheel_text.encode(), 0o644)
        _write(out, f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode(), 0o644)
    os.replace(partial, wheel)
    return wheel


def _write(out: zipfile.ZipFile, path: str, data: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(path, _EPOCH)
    entry.external_attr = (0o100000 | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    out.writestr(entry, data)


def _b64(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _wheel_file(dist: metadata.Distribution) -> tuple[str, str]:
    text = dist.read_text("WHEEL") or ""
    tags = re.findall(r"(?m)^Tag:\s*(\S+)", text) or ["py3-none-any"]
    pure = "false" if "Root-Is-Purelib: false" in text else "true"
    body = f"Wheel-Version: 1.0\nGenerator: windlass\nRoot-Is-Purelib: {pure}\n" + "".join(f"Tag: {t}\n" for t in tags)
    parts = [tag.split("-") for tag in tags]
    return body, "-".join(".".join(dict.fromkeys(p[i] for p in parts)) for i in range(3))


def _files(dist: metadata.Distribution) -> dict[str, Path]:
    """The files of a distribution by their path in a wheel, for editable installs those of the sources."""
    result: dict[str, Path] = {}
    for file in dist.files or ():
        path = PurePosixPath(file.as_posix())
        local = Path(str(dist.locate_file(file)))
        if path.suffix == ".pth" and len(path.parts) == 1 and local.is_file():
            for line in local.read_text(encoding="utf-8").splitlines():
                if line.strip() and not line.startswith("import") and Path(line.strip()).is_dir():
                    result |= dict(_sources(Path(line.strip())))
            continue
        if ".." in path.parts or path.suffix == ".pyc" or "__pycache__" in path.parts:
            continue  # scripts, which pip makes anew, and byte-code
        if path.parts[0].endswith(".dist-info") and path.name in _SKIP:
            continue
        if path.parts[0].startswith("__editable__") or not local.is_file():
            continue
        result[str(path)] = local
    return result


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if (
            path.is_file()
            and "__pycache__" not in relative.parts
            and not relative.parts[0].endswith((".egg-info", ".dist-info"))
        ):
            yield relative.as_posix(), path
