"""The floor: what the same work costs in a bare loop. Each command is one process."""

import os
import shutil
import sys


def put(source: str, target: str) -> None:
    """Hash and copy each file."""
    from blake3 import blake3

    os.mkdir(target)
    for folder, _, names in os.walk(source):
        for name in names:
            path = f"{folder}/{name}"
            size = os.stat(path).st_size
            if size <= 1 << 20:
                fd = os.open(path, os.O_RDONLY)
                data = os.read(fd, size + 1)
                os.close(fd)
                digest = blake3(data).hexdigest()
                out = os.open(f"{target}/{digest}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.write(out, data)
                os.close(out)
                continue
            hasher = blake3()
            view = memoryview(bytearray(1 << 20))
            with open(path, "rb", buffering=0) as file:
                while count := file.readinto(view):
                    hasher.update(view[:count])
            shutil.copyfile(path, f"{target}/{hasher.hexdigest()}")


def walk(source: str) -> None:
    """Scan and stat."""
    total = 0
    stack = [source]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    stack.append(entry.path)
                else:
                    total += entry.stat().st_size


def copy(source: str, target: str) -> None:
    """Copy each file."""
    os.mkdir(target)
    for folder, folders, names in os.walk(source):
        below = folder[len(source) :]
        for name in folders:
            os.mkdir(f"{target}{below}/{name}")
        for name in names:
            size = os.stat(f"{folder}/{name}").st_size
            if size > 1 << 20:
                shutil.copyfile(f"{folder}/{name}", f"{target}{below}/{name}")
                continue
            fd = os.open(f"{folder}/{name}", os.O_RDONLY)
            data = os.read(fd, size + 1)
            os.close(fd)
            out = os.open(f"{target}{below}/{name}", os.O_WRONLY | os.O_CREAT)
            os.write(out, data)
            os.close(out)


def link(source: str, target: str) -> None:
    """Hard-link each file."""
    os.mkdir(target)
    for folder, folders, names in os.walk(source):
        below = folder[len(source) :]
        for name in folders:
            os.mkdir(f"{target}{below}/{name}")
        for name in names:
            os.link(f"{folder}/{name}", f"{target}{below}/{name}")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
