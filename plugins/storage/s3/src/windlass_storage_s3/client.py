"""Clients of one store, made when they are needed: boto3 for what it alone does, obstore for bytes."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from windlass.errors import UnsupportedError
from windlass.plugins.types import Context
from windlass_storage_s3.config import S3Config
from windlass_storage_s3.errors import translated
from windlass_storage_s3.options import anonymous, endpoint_url, keys, path_style

__all__ = ["Clients"]

_CREDENTIAL_LIFE = timedelta(minutes=10)  # botocore renews 15 minutes before the end

_ATTEMPTS = 5


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
        self._http_: Any = None

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

    def _make_store(self, bucket: str) -> Any:
        from obstore.store import S3Store

        client = self.boto(bucket)  # knows what ~/.aws/config says of the endpoint
        endpoint = self.endpoint or ("" if ".amazonaws.com" in client.meta.endpoint_url else client.meta.endpoint_url)
        virtual = not path_style(self._config, endpoint) and "." not in bucket
        options: dict[str, Any] = {"region": client.meta.region_name, "virtual_hosted_style_request": virtual}
        if endpoint:
            scheme, _, rest = endpoint.partition("://")
            options["endpoint"] = f"{scheme}://{bucket}.{rest}" if virtual else endpoint.rstrip("/")
        if self.anonymous:
            options["skip_signature"] = True
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
        if endpoint.startswith("http://"):
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
        from botocore.exceptions import NoCredentialsError

        credentials = self.session().get_credentials()
        if credentials is None:
            raise NoCredentialsError
        now = credentials.get_frozen_credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + _CREDENTIAL_LIFE,
        }

    def http(self) -> Any:
        """A connection pool for requests that boto3 has signed."""
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
            self._boto, self._stores, self._http_, self._session_ = {}, {}, None, None


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
