"""Garbage collection: removes the blobs that no version needs, while others go on uploading.

1. List the blobs, then mark what all manifests name. A blob that is unmarked, older than the grace time and older than
   every live upload session is garbage.
2. Retire the garbage: from now on uploaders take it for missing and store it anew, readers still find it.
3. Uploads that began before may have counted on a retired blob. When they are over, mark again, bring back what a
   manifest names by now, and purge the rest. If they take too long, the next collection does this.

Nothing is removed when a manifest cannot be read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from attrs import frozen

from windlass.artifacts.manifest import Manifest
from windlass.blobs import BlobInfo
from windlass.metastore import MetadataStore

__all__ = ["GcReport", "collect_garbage"]

GRACE_SECONDS = 3600.0
UNDELETE_SECONDS = 7 * 86400.0
WAIT_SECONDS = 30.0
_SKEW_SECONDS = 60.0  # clocks of the index and of the storage differ
_PAGE = 10_000
_BATCH = 1000


@frozen(kw_only=True)
class GcReport:
    """What a collection found and did.

    Attributes:
        dry_run: Nothing was changed; `versions_purged` and `freed_*` tell what would be.
        versions_purged: Versions that were deleted or ran out of their life time, and cannot be restored any more.
        blobs: Blobs there were.
        bytes: Their size.
        live_blobs: Blobs that a manifest names.
        young_blobs: Unmarked blobs that are spared because of the grace time or of uploads under way.
        freed_blobs: Blobs removed.
        freed_bytes: Their size.
        restored_blobs: Retired blobs that an upload turned out to need.
        pending_blobs: Retired blobs left for the next collection, because uploads were still under way.
        seconds: How long it took.
    """

    dry_run: bool
    versions_purged: int
    blobs: int
    bytes: int
    live_blobs: int
    young_blobs: int
    freed_blobs: int
    freed_bytes: int
    restored_blobs: int = 0
    pending_blobs: int = 0
    seconds: float = 0.0


def collect_garbage(
    store: MetadataStore,
    *,
    dry_run: bool = False,
    grace: float = GRACE_SECONDS,
    undelete: float = UNDELETE_SECONDS,
    wait: float = WAIT_SECONDS,
    progress: Callable[[str], None] = lambda _: None,
) -> GcReport:
    """Remove what no version needs any more. May run while others upload, and be killed at any time.

    Args:
        store: Index and blobs.
        dry_run: Only report.
        grace: Blobs younger than so many seconds are spared.
        undelete: Versions deleted for longer than so many seconds are purged first.
        wait: Seconds to wait for uploads that were under way.
        progress: Told what is being done.

    Raises:
        IntegrityError: A manifest is damaged or gone; nothing was removed.
        UnsupportedError: The blobs are kept elsewhere; run it there.
    """
    began = time.monotonic()
    now = store.now()
    purged = store.artifacts.purge(now - undelete, dry_run)
    progress("listing blobs")
    blobs = list(store.blobs.list())
    progress("reading manifests")
    marks = _Marks(store, now - undelete if dry_run else 0.0)
    marks.update()
    limit = min(now - grace, store.artifacts.oldest_upload() - _SKEW_SECONDS)
    unmarked = [blob for blob in blobs if blob.digest not in marks]
    garbage = [blob for blob in unmarked if blob.mtime < limit]
    freed, restored, pending = garbage, 0, 0
    if not dry_run:
        progress("retiring blobs")
        for batch in _batches(garbage):
            store.blobs.retire(blob.digest for blob in batch)
        retired = list(store.blobs.retired())
        freed = []
        if retired and _uploads_over(store, store.now(), wait):
            marks.update()
            needed = [blob.digest for blob in retired if blob.digest in marks]
            store.blobs.restore(needed)
            restored = len(needed)
            freed = [blob for blob in retired if blob.digest not in marks]
            progress("removing blobs")
            for batch in _batches(freed):
                store.blobs.purge(blob.digest for blob in batch)
        else:
            pending = len(retired)
    return GcReport(
        dry_run=dry_run,
        versions_purged=len(purged),
        blobs=len(blobs),
        bytes=sum(blob.size for blob in blobs),
        live_blobs=len(blobs) - len(unmarked),
        young_blobs=len(unmarked) - len(garbage),
        freed_blobs=len(freed),
        freed_bytes=sum(blob.size for blob in freed),
        restored_blobs=restored,
        pending_blobs=pending,
        seconds=time.monotonic() - began,
    )


class _Marks:
    """Digests of the blobs that manifests name. Updating reads only manifests that were not read yet."""

    def __init__(self, store: MetadataStore, without: float) -> None:
        self._store = store
        self._without = without  # a dry run marks as if what is over were purged
        self._digests: set[str] = set()
        self._read: set[str] = set()

    def __contains__(self, digest: str) -> bool:
        return digest in self._digests

    def update(self) -> None:
        for digest in self._roots():
            if digest not in self._read:
                self._mark(digest)
                self._read.add(digest)

    def _roots(self) -> Iterator[str]:
        after = ""
        while page := self._store.artifacts.roots(after, _PAGE, self._without):
            yield from (root.manifest for root in page)
            after = page[-1].manifest

    def _mark(self, digest: str) -> None:
        manifest = Manifest(self._store.blobs, digest)
        self._digests.add(digest)
        leaves = manifest.leaf_digests()
        for index in range(max(len(leaves), 1)):
            if leaves:
                if leaves[index] in self._digests:  # shared with another version
                    continue
                self._digests.add(leaves[index])
            for entry in manifest.leaf(index):
                if entry.ref:
                    continue
                if entry.parts:
                    self._digests.update(part[0] for part in entry.parts)
                else:
                    self._digests.add(entry.digest)


def _uploads_over(store: MetadataStore, since: float, wait: float) -> bool:
    """Wait until no upload session is left that began before `since`."""
    end = time.monotonic() + wait
    while store.artifacts.oldest_upload() <= since:
        if time.monotonic() >= end:
            return False
        time.sleep(min(1.0, max(end - time.monotonic(), 0.01)))
    return True


def _batches(blobs: list[BlobInfo]) -> Iterator[list[BlobInfo]]:
    for start in range(0, len(blobs), _BATCH):
        yield blobs[start : start + _BATCH]
