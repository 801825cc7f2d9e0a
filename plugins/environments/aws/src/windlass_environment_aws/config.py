"""Configuration of the environment ``aws``."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class AwsConfig:
    """Which AWS account and region. Credentials come from boto3's default chain."""

    region: str = option(pattern=r"[a-z0-9-]+", help="Region the agent works in, for example eu-central-1.")
    profile: str = option(default="", help="Profile of ~/.aws/config to use.")
    role_arn: str = option(
        key="role-arn",
        default="",
        pattern=r"arn:[^:]+:iam::\d{12}:role/.+",
        help="Role to assume; its credentials are renewed before they end.",
    )
    external_id: str = option(key="external-id", default="", help="External id that the role asks for.")
    session_name: str = option(
        key="session-name", default="windlass-agent", pattern=r"[\w+=,.@-]{2,64}", help="Name shown in CloudTrail."
    )
    duration: int = option(default=3600, minimum=900, maximum=43200, help="Seconds that the role's credentials last.")
    endpoint_url: str = option(
        key="endpoint-url", default="", pattern=r"https?://\S+", help="Address of STS, where it is not Amazon's own."
    )
