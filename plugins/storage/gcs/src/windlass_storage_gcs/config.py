"""Configuration of the storage scheme ``gs``."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option

_MIB = 1 << 20


@frozen(kw_only=True)
class GcsConfig:
    """Where the store is and how to sign in. Everything is optional.

    Without a key file of its own, credentials come from the agent's ``gcp`` environment, else from Application
    Default Credentials.
    """

    endpoint_url: str = option(
        key="endpoint-url",
        default="",
        pattern=r"https?://\S+",
        help="Address of the JSON API; else STORAGE_EMULATOR_HOST, else Google's own.",
    )
    credentials: str = option(
        default="", secret=True, help="Secret reference to the JSON of a service account key or workload identity."
    )
    anonymous: bool = option(default=False, help="Do not sign in (public buckets).")
    project: str = option(default="", help="Project that is billed for buckets whose requester pays.")
    chunk_size: int = option(
        key="chunk-size",
        default=16 * _MIB,
        minimum=256 << 10,
        maximum=1 << 30,
        help="Bytes in one request of an upload that can be continued; files of more than two are sent so.",
    )
    workers: int = option(default=8, minimum=1, maximum=64, help="Ranges or deletions at once.")
