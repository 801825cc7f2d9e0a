"""What S3 and its clients report, as errors of Windlass."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from html import unescape

from windlass.errors import (
    AccessError,
    NoSpaceError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    WindlassError,
)

__all__ = ["CREDENTIALS_HINT", "code_of", "from_answer", "refused", "translate", "translated"]

CREDENTIALS_HINT = (
    "Credentials are looked for in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, ~/.aws/config, "
    "then the container's or instance's role; or configure `environment: {type: aws}`. "
    "Public buckets: AWS_SKIP_SIGNATURE=true."
)
_GONE = {"NoSuchUpload", "NoSuchKey", "NoSuchVersion", "NotFound", "404", "NoSuchBucket", "MethodNotAllowed", "405"}
_DENIED = {"AccessDenied", "403", "401", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "Forbidden",
           "ExpiredToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "AllAccessDisabled",
           "Unauthorized"}  # fmt: skip
_FULL = {"QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "InsufficientStorage", "507", "OverLimit"}
_BUSY = {"SlowDown", "InternalError", "RequestTimeout", "ServiceUnavailable", "Throttling", "RequestLimitExceeded",
         "OperationAborted", "ConditionalRequestConflict", "BadDigest", "InvalidDigest"}  # fmt: skip
_EXPIRED = (
    "The session has expired: sign in again (aws sso login) or use a role that refreshes, and repeat the command; "
    "what is stored already is not sent again."
)
_LATER = "Try again later; what is stored already is not sent again."
_HINTS = {
    "AccessDenied": "The store knows the credentials, and they may not do this. Reading needs s3:GetObject (of "
    "recorded versions s3:GetObjectVersion), folders s3:ListBucket, storing s3:PutObject.",
    "InvalidToken": "AWS_SESSION_TOKEN is damaged, or does not belong to these keys, or to this store.",
    "TokenRefreshRequired": _EXPIRED,
    "NoSuchBucket": "There is no such bucket: correct the address, or create it.",
    "SignatureDoesNotMatch": "The secret key is wrong.",
    "InvalidAccessKeyId": "The access key id is not known to this store; is the endpoint right?",
    "ExpiredToken": _EXPIRED,
    "RequestTimeTooSkewed": "The clock of this machine is wrong: set it.",
    "PermanentRedirect": "The bucket is in another region: set `region`.",
    "AuthorizationHeaderMalformed": "The bucket is in another region: set `region`.",
}


def from_answer(status: int, code: str, message: str, uri: str) -> WindlassError:
    """The error for an HTTP status and S3's error code."""
    text = f"the store answered {code or status}" + (f": {message}" if message and message != code else "")
    facts = {"status": status, "code": code}
    hint = _HINTS.get(code, "")
    if code in _GONE or status in (404, 405):
        what = "there is no such bucket" if code == "NoSuchBucket" else "there is no such object"
        return ObjectNotFoundError(what, where=uri, hint=hint, context=facts)
    if code in ("PreconditionFailed", "412") or status == 412:
        return ObjectChangedError("the object is not the one that was recorded", where=uri, context=facts)
    if code in _FULL or status == 507:
        return NoSpaceError(text, where=uri, hint="Free space or raise the quota of the store.", context=facts)
    if code in _BUSY or status >= 500 or status in (408, 409, 429):
        hint = "" if status == 501 else _LATER
        return StorageError(text, where=uri, hint=hint, context=facts, retryable=status != 501)
    if code in _DENIED or status in (401, 403):
        return AccessError(text, where=uri, hint=hint or CREDENTIALS_HINT, context=facts)
    return StorageError(text, where=uri, hint=hint, context=facts)


def refused(status: int, body: bytes, uri: str) -> WindlassError:
    """The error for a refusal as S3 writes it; a HEAD request has no body."""
    code = re.search(rb"<Code>(\w+)</Code>", body)
    message = re.search(rb"<Message>([^<]*)</Message>", body)
    return from_answer(
        status,
        code[1].decode() if code else "",
        unescape(message[1].decode("utf-8", "replace")) if message else "",
        uri,
    )


def code_of(error: WindlassError) -> str:
    """S3's code in an error made here, or its status as text."""
    return str(error.context.get("code") or error.context.get("status") or "")


def translate(error: Exception, uri: str) -> WindlassError:
    """The error for an exception of boto3, obstore or urllib3."""
    if isinstance(error, WindlassError):
        return error
    if type(error).__module__.startswith("urllib3"):
        return StorageError(
            f"{type(error).__name__}: {error}",
            where=uri, hint="Is the endpoint right and reachable?", retryable=True,
        )  # fmt: skip
    if type(error).__module__.startswith("obstore") or isinstance(error, FileNotFoundError):
        return _from_obstore(error, uri)
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
    from botocore.exceptions import ConnectionError as BotoConnectionError

    if isinstance(error, ClientError):
        found = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return from_answer(status, str(found.get("Code", "")), str(found.get("Message", "")), uri)
    if isinstance(error, NoCredentialsError):
        return AccessError("there are no AWS credentials", where=uri, hint=CREDENTIALS_HINT)
    if isinstance(error, BotoCoreError):
        network = isinstance(error, (BotoConnectionError, HTTPClientError))
        credentials = any(word in type(error).__name__ for word in ("Credential", "Token", "SSO", "Profile"))
        kind = AccessError if credentials else StorageError
        hint = CREDENTIALS_HINT if credentials else "Is the endpoint right and reachable?" if network else ""
        return kind(f"{type(error).__name__}: {error}", where=uri, hint=hint, retryable=network)
    return _from_obstore(error, uri)


def _from_obstore(error: Exception, uri: str) -> WindlassError:
    # obstore's exceptions carry no fields: status and code stand in the text.
    text = str(error)
    status = re.search(r"status code: (\d{3})|\bstatus: (\d{3})", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    if status:
        message = re.search(r"<Message>([^<]*)</Message>", text)
        number = int(status[1] or status[2])
        return from_answer(number, code[1] if code else "", message[1] if message else "", uri)
    if type(error).__name__ in ("UnauthenticatedError", "PermissionDeniedError"):
        return AccessError("the store's credentials are missing or refused", where=uri, hint=CREDENTIALS_HINT)
    if isinstance(error, FileNotFoundError):
        return ObjectNotFoundError("there is no such object", where=uri)
    first = text.partition("\n")[0][:300]
    return StorageError(f"{type(error).__name__}: {first}", where=uri, retryable=not isinstance(error, ValueError))


@contextlib.contextmanager
def translated(uri: str) -> Iterator[None]:
    """Let only errors of Windlass out."""
    try:
        yield
    except WindlassError:
        raise
    except Exception as error:
        raise translate(error, uri) from error
