"""What storages of objects do alike: puts that never overwrite, and the error for what has changed."""

from __future__ import annotations

from collections.abc import Callable

from windlass.errors import ObjectChangedError, ObjectNotFoundError
from windlass.storage import ObjectInfo, ObjectRef
from windlass.transfer.streams import again

__all__ = ["changed", "put_once"]

_NO_CONTAINER = ("NoSuchBucket", "ContainerNotFound", "bucket")


def put_once(
    send: Callable[[], ObjectInfo], stat: Callable[[], ObjectInfo], *, if_absent: bool, look_first: bool
) -> ObjectInfo:
    """Store an object; with `if_absent` what is there already is left and its facts are given.

    Args:
        send: Stores it, under the condition. Called once more when it fails retryably.
        stat: Facts about what is there.
        if_absent: Never overwrite.
        look_first: Ask what is there before sending anything: cheaper where much would be sent in vain.

    Raises:
        ObjectNotFoundError: There is no such bucket or container (`code` in the context tells).
        ObjectChangedError: Without `if_absent`, when the store says so.
    """
    if if_absent and look_first:
        try:
            return stat()
        except ObjectNotFoundError as error:
            if error.context.get("code") in _NO_CONTAINER:
                raise
    try:
        return again(send, waits=(0.3,))
    except ObjectChangedError:
        if not if_absent:
            raise
        return stat()  # it was there already, or somebody was faster


def changed(ref: ObjectRef, what: str, expected: str, found: str) -> ObjectChangedError:
    """The error for an object that is not what was recorded; `what` is ``ETag``, ``size`` or ``generation``."""
    return ObjectChangedError(
        f"the object has changed: expected {what} {expected}, found {found}",
        where=ref.uri,
        hint="Record it again. Where the store can keep versions, old ones stay readable.",
        context={"expected": expected, "found": found},
    )
