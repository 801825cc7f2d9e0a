"""What config and environment variables say together; shared by our own clients and fsspec's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from windlass.errors import ConfigError
from windlass.plugins.types import Context
from windlass_storage_s3.config import S3Config

__all__ = ["anonymous", "endpoint_url", "fsspec_options", "keys", "path_style", "variables"]

_ENDPOINTS = ("AWS_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def endpoint_url(config: S3Config, env: Mapping[str, str] = os.environ) -> str:
    """The store's address, empty for Amazon's own (or what ``~/.aws/config`` says)."""
    return config.endpoint_url or next((env[name] for name in _ENDPOINTS if env.get(name)), "")


def anonymous(config: S3Config, env: Mapping[str, str] = os.environ) -> bool:
    """True when requests are not to be signed."""
    return config.anonymous or env.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "yes")


def path_style(config: S3Config, endpoint: str) -> bool:
    """True when the bucket stands in the path and not in the host name."""
    if config.addressing != "auto":
        return config.addressing == "path"
    return bool(endpoint) and ".amazonaws.com" not in endpoint


def keys(config: S3Config, context: Context) -> dict[str, str]:
    """Explicit keys as boto3 wants them; empty when the default chain is to be used.

    Raises:
        ConfigError: Only one of the two is given.
        SecretError: A reference does not resolve.
    """
    if bool(config.access_key_id) != bool(config.secret_access_key):
        raise ConfigError(
            "access-key-id and secret-access-key belong together",
            where=context.place("$.access-key-id"),
            hint="Give both or none.",
        )
    named = {
        "aws_access_key_id": config.access_key_id,
        "aws_secret_access_key": config.secret_access_key,
        "aws_session_token": config.session_token,
    }

    def value(name: str, reference: str) -> str:
        where = f"$.{name.removeprefix('aws_').replace('_', '-')}"
        return context.secrets.resolve(reference, where=where).reveal()

    return {name: value(name, reference) for name, reference in named.items() if reference}


def variables(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Keys in environment variables, named as by `keys`; empty when there are none."""
    found = {
        "aws_access_key_id": env.get("AWS_ACCESS_KEY_ID", ""),
        "aws_secret_access_key": env.get("AWS_SECRET_ACCESS_KEY", ""),
        "aws_session_token": env.get("AWS_SESSION_TOKEN", "") or env.get("AWS_SECURITY_TOKEN", ""),
    }
    return found if found["aws_access_key_id"] and found["aws_secret_access_key"] else {}


def fsspec_options(config: S3Config, context: Context) -> dict[str, Any]:
    """Options of ``s3fs.S3FileSystem`` for the same store and credentials."""
    endpoint = endpoint_url(config)
    found = keys(config, context)
    options: dict[str, Any] = {"anon": anonymous(config), "endpoint_url": endpoint or None, "version_aware": True}
    if found:
        options |= {
            "key": found["aws_access_key_id"],
            "secret": found["aws_secret_access_key"],
            "token": found.get("aws_session_token"),
        }
    elif context.environment is not None and not config.profile:
        frozen = context.environment.aws_session().get_credentials().get_frozen_credentials()
        options |= {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
    if config.profile:
        options["profile"] = config.profile
    if config.region:
        options["client_kwargs"] = {"region_name": config.region}
    if path_style(config, endpoint):
        options["config_kwargs"] = {"s3": {"addressing_style": "path"}}
    return {name: value for name, value in options.items() if value is not None}
