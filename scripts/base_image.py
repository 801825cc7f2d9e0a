"""Make a Docker image with Python from the interpreter of this machine, without any network.

Tests build jobs on it, so that they need no image registry::

    .venv/bin/python scripts/base_image.py local/python-host:3.11

It holds the standard library, pip, a shell with a few tools, the certificates of this machine and the shared
libraries of all that.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

VERSION = f"python3.{sys.version_info.minor}"
TOOLS = (
    "cat",
    "chmod",
    "cp",
    "echo",
    "env",
    "false",
    "grep",
    "id",
    "ls",
    "mkdir",
    "rm",
    "sleep",
    "tar",
    "true",
    "uname",
)
# What wheels of compiled packages expect of every Linux, and what looking up names needs.
EXTRA = (
    "libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1",
    "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2",
)  # fmt: skip
SKIP = re.compile(
    r"(^|/)(test|tests|idlelib|tkinter|turtledemo|site-packages|dist-packages|config-[^/]*)(/|$)|_tkinter"
)
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
CHANGES = (
    "ENV PATH=/usr/local/bin:/usr/bin:/bin",
    f"ENV SSL_CERT_FILE=/{CERTIFICATES}",
    f"ENV PIP_CERT=/{CERTIFICATES}",
    f"ENV REQUESTS_CA_BUNDLE=/{CERTIFICATES}",
    "ENV PIP_ROOT_USER_ACTION=ignore",
    "ENV PIP_DISABLE_PIP_VERSION_CHECK=1",
    "ENV LANG=C.UTF-8",
    'CMD ["python3"]',
)
USERS = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"


class Image:
    """A file tree that becomes a tar archive."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - closed by close()
        self._names: set[str] = set()

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Add a directory with its parents."""
        for part in [*reversed(Path(name).parents), Path(name)]:
            text = str(part)
            if text not in (".", *self._names):
                self._add(text, tarfile.DIRTYPE, mode if text == name else 0o755)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(name, tarfile.SYMTYPE, 0o777, link=target)

    def text(self, name: str, content: bytes | str, mode: int = 0o644) -> None:
        """Add a file with that content."""
        data = content.encode() if isinstance(content, str) else content
        self.folder(str(Path(name).parent))
        self._add(name, tarfile.REGTYPE, mode, data)

    def file(self, source: Path, name: str) -> None:
        """Add a copy of a file of this machine."""
        if name not in self._names:
            self.text(name, source.read_bytes(), 0o755 if os.access(source, os.X_OK) else 0o644)

    def _add(self, name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
        self._names.add(name)
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.size, info.linkname = kind, mode, len(data), link
        self._tar.addfile(info, io.BytesIO(data) if data else None)

    def close(self) -> None:
        """Write the end of the archive."""
        self._tar.close()


def libraries(programs: Iterable[Path]) -> Iterator[Path]:
    """Shared libraries that programs and modules need, the loader included."""
    folder = sysconfig.get_config_var("LIBDIR") or "/usr/lib"
    found: set[str] = set()
    for program in programs:
        listed = subprocess.run(
            ["ldd", str(program)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LD_LIBRARY_PATH": folder},
        ).stdout
        found.update(re.findall(r"(?:=> |^\s+)(/\S+)", listed, re.MULTILINE))
    return (Path(name) for name in sorted(found))


def pip_files(stdlib: Path) -> Iterator[tuple[str, bytes]]:
    """pip, from the wheel that comes with Python, else from this environment."""
    for wheel in (stdlib / "ensurepip" / "_bundled").glob("pip-*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            yield from ((name, archive.read(name)) for name in archive.namelist() if not name.endswith("/"))
        return
    import pip

    folder = Path(pip.__file__).parent
    for path in sorted(folder.rglob("*.*")):
        if path.is_file() and path.suffix != ".pyc":
            yield f"pip/{path.relative_to(folder).as_posix()}", path.read_bytes()


def fill(image: Image) -> None:
    """Put everything into the image."""
    for name, mode in {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777, "home/app": 0o755, "usr/local/bin": 0o755,
                       "usr/bin": 0o755, "usr/lib": 0o755, "usr/lib64": 0o755, "proc": 0o755, "sys": 0o755,
                       "dev": 0o755, "etc": 0o755}.items():  # fmt: skip
        image.folder(name, mode)
    for name in ("bin", "lib", "lib64"):
        image.link(name, f"usr/{name}")
    shell = Path(shutil.which("dash") or "/bin/sh").resolve()
    programs = [shell, *(Path(found).resolve() for name in TOOLS if (found := shutil.which(name)))]
    for name, program in zip(("sh", *TOOLS), programs, strict=False):
        image.file(program, f"usr/bin/{name}")
    interpreter = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # not the one of the venv
    image.file(interpreter, f"usr/local/bin/{VERSION}")
    for name in ("python", "python3"):
        image.link(f"usr/local/bin/{name}", VERSION)
    stdlib = Path(sysconfig.get_path("stdlib"))
    for path in sorted(stdlib.rglob("*")):
        relative = path.relative_to(stdlib).as_posix()
        if path.is_file() and not SKIP.search(relative) and not relative.endswith((".opt-1.pyc", ".opt-2.pyc", ".a")):
            image.file(path, f"usr/local/lib/{VERSION}/{relative}")
    for name, content in pip_files(stdlib):
        image.text(f"usr/local/lib/{VERSION}/site-packages/{name}", content)
    starter = "#!/usr/local/bin/python3\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
    image.text("usr/local/bin/pip", starter, 0o755)
    modules = [*stdlib.glob("lib-dynload/*.so")]
    extra = [path for name in EXTRA for path in Path("/usr/lib").glob(f"*/{name}")]
    for library in [*libraries([interpreter, *programs, *modules, *extra]), *extra]:
        is_loader = library.name.startswith("ld-linux")
        image.file(library.resolve(), f"usr/lib64/{library.name}" if is_loader else f"usr/lib/{library.name}")
    image.file(Path("/", CERTIFICATES), CERTIFICATES)
    image.text("etc/passwd", USERS)
    image.text("etc/group", "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n")
    image.text("etc/nsswitch.conf", "hosts: files dns\n")


def main() -> None:
    """Make the image that the first argument names, unless it is there."""
    import docker
    import docker.errors

    name = sys.argv[1] if len(sys.argv) > 1 else f"local/python-host:3.{sys.version_info.minor}"
    repository, _, tag = name.partition(":")
    client = docker.from_env()
    try:
        client.images.get(name)
        return
    except docker.errors.ImageNotFound:
        pass
    archive = Path("/tmp", f"windlass-base-{os.getpid()}.tar")  # noqa: S108 - removed below
    try:
        image = Image(archive)
        fill(image)
        image.close()
        client.api.import_image_from_file(
            str(archive), repository=repository, tag=tag or "latest", changes=list(CHANGES)
        )
    finally:
        archive.unlink(missing_ok=True)
    client.containers.run(name, ["python", "-c", "import ssl, sqlite3, ctypes, pip"], remove=True)
    sys.stdout.write(f"made {name}\n")


if __name__ == "__main__":
    main()
