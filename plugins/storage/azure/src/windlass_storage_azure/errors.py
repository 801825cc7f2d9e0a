"""What Azure reports, as errors of Windlass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from windlass.errors import (
    AccessError,
    NoSpaceError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    WindlassError,
)

__all__ = ["CREDENTIALS_HINT", "translate", "translated"]

CREDENTIALS_HINT = (
    "Credentials are looked for in AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, "
    "then by DefaultAzureCredential: AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, workload identity, "
    "managed identity, `az login`. The identity needs the role 'Storage Blob Data Contributor' (or 'Reader')."
)


def translate(error: Exception, uri: str) -> WindlassError:
    """The error for an exception of Azure's SDK."""
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ServiceRequestError,
        ServiceResponseError,
    )

    if isinstance(error, WindlassError):
        return error
    message = str(error).partition("\n")[0][:300]
    if isinstance(error, HttpResponseError) and error.status_code:
        code = getattr(error, "error_code", None) or ""
        return _from_status(error.status_code, str(getattr(code, "value", code)), message, uri)
    if isinstance(error, ClientAuthenticationError):
        return AccessError(message, where=uri, hint=CREDENTIALS_HINT)
    network = isinstance(error, (ServiceRequestError, ServiceResponseError))
    hint = "Is the account's address right and reachable?" if network else ""
    return StorageError(
        f"{type(error).__name__}: {message}", where=uri, hint=hint, retryable=network and isinstance(error, AzureError)
    )


def _from_status(status: int, code: str, message: str, uri: str) -> WindlassError:
    facts = {"status": status, "code": code}
    text = f"the store answered {facts['code'] or status}: {message}"
    if status == 404:
        if facts["code"] == "ContainerNotFound":
            hint = "Correct the address, or create the container."
            return ObjectNotFoundError("there is no such container", where=uri, hint=hint, context=facts)
        return ObjectNotFoundError("there is no such blob", where=uri, context=facts)
    if status in (409, 412) and facts["code"] in ("BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", ""):
        return ObjectChangedError("the blob is not the one that was recorded", where=uri, context=facts)
    if status in (401, 403):
        return AccessError(text, where=uri, hint=CREDENTIALS_HINT, context=facts)
    if status == 507 or facts["code"] == "InsufficientAccountPermissions":
        return NoSpaceError(text, where=uri, hint="Free space or raise the quota of the store.", context=facts)
    damaged = facts["code"] in ("Md5Mismatch", "Crc64Mismatch") or (status == 400 and "contentMD5" in message)
    later = damaged or status >= 500 or status in (408, 429)
    hint = "Try again later; what is stored already is not sent again." if later else ""
    return StorageError(text, where=uri, hint=hint, context=facts, retryable=later)


@contextlib.contextmanager
def translated(uri: str) -> Iterator[None]:
    """Let only errors of Windlass out."""
    try:
        yield
    except WindlassError:
        raise
    except Exception as error:
        raise translate(error, uri) from error
