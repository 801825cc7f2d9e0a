"""AWS credentials: boto3's default chain, a role on top of it if wanted, both renewed by botocore."""

from __future__ import annotations

import threading
from typing import Any

from windlass.environments import Environment
from windlass.errors import AccessError, ConfigError
from windlass.plugins.types import Context
from windlass_environment_aws.config import AwsConfig

__all__ = ["AwsEnvironment"]

_HINT = (
    "Credentials are looked for in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, ~/.aws/config, "
    "then the container's or instance's role."
)
_ROLE_HINT = "Does the role's trust policy allow the agent's own principal sts:AssumeRole?"


class AwsEnvironment(Environment):
    """One AWS account and region."""

    def __init__(self, config: AwsConfig, context: Context) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._session: Any = None

    def aws_session(self) -> Any:
        """See `Environment.aws_session`."""
        with self._lock:
            if self._session is None:
                self._session = self._make()
            return self._session

    def _make(self) -> Any:
        import boto3
        from botocore.exceptions import ProfileNotFound

        config = self._config
        try:
            session = boto3.Session(profile_name=config.profile or None, region_name=config.region)
        except ProfileNotFound as error:
            raise ConfigError(str(error), where="$.profile", hint="See `aws configure list-profiles`.") from None
        return self._assume(session) if config.role_arn else session

    def _assume(self, base: Any) -> Any:
        import boto3
        import botocore.session
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

        config = self._config
        extra: dict[str, Any] = {"RoleSessionName": config.session_name, "DurationSeconds": config.duration}
        if config.external_id:
            extra["ExternalId"] = config.external_id

        def client(service: str, **kwargs: Any) -> Any:
            where = {"region_name": config.region, "endpoint_url": config.endpoint_url or None}
            return base._session.create_client(service, **{**kwargs, **where})

        source = base.get_credentials()
        if source is None:
            raise AccessError("there are no AWS credentials to assume the role with", where=config.role_arn, hint=_HINT)
        fetcher = AssumeRoleCredentialFetcher(client, source, config.role_arn, extra_args=extra)
        inner = botocore.session.get_session()
        inner._credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
        inner.set_config_variable("region", config.region)
        return boto3.Session(botocore_session=inner)

    def verify(self) -> dict[str, str]:
        """See `Environment.verify`."""
        from botocore.exceptions import BotoCoreError, ClientError

        session = self.aws_session()
        if session.get_credentials() is None:
            raise AccessError("there are no AWS credentials", where="environment aws", hint=_HINT)
        try:
            sts = session.client("sts", endpoint_url=self._config.endpoint_url or None)
            identity = sts.get_caller_identity()
        except ClientError as error:
            found = error.response.get("Error", {})
            role = error.operation_name == "AssumeRole"
            raise AccessError(
                f"{error.operation_name} was refused: {found.get('Code')}: {found.get('Message')}",
                where=self._config.role_arn if role else "environment aws",
                hint=_ROLE_HINT if role else _HINT,
            ) from error
        except BotoCoreError as error:
            raise AccessError(
                f"{type(error).__name__}: {error}",
                where="environment aws",
                hint=_HINT,
                retryable="Connect" in str(error),
            ) from error
        return {
            "account": str(identity["Account"]),
            "principal": str(identity["Arn"]),
            "region": self._config.region,
            "partition": str(identity["Arn"]).split(":")[1],
        }

    @property
    def region(self) -> str:
        """See `Environment.region`."""
        return self._config.region

    def close(self) -> None:
        """See `Environment.close`."""
        with self._lock:
            self._session = None
