"""AWS Signature Version 4 for the few requests that are made here without boto3.

botocore signs too, but importing what it needs for that takes longer than the listing of 100,000 objects.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from attrs import frozen

__all__ = ["Keys", "query_string", "signed_headers"]

_ALGORITHM = "AWS4-HMAC-SHA256"
_EMPTY = hashlib.sha256(b"").hexdigest()


@frozen
class Keys:
    """What requests are signed with.

    Attributes:
        access: Access key id.
        secret: Secret access key.
        token: Session token, or empty.
    """

    access: str
    secret: str
    token: str = ""


def query_string(parameters: Mapping[str, str]) -> str:
    """Parameters as they are sent and signed: sorted, everything escaped that may be."""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in parameters.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def signed_headers(
    method: str,
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    keys: Keys,
    region: str,
    now: datetime | None = None,
) -> dict[str, str]:
    """Headers for a request without a body, `headers` and ``Authorization`` included.

    Args:
        method: ``GET`` or ``HEAD``.
        host: As it is sent in the ``Host`` header.
        path: Escaped, beginning with ``/``.
        query: As `query_string` gives it.
        headers: More headers, in small letters.
        keys: What to sign with.
        region: Region of the bucket.
        now: Time of the request.
    """
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    sent = {**headers, "host": host, "x-amz-date": moment, "x-amz-content-sha256": _EMPTY}
    if keys.token:
        sent["x-amz-security-token"] = keys.token
    names = sorted(sent)
    lines = "".join(f"{name}:{sent[name].strip()}\n" for name in names)
    request = "\n".join((method, path, query, lines, ";".join(names), _EMPTY))
    text = "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{keys.secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    sent["authorization"] = (
        f"{_ALGORITHM} Credential={keys.access}/{scope}, SignedHeaders={';'.join(names)}, Signature={key.hex()}"
    )
    return sent
