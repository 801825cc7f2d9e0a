"""Configuration of the environment ``azure``."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class AzureConfig:
    """Which Azure tenant. Nothing is required; credentials are those of ``DefaultAzureCredential``."""

    region: str = option(default="", help="Location to use where none is named, for example westeurope.")
    subscription: str = option(default="", help="Subscription to use where none is named; else AZURE_SUBSCRIPTION_ID.")
    client_id: str = option(
        key="client-id", default="", help="Client id of a managed or workload identity, where there are several."
    )
    tenant_id: str = option(key="tenant-id", default="", help="Tenant of the workload identity.")
    authority: str = option(default="", help="Host to sign in at, for clouds other than the public one.")
    scope: str = option(
        default="https://management.azure.com/.default", help="What verify() asks a token for.", pattern=r"\S+"
    )
