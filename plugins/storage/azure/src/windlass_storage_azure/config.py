"""Configuration of the storage scheme ``az``."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option

_MIB = 1 << 20


@frozen(kw_only=True)
class AzureConfig:
    """Which storage account and how to sign in. Everything is optional.

    Without keys of its own, credentials come from the agent's ``azure`` environment, then from
    ``AZURE_STORAGE_CONNECTION_STRING``, ``AZURE_STORAGE_KEY`` or ``AZURE_STORAGE_SAS_TOKEN``, else from
    ``DefaultAzureCredential``.
    """

    account: str = option(
        default="",
        pattern=r"[a-z0-9]{3,24}",
        help="Storage account of az://container/blob; else AZURE_STORAGE_ACCOUNT_NAME or AZURE_STORAGE_ACCOUNT.",
    )
    account_url: str = option(
        key="account-url",
        default="",
        pattern=r"https?://\S+",
        help="Address of the account where it is not https://<account>.blob.core.windows.net; "
        "else AZURE_STORAGE_BLOB_ENDPOINT.",
    )
    connection_string: str = option(
        key="connection-string", default="", secret=True, help="Secret reference to a connection string."
    )
    account_key: str = option(key="account-key", default="", secret=True, help="Secret reference to an account key.")
    sas_token: str = option(key="sas-token", default="", secret=True, help="Secret reference to a SAS token.")
    anonymous: bool = option(default=False, help="Do not sign in (public containers).")
    block_size: int = option(
        key="block-size",
        default=16 * _MIB,
        minimum=1 * _MIB,
        maximum=4000 * _MIB,
        help="Bytes in one block; files of more than two blocks are sent in blocks.",
    )
    workers: int = option(default=8, minimum=1, maximum=64, help="Blocks, ranges or deletions at once.")
