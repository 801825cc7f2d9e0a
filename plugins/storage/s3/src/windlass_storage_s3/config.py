"""Configuration of the storage scheme ``s3``."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option

_MIB = 1 << 20


@frozen(kw_only=True)
class S3Config:
    """Where the store is and how to sign in. Everything is optional.

    Without keys of its own, credentials come from the agent's ``aws`` environment, else from boto3's default chain:
    environment variables, shared credentials file, config file, container, instance.
    """

    endpoint_url: str = option(
        key="endpoint-url",
        default="",
        pattern=r"https?://[^\s/]+(/\S*)?",
        help="Address of an S3-compatible store; else AWS_S3_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.",
    )
    region: str = option(default="", help="Region of the buckets; found out when it is not given.")
    profile: str = option(default="", help="Profile of ~/.aws/config to use.")
    access_key_id: str = option(key="access-key-id", default="", secret=True, help="Secret reference to the key id.")
    secret_access_key: str = option(
        key="secret-access-key", default="", secret=True, help="Secret reference to the secret key."
    )
    session_token: str = option(
        key="session-token", default="", secret=True, help="Secret reference to the session token, if there is one."
    )
    anonymous: bool = option(
        default=False, help="Do not sign requests (public buckets); also by AWS_SKIP_SIGNATURE=true."
    )
    addressing: str = option(
        default="auto",
        choices=("auto", "path", "virtual"),
        help="Bucket in the path or in the host name; auto: path for stores that are not Amazon's.",
    )
    checksum: str = option(
        default="sha256",
        choices=("sha256", "none"),
        help="Checksum that the store verifies on arrival; none for stores that know no checksums.",
    )
    conditional_put: bool = option(
        key="conditional-put",
        default=True,
        help="Use If-None-Match to never overwrite; false for stores that refuse it (then it is looked up first).",
    )
    part_size: int = option(
        key="part-size",
        default=16 * _MIB,
        minimum=5 * _MIB,
        maximum=5 << 30,
        help="Bytes in one part; files of more than two parts are sent in parts.",
    )
    workers: int = option(default=8, minimum=1, maximum=64, help="Parts of one file, or ranges, at once.")
    server_side_encryption: str = option(
        key="server-side-encryption",
        default="",
        choices=("", "AES256", "aws:kms", "aws:kms:dsse"),
        help="Encryption to ask for; empty: what the bucket says.",
    )
    kms_key_id: str = option(key="kms-key-id", default="", help="Key for aws:kms.")
