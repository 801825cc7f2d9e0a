"""The local cache of artifact content: by digest, shared by all processes of a user, bounded, never trusted blindly.

What is read is hashed on every use. What is only linked is hashed when its *seal* is broken or a week old: the time of
its last proof is its mtime, with nanoseconds that follow from its digest, and every write to a file sets another mtime.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from windlass.artifacts.digest import algorithm_of, hash_open
from windlass.errors import NoSpaceError, UsageError

__all__ = ["Cache", "CacheInfo", "local_cache", "parse_size"]

_T = TypeVar("_T")
_SHARE_OF_DISK = 0.1
_KEEP_AFTER_EVICTION = 0.9
_STALE_TEMPORARY = 86400.0
_USE_STEP_NS = 600_000_000_000  # uses closer together are one: noting each costs a tenth of a linked checkout
_COUNT_STEP = 64 << 20  # so many bytes are added before others are told
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SEAL = 1_000_000_000
_SEALED_NS = 7 * 86400 * _SEAL  # a disk that rots is found out after so long
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class CacheInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the cache.

    Attributes:
        folder: Where it is.
        objects: How many files.
        bytes: Their size.
        limit: Bytes it may take.
        leased: Objects that processes use right now and that are not removed.
    """

    folder: str
    objects: int
    bytes: int
    limit: int
    leased: int


def parse_size(text: str, where: str = "") -> int:
    """Bytes from ``20GB``, ``512 MiB``, ``1000`` …. Raises `UsageError`, which names where it stands."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if match is None:
        raise UsageError(f"'{text}' is not a size", where=where, hint="Write e.g. 20GB, 512MiB or 1000.")
    number, unit, binary = match.groups()
    return int(float(number) * (_BINARY[unit] if binary and unit else _UNITS[unit]))


def local_cache(folder: Path) -> Cache:
    """The cache below the settings' folder. Raises `UsageError` when ``WINDLASS_CACHE_SIZE`` is no size."""
    size = os.environ.get("WINDLASS_CACHE_SIZE", "")
    return Cache(folder / "artifacts", parse_size(size, "WINDLASS_CACHE_SIZE") if size else 0)


class Cache:
    """Files under their digest.

    An object in use is protected from removal by a *lease*: a locked file that names it. The lock ends with the
    process, so leases of killed processes do not count.

    Args:
        folder: Where it is; made when needed.
        limit: Bytes it may take. 0: a tenth of the disk.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int = 0) -> None:
        self.folder = Path(folder)
        self._folder = str(self.folder)
        self._uncounted = 0
        self._limit = limit
        self._lock = threading.Lock()
        self._lease: int = -1
        self._lease_name = ""

    @property
    def limit(self) -> int:
        """Bytes the cache may take."""
        if not self._limit:
            there = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.exists())
            disk = os.statvfs(there)
            self._limit = int(disk.f_blocks * disk.f_frsize * _SHARE_OF_DISK)
        return self._limit

    def path(self, digest: str) -> str:
        """Where an object is kept."""
        algorithm = algorithm_of(digest)
        value = digest[len(algorithm) + 1 :]
        return f"{self._folder}/objects/{algorithm}/{value[:2]}/{value}"

    def find(self, digest: str, *, lease: bool = True) -> str | None:
        """The verified path of an object, leased to this process; None when it is absent. A damaged one is removed."""
        path = self.path(digest)
        if lease:
            self.lease(digest)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            found = os.fstat(handle)
            if hash_open(handle, digest.partition(":")[0], found.st_size) != digest:
                os.unlink(path)
                return None
            now, mtime = time.time_ns(), found.st_mtime_ns
            sealed = _is_sealed(digest, mtime, now)
            if not sealed or abs(now - found.st_atime_ns) > _USE_STEP_NS:
                with contextlib.suppress(OSError):
                    os.utime(path, ns=(now, mtime if sealed else _sealed(digest, now)))
        except FileNotFoundError:  # another process has removed the damaged one
            return None
        finally:
            os.close(handle)
        return path

    def find_to_link(self, digest: str) -> str | None:
        """As `find`, without a lease; a sealed object is not read again."""
        path = self.path(digest)
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        now, mtime = time.time_ns(), found.st_mtime_ns
        if not _is_sealed(digest, mtime, now):
            return self.find(digest, lease=False)
        if abs(now - found.st_atime_ns) > _USE_STEP_NS:
            with contextlib.suppress(OSError):
                os.utime(path, ns=(now, mtime))
        return path

    def add(self, digest: str, size: int, fill: Callable[[int], None], *, lease: bool = True) -> str:
        """Add an object and return its path, leased to this process.

        Args:
            digest: Its digest.
            size: Bytes, to make room.
            fill: Writes verified content to a file descriptor; called again after room was made on a full disk.
            lease: Keep it while this process lives.

        Raises:
            NoSpaceError: The disk is full and nothing in the cache could make room.
        """
        if lease:
            self.lease(digest)
        path = self.path(digest)
        for attempt, keep in enumerate((0.5, 0.0, None)):
            try:
                self._write(path, digest, fill)
                break
            except (OSError, NoSpaceError) as error:
                if not (isinstance(error, NoSpaceError) or error.errno in _FULL):
                    raise
                if keep is None or not (self.clean(int(self.info().bytes * keep)) or attempt == 0):
                    raise NoSpaceError(
                        "the disk is full, and the cache has nothing more to give",
                        where=str(self.folder),
                        hint="Free some space, or set WINDLASS_CACHE_DIR to another disk.",
                    ) from error
        with self._lock:
            self._uncounted += size
        if self._uncounted >= min(_COUNT_STEP, self.limit // 16):
            self.settle()
        return path

    def _write(self, path: str, digest: str, fill: Callable[[int], None]) -> None:
        temporary = os.path.join(self._folder, "tmp", os.urandom(8).hex())
        handle = _with_folder(temporary, lambda: os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o444))
        try:
            try:
                fill(handle)
                now = time.time_ns()
                os.utime(handle, ns=(now, _sealed(digest, now)))
            finally:
                os.close(handle)
            _with_folder(path, lambda: os.replace(temporary, path))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def lease(self, digest: str) -> None:
        """Protect an object from removal while this process lives. Waits for a clean-up that has looked already."""
        with self._lock, self._exclusive(fcntl.LOCK_SH):
            if self._lease < 0:
                folder = self._make(self.folder / "leases")
                name = f"{folder}/{os.getpid()}-{os.urandom(4).hex()}"
                self._lease = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
                self._lease_name = name
                fcntl.flock(self._lease, fcntl.LOCK_EX)
            os.write(self._lease, digest.encode() + b"\n")

    def close(self) -> None:
        """Give all leases back. May be repeated."""
        with self._lock:
            if self._lease >= 0:
                with contextlib.suppress(OSError):
                    os.unlink(self._lease_name)
                os.close(self._lease)
                self._lease = -1

    def info(self) -> CacheInfo:
        """What is in the cache now."""
        sizes = [size for _, _, size in self._objects()]
        return CacheInfo(
            folder=str(self.folder),
            objects=len(sizes),
            bytes=sum(sizes),
            limit=self.limit,
            leased=len(self._leased(forget=False)),
        )

    def clean(self, target: int = 0) -> int:
        """Remove objects that were not used for longest until at most `target` bytes are left; returns bytes freed."""
        with self._exclusive():
            objects = sorted(self._objects())
            total = sum(size for _, _, size in objects)
            leased = self._leased() if objects else set()
            freed = 0
            for _, path, size in objects:
                if total - freed <= target:
                    break
                if path not in leased:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
                        freed += size
            self._remove_stale_temporaries()
            self._write_usage(total - freed)
            return freed

    def expire(self, seconds: float) -> int:
        """Remove objects that were not used for so long and that no process holds; returns bytes freed."""
        with self._exclusive():
            oldest = time.time_ns() - int(seconds * 1e9)
            objects = list(self._objects())
            total = sum(size for _, _, size in objects)
            leased = self._leased() if objects else set()
            freed = 0
            for used, path, size in objects:
                if used <= oldest and path not in leased:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
                        freed += size
            self._remove_stale_temporaries()
            self._write_usage(total - freed)
            return freed

    def settle(self) -> None:
        """Tell other processes how much was added, and make room when that is above the limit.

        Done by itself now and then; call it when no more comes. What a killed process did not tell is found by `clean`.
        """
        with self._lock:
            size, self._uncounted = self._uncounted, 0
        if not size:
            return
        with self._exclusive():
            try:
                usage = int((self.folder / "usage").read_text()) + size
            except (OSError, ValueError):
                usage = sum(size for _, _, size in self._objects())
            self._write_usage(usage)
        if usage > self.limit:
            self.clean(int(self.limit * _KEEP_AFTER_EVICTION))

    def _write_usage(self, usage: int) -> None:
        with _though_full():  # what stands there is no number then, and is counted anew
            (self.folder / "usage").write_text(str(max(usage, 0)))

    @contextlib.contextmanager
    def _exclusive(self, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        """Alone among processes, or with those that share it.

        On a full disk also where no lock can be made, as room is what a clean-up gives.
        """
        with contextlib.ExitStack() as stack:
            with _though_full():
                self._make(self.folder)
                handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                stack.callback(os.close, handle)
                fcntl.flock(handle, how)
            yield

    def _objects(self) -> Iterator[tuple[int, str, int]]:
        """Last use, path and size of each object."""
        for root, _, names in os.walk(self.folder / "objects"):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    found = os.stat(f"{root}/{name}")
                    yield found.st_atime_ns, f"{root}/{name}", found.st_size

    def _leased(self, *, forget: bool = True) -> set[str]:
        """Paths that live processes hold. With `forget`, for which one must be alone, what others left is removed."""
        held: set[str] = set()
        folder = self.folder / "leases"
        for name in os.listdir(folder) if folder.is_dir() else ():
            path = folder / name
            try:
                handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # its process lives
                held.update(self.path(line) for line in path.read_text().split())
            else:
                if forget and str(path) != self._lease_name:
                    path.unlink(missing_ok=True)
            finally:
                os.close(handle)
        return held

    def _remove_stale_temporaries(self) -> None:
        folder = self.folder / "tmp"
        for name in os.listdir(folder) if folder.is_dir() else ():
            with contextlib.suppress(OSError):
                if os.stat(folder / name).st_mtime < time.time() - _STALE_TEMPORARY:
                    os.unlink(folder / name)

    @staticmethod
    def _make(folder: str | Path) -> str | Path:
        os.makedirs(folder, exist_ok=True)
        return folder


@contextlib.contextmanager
def _though_full() -> Iterator[None]:
    """Go on when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise


def _seal(digest: str) -> int:
    """Nanoseconds, in whole microseconds: some file systems keep no more, and the kernel's own times rarely are."""
    return int(digest[-8:], 16) % 1_000_000 * 1_000


def _sealed(digest: str, now: int) -> int:
    """The mtime of an object that was proven now; not in the future."""
    return now // _SEAL * _SEAL - _SEAL + _seal(digest)


def _is_sealed(digest: str, mtime: int, now: int) -> bool:
    return mtime % _SEAL == _seal(digest) and 0 <= now - mtime < _SEALED_NS


def _with_folder(path: str, work: Callable[[], _T]) -> _T:
    """Do what needs the folder of a path; made when it is not there."""
    try:
        return work()
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return work()
