"""Clients of one store, made when they are needed: boto3 for what it alone does, obstore for bytes.

boto3 takes longer to load than most work takes. It is not needed where address and keys are given outright, by the
config or by environment variables; everywhere else it is asked for them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import quote, urlsplit

from attrs import frozen

from windlass.errors import UnsupportedError
from windlass.plugins.types import Context
from windlass_storage_s3.config import S3Config
from windlass_storage_s3.errors import translated
from windlass_storage_s3.options import anonymous, endpoint_url, keys, path_style, variables
from windlass_storage_s3.signing import Keys, query_string, signed_headers

__all__ = ["Clients"]

_CREDENTIAL_LIFE = timedelta(minutes=10)
"""So long obstore may keep credentials that last longer. botocore renews them 15 minutes before the end where it can;
a process that gives what it holds itself (`credential_process`) may renew them at their very end."""

_ATTEMPTS = 5


@frozen
class _Target:
    """Where requests for a bucket go.

    Attributes:
        base: Address of the bucket, without ``/`` at its end.
        region: Its region.
        virtual: The bucket stands in the host name.
    """

    base: str
    region: str
    virtual: bool


class Clients:
    """Clients for each bucket, which may lie in regions of their own. Serves several threads."""

    def __init__(self, config: S3Config, context: Context) -> None:
        self._config, self._context = config, context
        self.endpoint = endpoint_url(config)
        self.anonymous = anonymous(config)
        self._lock = threading.RLock()
        self._session_: Any = None
        self._boto: dict[str, Any] = {}
        self._regions: dict[str, str] = {}
        self._stores: dict[str, Any] = {}
        self._targets: dict[str, _Target] = {}
        self._http_: Any = None
        self._given_: tuple[Keys | None] | None = None

    @property
    def place(self) -> str:
        """What tells this store from another one that has the same bucket names."""
        return self.endpoint or "aws"

    def session(self) -> Any:
        """The boto3 session: explicit keys, else the environment's, else the default chain."""
        with self._lock:
            if self._session_ is None:
                self._session_ = self._make_session()
            return self._session_

    def _make_session(self) -> Any:
        import boto3

        found = keys(self._config, self._context)
        environment = self._context.environment
        if not found and not self._config.profile and environment is not None:
            try:
                return environment.aws_session()
            except UnsupportedError:
                pass  # an agent of another cloud may still have keys for S3
        with translated("s3://"):
            return boto3.Session(
                profile_name=self._config.profile or None, region_name=self._config.region or None, **found
            )

    def boto(self, bucket: str = "") -> Any:
        """A boto3 client that talks to the bucket's region."""
        return self._boto_of(self.region(bucket))

    def _boto_of(self, region: str) -> Any:
        with self._lock:
            if region not in self._boto:
                from botocore import UNSIGNED
                from botocore.config import Config

                options = Config(
                    signature_version=UNSIGNED if self.anonymous else "s3v4",
                    s3={"addressing_style": "path" if path_style(self._config, self.endpoint) else "auto"},
                    retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                    max_pool_connections=64,
                    user_agent_extra="windlass",
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                with translated("s3://"):
                    self._boto[region] = self.session().client(
                        "s3", region_name=region, endpoint_url=self.endpoint or None, config=options
                    )
            return self._boto[region]

    def region(self, bucket: str) -> str:
        """The region of a bucket. Only Amazon's own store is asked for it, once for each bucket."""
        default = self._config.region or self.session().region_name or os.environ.get("AWS_REGION") or "us-east-1"
        if self._config.region or self.endpoint or not bucket:
            return cast(str, default)
        with self._lock:
            if bucket not in self._regions:
                self._regions[bucket] = _ask_region(self._boto_of(default), bucket) or default
            return self._regions[bucket]

    def store(self, bucket: str) -> Any:
        """An obstore store for a bucket, with the same credentials."""
        with self._lock:
            if bucket not in self._stores:
                self._stores[bucket] = self._make_store(bucket)
            return self._stores[bucket]

    def _given(self) -> Keys | None:
        """Keys that are written in the config or, when nothing else is asked for, in environment variables."""
        with self._lock:
            if self._given_ is None:
                found = keys(self._config, self._context)
                if not found and not self._config.profile and self._context.environment is None:
                    found = variables()
                self._given_ = (Keys(*found.values()) if found else None,)
            return self._given_[0]

    def _keys(self) -> Keys:
        given = self._given()
        if given is not None:
            return given
        from botocore.exceptions import NoCredentialsError

        credentials = self.session().get_credentials()
        if credentials is None:
            raise NoCredentialsError
        now = credentials.get_frozen_credentials()
        return Keys(now.access_key, now.secret_key, now.token or "")

    def _target(self, bucket: str) -> _Target:
        with self._lock:
            if bucket not in self._targets:
                said = (os.environ.get(name, "") for name in ("AWS_DEFAULT_REGION", "AWS_REGION"))
                region = self._config.region or next(filter(None, said), "")
                endpoint = self.endpoint
                if endpoint and (self._given() or self.anonymous) and (region or not _has_config_file()):
                    region = region or "us-east-1"
                else:
                    meta = self.boto(bucket).meta  # knows what ~/.aws/config says of the endpoint
                    endpoint, region = meta.endpoint_url, meta.region_name
                virtual = not path_style(self._config, endpoint) and "." not in bucket
                scheme, _, rest = endpoint.rstrip("/").partition("://")
                base = f"{scheme}://{bucket}.{rest}" if virtual else f"{scheme}://{rest}/{quote(bucket)}"
                self._targets[bucket] = _Target(base, region, virtual)
            return self._targets[bucket]

    def request(
        self,
        method: str,
        bucket: str,
        key: str,
        parameters: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """A signed request without a body, and its whole answer (as urllib3 gives it). Follows no redirects."""
        target = self._target(bucket)
        parts = urlsplit(target.base)
        path = f"{parts.path}/{quote(key, safe='/~')}"
        query, sent = query_string(parameters), dict(headers or {})
        if not self.anonymous:
            sent = signed_headers(method, parts.netloc, path, query, sent, self._keys(), target.region)
        pool = self.http().connection_from_url(target.base)
        return pool.urlopen(method, f"{path}?{query}" if query else path, headers=sent, redirect=False)

    def _make_store(self, bucket: str) -> Any:
        from obstore.store import S3Store

        target = self._target(bucket)
        options: dict[str, Any] = {"region": target.region, "virtual_hosted_style_request": target.virtual}
        amazon = not self.endpoint and ".amazonaws.com" in target.base
        if not amazon:
            options["endpoint"] = target.base if target.virtual else target.base.rpartition("/")[0]
        if self.anonymous:
            options["skip_signature"] = True
        elif given := self._given():
            options |= {"access_key_id": given.access, "secret_access_key": given.secret}
            if given.token:
                options["token"] = given.token
        else:
            options["credential_provider"] = self._credentials
        if self._config.checksum != "none":
            options["checksum_algorithm"] = self._config.checksum
        if self._config.server_side_encryption:
            options["server_side_encryption"] = self._config.server_side_encryption
        if self._config.kms_key_id:
            options["sse_kms_key_id"] = self._config.kms_key_id
        client_options: dict[str, Any] = {"timeout": "1h", "connect_timeout": "10s", "read_timeout": "60s",
                                          "pool_max_idle_per_host": "64"}  # fmt: skip
        if target.base.startswith("http://"):
            client_options["allow_http"] = True
        return S3Store(
            bucket,
            client_options=cast(Any, client_options),
            retry_config={
                "max_retries": 4,
                "retry_timeout": timedelta(seconds=60),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=5),
                    "base": 2,
                },
            },
            **options,
        )

    def _credentials(self) -> Any:
        found = self._keys()
        ends = None if self._given() else getattr(self.session().get_credentials(), "refresh_needed", None)
        soon = ends is not None and ends(_CREDENTIAL_LIFE.total_seconds())
        return {
            "access_key_id": found.access,
            "secret_access_key": found.secret,
            "token": found.token or None,
            "expires_at": datetime.now(UTC) + (timedelta() if soon else _CREDENTIAL_LIFE),
        }

    def http(self) -> Any:
        """A connection pool for requests that are made here."""
        with self._lock:
            if self._http_ is None:
                import urllib3

                self._http_ = urllib3.PoolManager(
                    maxsize=32,
                    ca_certs=os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE"),
                    retries=urllib3.Retry(
                        4, redirect=False, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504),
                        raise_on_status=False,
                    ),
                    timeout=urllib3.Timeout(connect=10, read=60),
                )  # fmt: skip
            return self._http_

    def close(self) -> None:
        """Give back connections. May be repeated; the next call opens new ones."""
        with self._lock:
            if self._http_ is not None:
                self._http_.clear()
            for client in self._boto.values():
                client.close()
            self._boto, self._stores, self._targets, self._http_, self._session_ = {}, {}, {}, None, None


def _has_config_file() -> bool:
    return os.path.exists(os.path.expanduser(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"))


def _ask_region(client: Any, bucket: str) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:  # also a refusal tells the region
        answer = error.response
    except BotoCoreError:
        return ""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region", ""))
